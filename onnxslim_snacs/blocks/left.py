"""A model without some of its blocks, as work that goes on like any other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from onnxslim_snacs.errors import InputRefused, foreign
from onnxslim_snacs.layers.aims import Aims, aims_of
from onnxslim_snacs.layers.branches import Branch, find_branches, without_nested
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.ops.analyse import Analysis, analyse
from onnxslim_snacs.passes.drop import drop
from onnxslim_snacs.plan.cost import cost_model
from onnxslim_snacs.plan.plan import DroppedBlock
from onnxslim_snacs.plan.work import Reduced, Work


@dataclass(frozen=True, slots=True)
class Left:
    """What is left of a model without some of its blocks.

    Attributes:
        graph: the model.
        analysis: the same, analysed at the sizes of the whole one.
        aims: what its layers are to come to.
    """

    graph: ModelGraph
    analysis: Analysis
    aims: Aims


def blocks_of(graph: ModelGraph, analysis: Analysis) -> tuple[Branch, ...]:
    """The blocks of a model that can be dropped; those inside its local functions stay.

    Args:
        graph: the model as it was read.
        analysis: the same, analysed.
    """
    there = {*graph.made, *graph.inputs}
    return tuple(
        branch
        for branch in find_branches(analysis.graph, analysis.facts)
        if all({p.exit, p.shortcut, p.added, p.total} <= there for p in branch.parts or (branch,))
    )


def left_without(
    graph: ModelGraph, analysis: Analysis, parts: Sequence[Branch], *, allow_inexact: bool
) -> Left:
    """A model without some of its blocks.

    Args:
        graph: the model as it was read.
        analysis: the same, analysed.
        parts: the blocks that go, none of several parts, none in another.
        allow_inexact: let normalisations lose channels.
    """
    rest = replace(graph, proto=drop(graph.proto, parts))
    found = analyse(rest, allow_inexact=allow_inexact, input_shapes=analysis.facts.first_sizes)
    return Left(rest, found, aims_of(analysis.graph, found.graph, parts))


def without_blocks(work: Work, branches: Sequence[Branch], *, allow_inexact: bool = False) -> Work:
    """Go on with a model without some of its blocks.

    Args:
        work: the whole model.
        branches: the blocks that go; none gives the work itself.
        allow_inexact: let normalisations lose channels.
    """
    if not branches:
        return work
    parts = without_nested(branches)
    left = left_without(work.ready, work.analysis, parts, allow_inexact=allow_inexact)
    return replace(
        work,
        analysis=left.analysis,
        ready=left.graph,
        costs=cost_model(left.analysis),
        spread=None,  # which knows the whole model alone
        reduced=Reduced(work, parts, left.aims),
    )


def planned(branches: Iterable[Branch]) -> tuple[DroppedBlock, ...]:
    """Dropped blocks as a plan names them."""
    return tuple(DroppedBlock(b.exit, b.shortcut) for b in branches)


def found_again(
    graph: ModelGraph, analysis: Analysis, dropped: Sequence[DroppedBlock]
) -> tuple[Branch, ...]:
    """The blocks that a plan names.

    Args:
        graph: the model as it was read.
        analysis: the same, analysed.
        dropped: what the plan says.

    Raises:
        InputRefused: the model has no such block.
    """
    known = {(b.exit, b.shortcut): b for b in blocks_of(graph, analysis) if not b.parts}
    for block in dropped:
        if (block.output, block.instead) not in known:
            raise InputRefused(
                f"plan: the model has no block that ends in {foreign(block.output)} and could be "
                f"passed by {foreign(block.instead)}"
            )
    return without_nested([known[block.output, block.instead] for block in dropped])
