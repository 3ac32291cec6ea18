"""Find the shapes and values of all tensors by running the model on inputs of several sizes.

Shape inference stops wherever an exporter computes a shape at run time, so the model itself is
asked: a few small runs in ONNX Runtime, with different sizes for every dimension that is free (see
`settle`), give every shape, and every integer vector that follows from shapes.  What differs
between the runs is dynamic; what agrees is fact, unless it follows from an extent that could not be
varied, or was clipped or rounded (see `changing`).  Where the model cannot be run (an operator that
ONNX Runtime does not know), static shape inference has to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np
import onnx
from onnx import ValueInfoProto

from onnxslim_snacs.errors import InputRefused, LimitExceeded, RuntimeRefused, foreign
from onnxslim_snacs.model.changing import find_changing
from onnxslim_snacs.model.constants import constant_tensors, heavy_tensors
from onnxslim_snacs.model.extents import InputExtents, LinearExtent, read_layout
from onnxslim_snacs.model.facts import Fed, ModelFacts
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.patience import modesty, patience
from onnxslim_snacs.model.probes import probe_session, sequences_of, weight_bytes
from onnxslim_snacs.model.session import (
    SessionConfig,
    create_session,
    lacks_operator,
)
from onnxslim_snacs.model.settle import Settled, settle
from onnxslim_snacs.model.sizes import Shape, Sizes, known_dims, random_inputs
from onnxslim_snacs.model.starts import Hint, Start, starts
from onnxslim_snacs.model.trial import MOST_NUMBERS, Bench

#: How many times as many numbers as the user has asked for may be tried.
_ASKED = 8
#: Numbers of dimensions to try for an input that declares none.
_RANKS = (4, 2, 3, 1, 5, 0)


def read_body_facts(graph: ModelGraph, fed: Fed, threads: int = 0) -> ModelFacts:
    """Find out shapes and values of the body of a node, taken as a model.

    Args:
        graph: the model.
        fed: what goes into it.
        threads: threads for the runs.

    Raises:
        InputRefused: it cannot be run on that.
    """
    constant, weights = constant_tensors(graph, fed.by_shape, fed.weights)
    known = {n: [np.asarray(f[n]) for f in fed.feeds] for n in fed.by_shape}
    try:
        valued = constant - heavy_tensors(graph, weights) - frozenset(graph.inputs)
        session = probe_session(graph, valued, threads)
        runs = [session.probe(feeds) for feeds in fed.feeds]
    except RuntimeRefused as error:
        raise InputRefused(f"the body cannot be run on its own: {error}") from error
    return ModelFacts(
        graph=graph,
        shapes=tuple(shapes for shapes, _ in runs),
        values=tuple(
            values | {n: v[k] for n, v in known.items()} for k, (_, values) in enumerate(runs)
        ),
        static={},
        weights=weights,
        by_shape=constant,
        ran=True,
        feeds=fed.feeds,
        sequences=sequences_of(graph),
    )


def read_facts(
    graph: ModelGraph,
    input_shapes: Sizes | None = None,
    threads: int = 0,
    examples: Sequence[Hint] = (),
) -> ModelFacts:
    """Find out shapes and values.

    Args:
        graph: the model.
        input_shapes: sizes to begin with, for inputs whose dimensions cannot be guessed; a
            dimension that is declared dynamic stays so.
        threads: threads for the runs; 0 takes every core, for shapes do not depend on it.
        examples: shapes of samples, to begin with as well.

    Raises:
        InputRefused: `input_shapes` names an input that is not there, or the model cannot be run
            and that is not for want of an operator in ONNX Runtime.
    """
    constant, weights = constant_tensors(graph)
    given = dict(input_shapes or {})
    begin = [
        start
        for layout in _layouts(graph, given, examples)
        for start in starts(layout, given, examples)
    ]
    valued = constant - heavy_tensors(graph, weights)
    settled = _settled(graph, begin, valued, constant, given, threads)
    if isinstance(settled, LimitExceeded):
        raise settled
    failure = settled if isinstance(settled, Exception) else None
    broken = failure is not None and not lacks_operator(failure)
    if broken and not _runs(graph, begin, threads):
        raise InputRefused(
            f"ONNX Runtime cannot run this model: {foreign(failure)}; if that is for want of a "
            "fitting size, give it with --input-shape NAME=1,3,H,W"
        )
    found = None if isinstance(settled, Exception) else settled
    trials = found.trials if found is not None else ()
    facts = ModelFacts(
        graph=graph,
        shapes=tuple(trial.shapes for trial in trials),
        values=tuple(trial.values for trial in trials),
        static={} if trials else _inferred(graph),
        weights=weights,
        by_shape=constant,
        ran=bool(trials),
        note="" if failure is None else foreign(failure),
        lacks_operator=failure is not None and lacks_operator(failure),
        feeds=tuple(random_inputs(graph, trial.sizes, 0) for trial in trials),
        settled=found,
        sequences=sequences_of(graph) if trials else frozenset(),
    )
    return (
        facts if found is None else replace(facts, changing=find_changing(graph, found, constant))
    )


def _layouts(graph: ModelGraph, given: Hint, examples: Sequence[Hint]) -> list[InputExtents]:
    """What the model declares; several where it declares no number of dimensions.

    Raises:
        InputRefused: what the user names does not fit.
    """
    unknown = set(given) - set(graph.inputs)
    if unknown:
        raise InputRefused(
            f"input shape given for {foreign(sorted(unknown))}, but the model's inputs are "
            f"{foreign(list(graph.inputs))}"
        )
    ranks = {name: len(shape) for hint in (*examples, given) for name, shape in hint.items()}
    wanted = set(graph.inputs) - set(ranks)
    open_ranks = [
        v.name
        for v in graph.graph.input
        if v.name in wanted and not v.type.tensor_type.HasField("shape")
    ]
    tried = _RANKS if open_ranks else (0,)
    found = [read_layout(graph, {**dict.fromkeys(open_ranks, rank), **ranks}) for rank in tried]
    for name, shape in given.items():
        _check_given(name, shape, found[0].axes[name])
    return found


def _check_given(name: str, shape: Sequence[int | None], row: Sequence[LinearExtent]) -> None:
    fits = len(row) == len(shape) and all(
        extent.terms or extent.constant == size for extent, size in zip(row, shape, strict=True)
    )
    if not fits:
        declared = ", ".join(str(extent) for extent in row)
        raise InputRefused(
            f"input shape given for {foreign(name)}: {tuple(shape)}, but the model declares "
            f"({foreign(declared)})"
        )


def _settled(
    graph: ModelGraph,
    begin: Sequence[Start],
    valued: frozenset[str],
    by_shape: frozenset[str],
    given: Hint,
    threads: int,
) -> Settled | Exception:
    """Runs of the model on inputs of several sizes; what ONNX Runtime raised if there is none."""
    try:
        session = probe_session(graph, valued, threads)
    except RuntimeRefused as error:  # an operator that ONNX Runtime does not know, a broken graph
        return error
    return settle(Bench(graph, session, threads, _most(begin), by_shape), begin, given)


def _most(begin: Sequence[Start]) -> int:
    """Numbers of all inputs together that are worth trying."""
    asked = (_numbers(start) for start in begin if start.held)
    return max((*(_ASKED * numbers for numbers in asked), MOST_NUMBERS))


def _numbers(start: Start) -> int:
    return sum(map(prod, start.layout.sizes(start.numbers).values()))


def _runs(graph: ModelGraph, begin: Sequence[Start], threads: int) -> bool:
    """Whether the model runs as it is: not everything in it may like to be asked for its shape."""
    config = SessionConfig(threads=threads, level=0)
    try:
        session = create_session(graph.proto, config, graph.base_dir)
    except RuntimeRefused:  # the reason is known from the probe
        return False
    weights = weight_bytes(graph)
    most = _most(begin)
    for start in (start for start in begin if _numbers(start) <= most):
        try:
            with patience(weights):
                session.run(None, random_inputs(graph, start.layout.sizes(start.numbers), seed=0))
        except RuntimeRefused:
            continue
        return True
    return False


#: Bytes that shape inference may take beside copies of the model.
_INFERENCE = 1 << 29


def _inferred(graph: ModelGraph) -> dict[str, Shape]:
    """Shapes by ONNX's static inference, for models that cannot be run.

    Raises:
        LimitExceeded: it takes numbers of which there are a billion for a shape.
    """
    try:
        with modesty(_INFERENCE + 4 * graph.proto.ByteSize()):
            model = onnx.shape_inference.infer_shapes(graph.proto, data_prop=True)
    except MemoryError:
        raise LimitExceeded(
            "ONNX's shape inference runs out of memory, as it does where a list of numbers that is "
            "far too long is read as a shape"
        ) from None
    except Exception:  # inference is best effort: without it the tensors stay unknown
        return {}
    infos: Sequence[ValueInfoProto] = (
        *model.graph.value_info,
        *model.graph.input,
        *model.graph.output,
    )
    return {v.name: tuple(known_dims(v)) for v in infos if v.type.tensor_type.HasField("shape")}
