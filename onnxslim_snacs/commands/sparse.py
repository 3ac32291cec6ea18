"""Training that drives units to zero, and the cut that takes just those (method 7.5)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import ModelProto

from onnxslim_snacs.activations.sources import CalibrationSource
from onnxslim_snacs.commands.start import Setup, open_work
from onnxslim_snacs.config import FinetuneConfig
from onnxslim_snacs.decide.allocation import Constraints, by_quantile
from onnxslim_snacs.decide.budget import budget_price, require_reachable
from onnxslim_snacs.decide.choose import by_target
from onnxslim_snacs.decide.slopes import by_curves
from onnxslim_snacs.errors import NothingToPrune, ProofFailed
from onnxslim_snacs.ir.keep import KeepMap, keep_map
from onnxslim_snacs.ir.types import Axis, BoolArray, IntArray
from onnxslim_snacs.judge.judge import answers_to
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.session import SessionConfig
from onnxslim_snacs.ops.analyse import Analysis, analyse
from onnxslim_snacs.plan.cost import cost_model
from onnxslim_snacs.plan.kept import Kept
from onnxslim_snacs.progress import Clock, Progress
from onnxslim_snacs.proof.difference import worst_difference
from onnxslim_snacs.proof.prove import prove_cut
from onnxslim_snacs.report.training import RemovedUnits
from onnxslim_snacs.scores.criterion import ScoreContext
from onnxslim_snacs.scores.hesso import HESSO
from onnxslim_snacs.scores.unit_gates import find_gates
from onnxslim_snacs.scores.unit_weights import unit_weights
from onnxslim_snacs.torch_graph.late import torch
from onnxslim_snacs.torch_graph.network import Network, open_network, run

#: How far the cut may be from the model with zeros: what it takes away adds zeros to sums.
EXACT = 1e-5


@dataclass(frozen=True, slots=True)
class Going:
    """What training is to take away.

    Attributes:
        analysis: the model that is trained.
        makers: (group, axis of a weight, (units, multiplicity) slots on it) of all units.
        units: the same of those that go.
        left_out: groups whose readers would see something else than zeros.
    """

    analysis: Analysis
    makers: list[tuple[str, Axis, IntArray]]
    units: list[tuple[str, Axis, IntArray]]
    left_out: tuple[str, ...]


def choose_going(
    student: ModelGraph,
    source: CalibrationSource,
    session: SessionConfig,
    config: FinetuneConfig,
    progress: Progress,
) -> Going:
    """The units that HESSO's saliency ranks lowest, as many as a share of the work asks for.

    How many of each group is told by error curves: one threshold on the saliency of all units took
    ResNet-20 at half of its work to 78.2 % after a re-fit, curves to 87.8 % (of 91.6 %).

    Args:
        student: the model.
        source: samples.
        session: how to run the model.
        config: how much of the multiply-accumulates is to stay, and the seed.
        progress: told (stage, done, total).

    Raises:
        NothingToPrune: no group is zero-invariant, or so little cannot stay.
    """
    share = config.sparse or 1.0
    analysis = analyse(student)
    groups = analysis.ir.groups
    network = open_network(analysis.graph)
    makers = unit_weights(analysis, network.trained, readers=False)
    invariant = zero_invariant(analysis, network, makers, source)
    left_out = tuple(group.id for group in groups if group.id not in invariant)
    if not invariant:
        raise NothingToPrune("--sparse: no group stays silent when its weights are zero")
    context = ScoreContext(analysis, source, session, config.seed, progress)
    constraints = Constraints(frozen=frozenset(left_out))
    target, costs = {"macs": share}, cost_model(analysis)
    scores = by_curves(context, costs, HESSO.score(context), "macs").scores
    require_reachable(costs, analysis.ir, scores, target, constraints)
    price = budget_price(costs, analysis.ir, target)
    kept = by_target(groups, scores, price, constraints, allocate=by_quantile).kept
    going = {group.id: np.flatnonzero(~kept[group.id]) for group in groups}
    return Going(
        analysis,
        makers,
        [(name, axis, index[going[name]]) for name, axis, index in makers if len(going[name])],
        left_out,
    )


def zero_invariant(
    analysis: Analysis,
    network: Network,
    makers: list[tuple[str, Axis, IntArray]],
    source: CalibrationSource,
) -> frozenset[str]:
    """Groups of which readers see zeros alone once the weights that make them are zero.

    Shown by a run with the weights of all units of all groups zero: what is not made by them, or
    behind an activation with f(0) other than zero, is still there.
    """
    values = {key: value.detach().clone() for key, value in network.values.items()}
    for _, axis, index in makers:
        values[axis.tensor].movedim(axis.dim, 0)[torch.from_numpy(index.reshape(-1))] = 0.0
    gates = find_gates(analysis)
    batch = next(iter(source.part(0, min(4, source.samples)).batches()))
    with torch.no_grad():
        found = run(network, batch.inputs, values=values, edges=[gate.edge for gate in gates])
    loud, read = set(), set()
    for gate in gates:
        value = found.edges.get(gate.edge)
        for name, index in gate.groups.items():
            read.add(name)
            if value is None or gate.period:
                loud.add(name)
                continue
            seen = value.movedim(gate.dim, 0)[torch.from_numpy(index.reshape(-1))]
            if bool(seen.any()):
                loud.add(name)
    made = {name for name, _, _ in makers}
    return frozenset((made & read) - loud)


def remove_zeros(
    model: ModelProto,
    going: Going,
    judging: CalibrationSource,
    session: SessionConfig,
    clock: Clock,
    progress: Progress,
) -> tuple[ModelProto, RemovedUnits]:
    """Take away the units whose weights are all zero, and show that nothing has changed.

    Args:
        model: the trained model.
        going: what training was to take away; groups that it left out are not looked at.
        judging: samples on which both are compared.
        session: how to run them.
        clock: notes how long it takes.
        progress: told (stage, done, total).

    Raises:
        ProofFailed: the cut answers otherwise than the model with its zeros.
    """
    base_dir, left_out = going.analysis.graph.base_dir, going.left_out
    graph = ModelGraph(model, base_dir)
    setup = Setup(provider=session.provider, threads=session.threads)
    work = open_work("", graph, setup, clock, progress)
    analysis = work.analysis
    kept = silent_units(analysis, going)
    if all(mask.all() for mask in kept.values()):
        return model, RemovedUnits({}, left_out, 1.0, 0.0, 0.0)
    keep = keep_map(analysis.ir, kept)
    cut = prove_cut(work, keep)
    plain = SessionConfig(threads=session.threads, level=0)
    wanted, got = (answers_to(analysis, each, judging, plain) for each in (model, cut.model))
    pairs = zip(wanted.outputs, got.outputs, strict=True)
    apart = max((worst_difference(a, b) for a, b in pairs), default=0.0)
    if apart > EXACT:
        raise ProofFailed(
            f"units whose weights are zero are no zeros to their readers: the outputs are "
            f"{apart:.1e} apart, at most {EXACT:.0e} is rounding"
        )
    macs = work.costs.cost(keep).macs / max(1, work.costs.cost(KeepMap({})).macs)
    gone = {name: int((~mask).sum()) for name, mask in kept.items() if not mask.all()}
    return cut.model, RemovedUnits(gone, left_out, macs, cut.proof.max_rel_diff, apart)


def silent_units(analysis: Analysis, going: Going) -> Kept:
    """Group -> (units,) whether a unit has any weight that is not zero; one stays in any case."""
    loud: dict[str, BoolArray] = {}
    for name, axis, index in going.makers:
        value = analysis.facts.value(axis.tensor)
        if value is None or name in going.left_out:
            continue
        rows = np.moveaxis(value, axis.dim, 0)[index].reshape(len(index), -1)
        loud[name] = loud.get(name, np.zeros(len(index), dtype=bool)) | (rows != 0).any(axis=1)
    kept: dict[str, BoolArray] = {}
    for group in analysis.ir.groups:
        mask = loud.get(group.id, np.ones(group.units, dtype=bool)).copy()
        mask[0] |= not mask.any()
        kept[group.id] = mask
    return kept
