"""A plan for the framework that a model came from: which entries of each of its tensors stay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxslim_snacs.commands.start import Setup, open_work
from onnxslim_snacs.config.checks import EXPORTED
from onnxslim_snacs.config.fields import checked
from onnxslim_snacs.errors import InputRefused, UsageError
from onnxslim_snacs.ir.keep import keep_map
from onnxslim_snacs.model.atomic import put_bytes
from onnxslim_snacs.model.opened import AnyModel, open_model
from onnxslim_snacs.model.targets import check_targets
from onnxslim_snacs.plan.plan import Plan, check_plan
from onnxslim_snacs.plan.state_names import Matched, StateCut, match_state
from onnxslim_snacs.plan.stored_cuts import NodeChange, StoredCut, node_changes, stored_cuts
from onnxslim_snacs.plan.written import load_plan
from onnxslim_snacs.progress import Clock, silent
from onnxslim_snacs.report.report import to_json

#: Version of the file: what is new makes no new one, what goes or means something else does.
VERSION = 1


@dataclass(frozen=True, slots=True)
class ExportedPlan:
    """What a plan does to what a model stores.

    Attributes:
        tensors: name -> what stays of a stored tensor, as its first reader has it.
        shared: what stays of tensors of which other readers lose other entries, reader by reader.
        nodes: attributes and extents that change, which code of one's own has to follow.
        state: name in the framework's state -> what stays of it, if a state was given.
        groups: name of a convolution's weight -> its groups, where they change; names are those of
            `state` if there is one, else those of `tensors`.
        unknown: names in the state of which the model holds nothing.
        lost: tensors that are cut and are no part of the state.
        format: version.
    """

    tensors: Mapping[str, StoredCut]
    shared: tuple[StoredCut, ...]
    nodes: tuple[NodeChange, ...]
    state: Mapping[str, StateCut] = field(default_factory=dict)
    groups: Mapping[str, int] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    format: int = VERSION

    @property
    def axes(self) -> dict[str, Mapping[int, tuple[int, ...]]]:
        """Name -> axis -> the entries that stay, of the state if there is one, else of tensors."""
        named: Mapping[str, StateCut | StoredCut] = self.state or self.tensors
        return {name: cut.axes for name, cut in named.items() if cut.axes}


@checked
def export_plan(
    plan: Plan | Path | str,
    model: AnyModel,
    *,
    state: Mapping[str, Any] | None = None,
    state_dict: Path | str | None = None,
    format: str = "json",
    out: Path | str | None = None,
    overwrite: bool = False,
) -> ExportedPlan:
    """Say what a plan keeps of every stored tensor, and of every entry of a framework's state.

    Args:
        plan: what `compress` has decided, or the file that holds it.
        model: the original model that it was made for.
        state: name -> values of the framework's state before the cut, arrays or tensors.
        state_dict: a file of torch that holds it.
        format: json, or torch: a file for `torch.load` with `axes` (name -> axis -> indices),
            `groups` and `nodes`.
        out: where to write it; None writes nothing.
        overwrite: whether an existing file may be replaced.

    Raises:
        SnacsError: one leaf for each way in which a run can end, see `errors`.
    """
    if format not in EXPORTED:
        raise UsageError(f"--format {format}: expected one of {', '.join(EXPORTED)}")
    if state is not None and state_dict is not None:
        raise UsageError("export_plan: give state or state_dict, not both")
    files = [] if isinstance(plan, Plan) else [Path(plan)]
    plan = plan if isinstance(plan, Plan) else load_plan(Path(plan))
    if plan.bases:
        raise InputRefused(
            "the plan turns residual streams before the cut, so that what is left of a weight is "
            "no part of it: `apply` repeats that on the model, and a plan without --width rotate "
            "can be exported"
        )
    opened = open_model(model, "export_plan: model")
    files += [Path(p) for p in (opened.path, state_dict) if p is not None]
    place = None if out is None else Path(out)
    check_targets([place], files, overwrite=overwrite)
    setup = Setup(allow_inexact=plan.allow_inexact, input_shapes=plan.sizes)
    work = open_work(opened.name, opened.graph, setup, Clock(), silent)
    check_plan(plan, opened.graph, work.analysis.ir)
    keep = keep_map(work.analysis.ir, plan.kept())
    stored = stored_cuts(work.analysis, keep)
    changes = tuple(node_changes(work.analysis, keep))
    arrays = _arrays(state, state_dict)
    matched = Matched({}, (), ()) if arrays is None else match_state(stored, arrays)
    first: dict[str, StoredCut] = {}
    for cut, _ in stored:
        first.setdefault(cut.name, cut)
    made = ExportedPlan(
        tensors=first,
        shared=tuple(cut for cut, _ in stored if cut.axes != first[cut.name].axes),
        nodes=changes,
        state=matched.entries,
        groups=_groups(changes, first, matched),
        unknown=matched.unknown,
        lost=matched.lost,
    )
    if place is not None:
        put_bytes(place, to_json(made).encode() if format == "json" else _torch_file(made))
    return made


def _arrays(
    state: Mapping[str, Any] | None, path: Path | str | None
) -> dict[str, NDArray[Any]] | None:
    if path is not None:
        from onnxslim_snacs.torch_graph.modules import load_state

        state = load_state(Path(path))
    if state is None:
        return None
    arrays = {}
    for key, value in state.items():
        plain = value.detach().cpu() if hasattr(value, "detach") else value
        arrays[key] = np.asarray(plain.float() if hasattr(plain, "float") else plain)
    return arrays


def _groups(
    changes: tuple[NodeChange, ...], tensors: Mapping[str, StoredCut], matched: Matched
) -> dict[str, int]:
    """Name of each convolution's weight -> its groups after the cut."""
    counts = {c.node: int(c.after) for c in changes if c.what == "group"}
    named = {cut.name: counts[cut.reader] for cut in tensors.values() if cut.reader in counts}
    named = {name: n for name, n in named.items() if len(tensors[name].shape) > 1}
    if not matched.entries:
        return named
    weights = {e.key: e.tensor for e in matched.entries.values() if len(e.shape) > 1}
    return {key: named[tensor] for key, tensor in weights.items() if tensor in named}


def _torch_file(made: ExportedPlan) -> bytes:
    from onnxslim_snacs.torch_graph.modules import axes_file

    nodes = [(c.node, c.module, c.what, c.before, c.after) for c in made.nodes]
    return axes_file(made.axes, made.groups, nodes)
