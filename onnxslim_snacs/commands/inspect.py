"""What can be pruned in a model, what cannot, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from onnxslim_snacs.commands.naming import names_file
from onnxslim_snacs.config.fields import checked
from onnxslim_snacs.errors import UsageError, foreign
from onnxslim_snacs.ir.keep import KeepMap
from onnxslim_snacs.ir.types import Axis
from onnxslim_snacs.ir.why import Link, chain_to_pin
from onnxslim_snacs.model.opened import AnyModel, open_model
from onnxslim_snacs.ops.analyse import Analysis, analyse
from onnxslim_snacs.plan.cost import cost_model
from onnxslim_snacs.report.by_group import group_reports
from onnxslim_snacs.report.report import Inspection


@checked
@names_file
def inspect(
    model: AnyModel,
    *,
    input_shapes: Mapping[str, tuple[int, ...]] | None = None,
    allow_inexact: bool = False,
    why: str | None = None,
) -> Inspection:
    """Look at a model without touching it.

    Args:
        model: the .onnx file, or the model in memory, as for `compress`.
        input_shapes: sizes for inputs whose dynamic dimensions cannot be guessed.
        allow_inexact: as for `compress`.
        why: a tensor, or a node whose outputs are meant, whose pins are to be explained.

    Raises:
        UsageError: the model has no tensor and no node of that name.
    """
    opened = open_model(model, "inspect: model")
    analysis = analyse(opened.graph, allow_inexact=allow_inexact, input_shapes=input_shapes)
    chains: tuple[tuple[Link, ...], ...] = ()
    if why is not None:
        chains = tuple(
            chain for name in _tensors(analysis, why) for chain in _chains(analysis, name)
        )
    costs = cost_model(analysis)
    return Inspection(
        model=opened.name,
        cost=costs.cost(KeepMap({})),
        groups=group_reports(analysis, costs, KeepMap({})),
        pins=analysis.ir.pins,
        why=chains,
        note=analysis.facts.note,
    )


def _tensors(analysis: Analysis, name: str) -> list[str]:
    """The tensor of that name, or the outputs of the nodes of that name."""
    parts = tuple(analysis.parts())
    if any(part.facts.shape(name) is not None for part in parts):
        return [name]
    nodes = (node for part in parts for node in part.nodes if node.proto.name == name)
    found = [o for node in nodes for o in node.outputs if o]
    known = [o for o in found if analysis.part_of(o).facts.shape(o) is not None]
    if known:
        return known
    if found or any(name in part.graph.producer for part in parts):
        raise UsageError(f"--why {foreign(name)}: its shape is not known, so it keeps everything")
    raise UsageError(f"--why {foreign(name)}: the model has no tensor and no node of that name")


def _chains(analysis: Analysis, name: str) -> Iterator[tuple[Link, ...]]:
    """A chain for each axis; of a free axis it names the groups that lie on it."""
    rank = len(analysis.part_of(name).facts.shape(name) or ())
    for dim, chain in enumerate(chain_to_pin(analysis.ir, name, rank)):
        groups = [g.id for g in analysis.ir.groups if g.on(Axis(name, dim)) is not None]
        lies = Link(chain[0].axis, f"lies in {', '.join(groups)}")
        yield (*chain, lies) if groups else chain
