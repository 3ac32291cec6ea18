"""Turn the residual streams of a transformer into the basis of their principal components.

What the model computes stays.  Its width, which no exact cut can touch while each layer norm mixes
all channels, is then a group like any other, its channels ordered by what they carry.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from onnx import TensorProto

from onnxslim_snacs.activations.open_data import files_of, open_source
from onnxslim_snacs.activations.requests import GramRequest
from onnxslim_snacs.activations.run import execute, open_session
from onnxslim_snacs.activations.sources import CalibrationSource
from onnxslim_snacs.activations.statistics import collect
from onnxslim_snacs.commands.naming import names_file
from onnxslim_snacs.commands.outputs import Outputs
from onnxslim_snacs.config import DataConfig
from onnxslim_snacs.errors import InputRefused, NothingToPrune, ProofFailed, foreign
from onnxslim_snacs.layers.layers import FloatArray
from onnxslim_snacs.layers.streams import NoStream, Stream, find_streams
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.load import load_model
from onnxslim_snacs.model.session import SessionConfig, resolve_provider
from onnxslim_snacs.ops.analyse import Analysis, analyse
from onnxslim_snacs.passes.rotate import rotate
from onnxslim_snacs.plan.bases import StreamBasis, stream_basis
from onnxslim_snacs.progress import Progress, silent
from onnxslim_snacs.proof.difference import relative_difference

#: Largest max|difference| / max|output| after an orthogonal map of float32 weights: some hundred
#: roundings of 6e-8 in a row, where a wrong map changes the first digits.
ALLOWED = 1e-4


@dataclass(frozen=True, slots=True)
class TurnedStream:
    """A stream in its new basis.

    Attributes:
        width: its channels.
        norms: the normalisations behind which it is read.
        carried: how many of the channels carry 90, 99 and 99.9 per cent of its variance; empty if a
            plan was replayed, which needs no samples.
    """

    width: int
    norms: int
    carried: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Turned:
    """A model whose streams were turned.

    Attributes:
        graph: the model.
        streams: what was turned.
        refused: groups behind normalisations that could not be turned, with the reason.
        difference: max|difference| / max|output| from the original.
        bases: the new bases, in the order in which the streams were turned.
        allowed: what that may be.
    """

    graph: ModelGraph
    streams: tuple[TurnedStream, ...]
    refused: tuple[str, ...]
    difference: float
    bases: tuple[StreamBasis, ...]
    allowed: float = ALLOWED


def turn(
    graph: ModelGraph, source: CalibrationSource, session: SessionConfig, data: DataConfig
) -> Turned:
    """Turn every stream of a model that can be turned.

    Args:
        graph: the model; not changed.
        source: samples that say which channels carry what.
        session: how to run it.
        data: sizes of inputs that cannot be guessed.

    Raises:
        NothingToPrune: there is no such stream, with the reasons.
        ProofFailed: the result computes something else.
    """
    first = present = analyse(graph, allow_inexact=True, input_shapes=data.input_shapes)
    turned: list[TurnedStream] = []
    bases: list[StreamBasis] = []
    while True:
        found = find_streams(present)
        streams = [s for s in found if isinstance(s, Stream) and _is_single(present, s)]
        if not streams:
            break
        basis, told = _principal_basis(present, streams[0], source, session)
        turned.append(told)
        bases.append(basis)
        present = _in_basis(present, streams[0], basis, data.input_shapes)
    refused = tuple(f"{s.group}: {s.reason}" for s in found if isinstance(s, NoStream))
    if not turned:
        why = "; ".join(refused) or "no normalisation lies on a group of channels"
        raise NothingToPrune(
            f"no residual stream of this model can be turned: {why}. --width refit narrows it in "
            "the basis that it has: normalisations lose channels, and what reads them is re-fitted"
        )
    worst = _checked_difference(first, present)
    return Turned(present.graph, tuple(turned), refused, worst, tuple(bases))


def turn_again(
    graph: ModelGraph, bases: Sequence[StreamBasis], input_shapes: Mapping[str, tuple[int, ...]]
) -> Turned:
    """Turn the streams of a model as a plan says.

    Args:
        graph: the model; not changed.
        bases: those of the plan.
        input_shapes: sizes of inputs that cannot be guessed.

    Raises:
        InputRefused: the model has no such stream.
        ProofFailed: the result computes something else.
    """
    first = present = analyse(graph, allow_inexact=True, input_shapes=input_shapes)
    told = []
    for basis in bases:
        found = {s.group: s for s in find_streams(present) if isinstance(s, Stream)}
        stream = found.get(basis.group)
        if stream is None or stream.width != basis.width or not _is_single(present, stream):
            raise InputRefused(
                f"plan: the model has no residual stream {foreign(basis.group)} of {basis.width} "
                "channels that can be turned"
            )
        told.append(TurnedStream(stream.width, len(stream.norms), ()))
        present = _in_basis(present, stream, basis, input_shapes)
    worst = _checked_difference(first, present)
    return Turned(present.graph, tuple(told), (), worst, tuple(bases))


def _is_single(analysis: Analysis, stream: Stream) -> bool:
    """Whether its weights are single precision: halves lose too much in another basis."""
    kinds = {t.name: t.data_type for t in analysis.graph.graph.initializer}
    return all(kinds.get(n, TensorProto.FLOAT) == TensorProto.FLOAT for n in stream.writers)


def _in_basis(
    analysis: Analysis,
    stream: Stream,
    basis: StreamBasis,
    input_shapes: Mapping[str, tuple[int, ...]],
) -> Analysis:
    model = ModelGraph(rotate(analysis, stream, basis.matrix()), analysis.graph.base_dir)
    return analyse(model, allow_inexact=True, input_shapes=input_shapes)


def _principal_basis(
    analysis: Analysis, stream: Stream, source: CalibrationSource, session: SessionConfig
) -> tuple[StreamBasis, TurnedStream]:
    bare = rotate(analysis, stream, np.eye(stream.width))
    facts = analyse(ModelGraph(bare, analysis.graph.base_dir)).facts
    requests = [GramRequest(norm.out, norm.dim) for norm in stream.norms]
    grams = collect(facts, source, requests, session).grams
    moments = [grams[request].products / grams[request].count for request in requests]
    scaled = [m / max(float(np.trace(m)), 1e-30) for m in moments]
    values, basis = principal(np.sum(scaled, axis=0))
    shares = np.cumsum(values) / values.sum()
    carried = tuple(int(np.searchsorted(shares, s - 1e-12) + 1) for s in (0.9, 0.99, 0.999))
    told = TurnedStream(stream.width, len(stream.norms), (carried[0], carried[1], carried[2]))
    return stream_basis(stream.group, basis), told


def principal(moments: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Eigenvalues in descending order and eigenvectors (width, width) as columns.

    The sign of each vector is fixed by its largest entry, so that the same data give the same file.
    """
    values, vectors = np.linalg.eigh(moments)
    values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1]
    largest = vectors[np.abs(vectors).argmax(axis=0), np.arange(len(values))]
    return values, vectors * np.where(largest < 0, -1.0, 1.0)


def _checked_difference(before: Analysis, after: Analysis) -> float:
    """How far the turned model is from the original.

    Raises:
        ProofFailed: further than rounding explains.
    """
    worst = _difference(before, after)
    if not worst <= ALLOWED:
        raise ProofFailed(
            f"the turned model differs from the original by {worst:.2g}, allowed {ALLOWED:.2g}"
        )
    return worst


def _difference(before: Analysis, after: Analysis) -> float:
    config = SessionConfig(level=0)
    names = before.graph.outputs
    sessions = [
        open_session(part.graph.proto, config, part.graph.base_dir) for part in (before, after)
    ]
    worst = 0.0
    for feeds in before.facts.feeds:
        wanted, got = (execute(session, names, feeds) for session in sessions)
        pairs = zip(wanted, got, strict=True)
        worst = max([worst, *(relative_difference(a, b) for a, b in pairs)])
    return worst


def nothing_shown(turned: Turned) -> None:
    """A result that nobody waits for."""


@names_file
def rotate_file(
    path: Path | str,
    data: DataConfig,
    *,
    out: Path | str,
    overwrite: bool = False,
    provider: str = "auto",
    threads: int = 1,
    seed: int = 0,
    progress: Progress = silent,
    told: Callable[[Turned], None] = nothing_shown,
) -> Turned:
    """Write a model of the same function whose width can be cut.

    Args:
        path: the .onnx file.
        data: samples; principal components of random inputs say nothing.
        out: where to write the result.
        overwrite: whether an existing file may be replaced.
        provider: auto, cpu or cuda.
        threads: threads of ONNX Runtime.
        seed: for what is drawn.
        progress: told (stage, done, total); the last stage is "write".
        told: told the result before its file is written; if it raises, none is.

    Raises:
        SnacsError: one leaf for each way in which a run can end, see `errors`.
    """
    graph = load_model(Path(path))
    files = Outputs.of(path, graph, model=out, overwrite=overwrite, inputs=files_of(data))
    source = open_source(data, graph, seed=seed)
    if source.is_random:
        raise NothingToPrune(f"{foreign(path)}: principal components need real samples, --data")
    turned = turn(graph, source, SessionConfig(resolve_provider(provider), threads), data)
    told(turned)
    progress("write", 0, 1)
    files.put(turned.graph.proto, graph.base_dir)
    return turned


def width_notes(turned: Turned | None) -> dict[str, object]:
    """What the report says of turned streams."""
    if turned is None:
        return {}
    told = {
        "streams": [asdict(stream) for stream in turned.streams],
        "refused": list(turned.refused),
        "difference": turned.difference,
        "allowed": turned.allowed,
    }
    return {"rotated": told}
