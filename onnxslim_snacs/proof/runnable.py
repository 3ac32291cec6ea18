"""The part of a model that ONNX Runtime can run, and what to run it on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from onnxslim_snacs.errors import InputRefused, RuntimeRefused
from onnxslim_snacs.ir.keep import KeepMap
from onnxslim_snacs.model.session import SessionConfig, create_session
from onnxslim_snacs.model.sizes import Sizes, random_inputs
from onnxslim_snacs.ops.analyse import Analysis
from onnxslim_snacs.proof.boundary import (
    Boundary,
    boundaries,
    boundary_feeds,
    make_boundary,
    recorded,
    without,
    without_kernel,
)
from onnxslim_snacs.proof.proving_sizes import input_sizes, proving_sizes

#: Seeds of the input sets that are drawn where none are given.
SEEDS = (1, 2)


@dataclass(frozen=True, slots=True)
class Runnable:
    """The part of a model that can be run, and what to run it on.

    Attributes:
        boundary: what is taken out.
        feeds: input sets.
    """

    boundary: Boundary
    feeds: Sequence[Mapping[str, NDArray[Any]]]


def runnable(
    analysis: Analysis,
    keep: KeepMap,
    feeds: Sequence[Mapping[str, NDArray[Any]]],
    config: SessionConfig,
) -> Runnable:
    """Find the part of the original that ONNX Runtime can run.

    Args:
        analysis: the original.
        keep: what the plan keeps; around what is taken out, nothing may go.
        feeds: input sets; if there are none, seeded ones are drawn.
        config: how to run it.

    Raises:
        InputRefused: there is none, or too little is known of what would have to be fed.
    """
    reason, sizes = "", input_sizes(analysis)
    pending = boundaries(analysis)
    for nodes in pending:
        boundary = make_boundary(analysis, keep, nodes, sizes)
        sets = _feeds(analysis, boundary, feeds, sizes, config)
        try:
            if not analysis.facts.ran:
                rest = without(analysis.graph.proto, boundary)
                outputs_of(rest, boundary.reads, config, analysis.graph.base_dir, sets[:1])
        except RuntimeRefused as error:  # another operator that it does not know, perhaps
            reason = str(error)
            more = nodes | without_kernel(analysis, reason)
            if more not in pending:
                pending.append(more)
            continue
        return Runnable(boundary, sets)
    raise InputRefused(f"the model cannot be run, so that nothing can be proved: {reason}")


def _feeds(
    analysis: Analysis,
    boundary: Boundary,
    given: Sequence[Mapping[str, NDArray[Any]]],
    sizes: Sizes,
    config: SessionConfig,
) -> Sequence[Mapping[str, NDArray[Any]]]:
    """Input sets, with what the boundary writes."""
    if given and not boundary.writes:
        return given
    if not analysis.facts.ran:
        return boundary_feeds(analysis, boundary, sizes, SEEDS)
    sets = given or [
        random_inputs(analysis.graph, one, seed)
        for seed, one in enumerate(proving_sizes(analysis, config), start=1)
    ]
    if not boundary.writes:
        return sets
    written = list(boundary.writes)
    model = ModelProto()
    model.CopyFrom(analysis.graph.proto)
    del model.graph.output[:]
    return recorded(
        sets, boundary, outputs_of(model, written, config, analysis.graph.base_dir, sets)
    )


def outputs_of(
    model: ModelProto,
    seen: Sequence[str],
    config: SessionConfig,
    base_dir: Path | None,
    sets: Sequence[Mapping[str, NDArray[Any]]],
) -> list[list[NDArray[Any]]]:
    """Outputs of a model, and of tensors that are to be seen, for each input set.

    Args:
        model: the model.
        seen: tensors whose values stand behind the outputs.
        config: how to run it.
        base_dir: the folder of its external data.
        sets: input sets.

    Raises:
        RuntimeRefused: ONNX Runtime does not run it.
    """
    session = create_session(model, config, base_dir, seen)
    return [[np.asarray(o) for o in session.run(None, dict(feeds))] for feeds in sets]
