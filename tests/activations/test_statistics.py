"""Reductions in the graph, held against numpy on the plain activations."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from onnxslim_snacs.activations import run as runs_of
from onnxslim_snacs.activations.instrument import instrument
from onnxslim_snacs.activations.open_data import open_source
from onnxslim_snacs.activations.requests import (
    GramRequest,
    MomentRequest,
    PooledRequest,
    RangeRequest,
    Request,
    Statistics,
    pooled_request,
)
from onnxslim_snacs.activations.reservoir import Reservoir
from onnxslim_snacs.activations.run import batch_size, execute, open_session, run_batches
from onnxslim_snacs.activations.sources import CalibrationSource
from onnxslim_snacs.activations.statistics import collect, merge
from onnxslim_snacs.config import DataConfig
from onnxslim_snacs.errors import InputRefused, InternalError, LimitExceeded
from onnxslim_snacs.model import bounds
from onnxslim_snacs.model.facts import ModelFacts
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.reading import read_facts
from onnxslim_snacs.model.session import SessionConfig, create_session, import_onnxruntime
from onnxslim_snacs.ops.analyse import Analysis
from tests.harness import model_from_text

CPU = SessionConfig()
NET = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N, 3, 6, 6] x, float[8, 3, 3, 3] w_a, float[8] w_b, float[8, 4] w_c)
  => (float[N, 4] y) {
  h = Conv <pads = [1, 1, 1, 1]> (x, w_a, w_b)
  r = Relu(h)
  l = Transpose <perm = [0, 2, 3, 1]> (r)
  p = GlobalAveragePool(r)
  f = Flatten(p)
  t = Transpose <perm = [1, 0]> (f)
  y = MatMul(f, w_c)
}
"""
TENSORS = {"x": 1, "h": 1, "r": 1, "l": 3, "f": 1, "t": 0, "y": 1}
REQUESTS: tuple[Request, ...] = (
    *(PooledRequest(n, c, 1 if n == "t" else 0) for n, c in TENSORS.items()),
    *(MomentRequest(n, c) for n, c in TENSORS.items()),
    *(RangeRequest(n, c) for n, c in TENSORS.items()),
    *(GramRequest(n, c) for n, c in TENSORS.items()),
)


def net(opset: int = 17, text: str = NET) -> ModelProto:
    model = model_from_text(text, integers=False)
    model.opset_import[0].version = opset
    return model


def source_of(
    model: ModelProto, tmp_path: Path, samples: int = 21
) -> tuple[ModelFacts, CalibrationSource]:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((samples, 3, 6, 6)) + 0.5
    np.savez(tmp_path / "d.npz", x=x, labels=np.arange(samples) % 4)
    graph = ModelGraph(model)
    return read_facts(graph), open_source(DataConfig(str(tmp_path / "d.npz")), graph)


def activations(model: ModelProto, source: CalibrationSource) -> dict[str, NDArray[np.float64]]:
    """All activations of all samples, (sample, ...) or with the sample as in the model."""
    plain = ModelProto()
    plain.CopyFrom(model)
    del plain.graph.output[:]
    plain.graph.output.extend(onnx.ValueInfoProto(name=n) for n in TENSORS if n != "x")
    session = create_session(plain, SessionConfig(level=0))
    found: dict[str, list[NDArray[Any]]] = {name: [] for name in TENSORS}
    for batch, outputs in run_batches(session, source, 4):
        found["x"].append(batch.inputs["x"][: batch.size])
        for name, value in outputs.items():
            found[name].append(value[:, : batch.size] if name == "t" else value)
    return {
        n: np.concatenate(v, axis=1 if n == "t" else 0).astype(np.float64) for n, v in found.items()
    }


def check(found: Statistics, values: dict[str, NDArray[np.float64]], tolerance: float) -> None:
    for name, channel in TENSORS.items():
        by_channel = np.moveaxis(values[name], channel, 0)
        flat = by_channel.reshape(len(by_channel), -1)
        if name == "t":
            rows = by_channel.T
        else:
            rows = by_channel.reshape(len(by_channel), found.samples, -1).mean(axis=2).T
        scale = np.abs(flat).max()
        pooled = found.pooled[PooledRequest(name, channel, 1 if name == "t" else 0)]
        np.testing.assert_allclose(pooled, rows, atol=tolerance * scale, rtol=0)
        moments = found.moments[MomentRequest(name, channel)]
        assert moments.count == flat.shape[1]
        np.testing.assert_allclose(moments.mean, flat.mean(1), atol=tolerance * scale, rtol=0)
        np.testing.assert_allclose(moments.variance, flat.var(1), atol=tolerance * scale**2, rtol=0)
        extremes = found.ranges[RangeRequest(name, channel)]
        np.testing.assert_allclose(extremes.low, flat.min(1), atol=tolerance * scale, rtol=0)
        np.testing.assert_allclose(extremes.high, flat.max(1), atol=tolerance * scale, rtol=0)
        gram = found.grams[GramRequest(name, channel)]
        assert gram.count == flat.shape[1]
        np.testing.assert_allclose(
            gram.products / gram.count, flat @ flat.T / gram.count, atol=tolerance * scale**2
        )
        np.testing.assert_allclose(
            gram.covariance, np.cov(flat, bias=True), atol=tolerance * scale**2
        )


@pytest.mark.parametrize("level", [0, 3])
@pytest.mark.parametrize("opset", [7, 11, 13, 17, 18, 21, 23])
def test_reductions_are_exact(tmp_path: Path, opset: int, level: int) -> None:
    model = net(opset)
    facts, source = source_of(model, tmp_path)
    config = SessionConfig(level=level)
    found = collect(facts, source, REQUESTS, config, size=4)
    assert found.samples == 21
    np.testing.assert_array_equal(found.index, np.arange(21))
    np.testing.assert_array_equal(found.labels, np.arange(21) % 4)
    check(found, activations(model, source), 3e-7)


def test_half_precision_is_reduced_in_single(tmp_path: Path) -> None:
    model = net(text=NET.replace("float[", "float16["))
    for tensor in model.graph.initializer:
        tensor.CopyFrom(
            numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name)
        )
    facts, source = source_of(model, tmp_path)
    found = collect(facts, source, REQUESTS, SessionConfig(level=0), size=4)
    # ONNX Runtime may skip the rounding of h to half precision, which is one part in 2048
    check(found, activations(model, source), 2**-11)


def test_fixed_batch_counts_no_sample_twice(tmp_path: Path) -> None:
    model = net(text=NET.replace("[N,", "[4,"))
    facts, source = source_of(model, tmp_path)
    found = collect(facts, source, REQUESTS, CPU)
    assert found.samples == 21  # five runs of four, and one of one sample four times
    check(found, activations(model, source), 2e-6)


def test_batch_size_does_not_matter(tmp_path: Path) -> None:
    facts, source = source_of(net(), tmp_path)
    runs = [collect(facts, source, REQUESTS, CPU, rows_cap=8, size=size) for size in (1, 5, 32)]
    for run in runs[1:]:
        np.testing.assert_array_equal(run.index, runs[0].index)
        for request, rows in run.pooled.items():
            np.testing.assert_allclose(rows, runs[0].pooled[request], atol=1e-5)
    again = collect(facts, source, REQUESTS, CPU, rows_cap=8, size=5)
    for request, rows in again.pooled.items():
        np.testing.assert_array_equal(rows, runs[1].pooled[request])


def test_merged_shards_are_the_whole(tmp_path: Path) -> None:
    facts, source = source_of(net(), tmp_path)
    whole = collect(facts, source, REQUESTS, CPU, rows_cap=8, size=1)
    a, b, c = (
        collect(facts, source.part(*part), REQUESTS, CPU, rows_cap=8, size=1)
        for part in ((0, 3), (3, 14), (14, 21))
    )
    for merged in (merge(merge(a, b), c), merge(a, merge(c, b))):
        assert merged.samples == whole.samples
        np.testing.assert_array_equal(merged.index, whole.index)
        np.testing.assert_array_equal(merged.labels, whole.labels)
        for request, rows in whole.pooled.items():
            np.testing.assert_array_equal(merged.pooled[request], rows)
        for name, moments in whole.moments.items():
            assert merged.moments[name].count == moments.count
            np.testing.assert_allclose(merged.moments[name].sum, moments.sum, rtol=1e-12)
        for other, gram in whole.grams.items():
            np.testing.assert_allclose(merged.grams[other].products, gram.products, rtol=1e-12)
    with pytest.raises(InternalError, match="same requests"):
        merge(a, replace(b, grams={}))


def test_rows_are_a_uniform_choice() -> None:
    times = np.zeros(21)
    for seed in range(3000):
        reservoir = Reservoir[str](7, seed)
        for at in range(0, 21, 4):
            reservoir.add(np.arange(at, min(at + 4, 21)), {"i": np.arange(21)[at : at + 4, None]})
        index, _, rows = reservoir.sorted_rows()
        assert len(index) == 7
        np.testing.assert_array_equal(rows["i"][:, 0], index)
        times[index] += 1
    spread = np.sqrt(3000 * (1 / 3) * (2 / 3))
    assert np.abs(times - 1000).max() < 4.5 * spread


def many_samples(count: int = 20_000) -> Iterator[dict[str, NDArray[Any]]]:
    rng = np.random.default_rng(0)
    for _ in range(count // 100):
        yield {"x": rng.standard_normal((100, 3, 6, 6), dtype=np.float32)}


def few_samples() -> Iterator[dict[str, NDArray[Any]]]:
    yield from many_samples(1000)


def test_memory_does_not_grow_with_the_samples() -> None:
    graph = ModelGraph(net())
    facts = read_facts(graph)
    peaks = []
    for function in ("few_samples", "many_samples"):
        source = open_source(DataConfig(f"{__name__}:{function}"), graph)
        tracemalloc.start()
        found = collect(facts, source, REQUESTS, CPU, rows_cap=256)
        peaks.append(tracemalloc.get_traced_memory()[1] - 3 * source.order.nbytes)
        tracemalloc.stop()
        assert all(len(rows) == 256 for rows in found.pooled.values())
    assert found.samples == 20_000
    assert peaks[1] < 1.1 * peaks[0]


def test_progress_is_told(tmp_path: Path) -> None:
    facts, source = source_of(net(), tmp_path)
    told: list[tuple[int, int]] = []
    collect(facts, source, REQUESTS, CPU, size=8, progress=lambda *step: told.append(step))
    assert told == [(8, 21), (16, 21), (21, 21)]


WINDOWS = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N, 3, 6, 6] x, float[5, 3, 1, 1] w_a) => (float[N, 5, 6, 6] y) {
  y = Conv(x, w_a)
  cut = Constant <value = int64[6] {-1, 5, 2, 3, 2, 3}> ()
  cut_y = Reshape(y, cut)
  moved = Transpose <perm = [0, 2, 4, 3, 5, 1]> (cut_y)
  rows = Constant <value = int64[3] {-1, 9, 5}> ()
  windows = Reshape(moved, rows)
  last = Transpose <perm = [1, 0, 2]> (windows)
  flat = Constant <value = int64[2] {-1, 5}> ()
  all = Reshape(windows, flat)
  total = ReduceMean <axes = [0], keepdims = 0> (all)
}
"""


def test_windows_are_folded_into_their_sample(tmp_path: Path) -> None:
    facts, source = source_of(net(text=WINDOWS), tmp_path)
    names = ("moved", "windows", "last", "all", "total")
    requests = [pooled_request(facts, name, -1, source.specs) for name in names]
    assert [r.sample_dim for r in requests] == [0, 0, 1, 0, None]
    direct = PooledRequest("y", 1, 0)
    found = collect(facts, source, [direct, *requests[:4]], CPU)
    for request in requests[:4]:
        np.testing.assert_allclose(found.pooled[request], found.pooled[direct], atol=2e-6)
    alone = collect(facts, source, [direct, requests[4]], CPU)
    np.testing.assert_allclose(alone.pooled[requests[4]], found.pooled[direct], atol=2e-6)


def test_rows_that_do_not_fit_the_batch_are_run_one_by_one(tmp_path: Path) -> None:
    facts, source = source_of(net(text=WINDOWS), tmp_path)
    wrong = PooledRequest("last", 2, 0)  # (9, windows, 5): 9 rows, whatever the batch
    found = collect(facts, source, [wrong, PooledRequest("y", 1, 0)], CPU)
    np.testing.assert_allclose(
        found.pooled[wrong], found.pooled[PooledRequest("y", 1, 0)], atol=2e-6
    )


def test_names_do_not_clash(tmp_path: Path) -> None:
    model = net(text=NET.replace(" h ", " snacs_0 ").replace("(h)", "(snacs_0)"))
    facts, source = source_of(model, tmp_path)
    found = collect(facts, source, [PooledRequest("snacs_0"), PooledRequest("r")], CPU)
    assert len(found.pooled) == 2
    assert model.graph.output[0].name == "y"
    assert not any(node.op_type == "Cast" for node in model.graph.node)


def test_requests_that_cannot_be_answered(tmp_path: Path) -> None:
    facts, source = source_of(net(), tmp_path)
    with pytest.raises(InternalError, match="no such activation"):
        instrument(facts, [PooledRequest("nowhere")])
    with pytest.raises(InternalError, match="channel dimension 4 of 4"):
        instrument(facts, [MomentRequest("h", 4)])
    model = net()
    model.graph.node.append(helper.make_node("Unheard", ["h"], ["u"], domain="of"))
    model.opset_import.append(helper.make_opsetid("of", 1))
    with pytest.raises(InputRefused, match="cannot run this model"):
        collect(read_facts(ModelGraph(model)), source, [PooledRequest("h")], CPU)


def test_batch_size_is_bounded_by_memory(tmp_path: Path) -> None:
    facts, source = source_of(net(), tmp_path)
    assert batch_size(facts, source, ["h", "r"]) == 32
    needed = 4 * (2 * 8 * 36 + 4 * 8 * 36)  # bytes of a sample: h and r kept, four of the largest
    assert batch_size(facts, source, ["h", "r"], memory=5 * needed) == 5
    assert batch_size(facts, source, ["h", "r"], memory=1) == 1


def test_what_the_process_is_bound_to_bounds_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts, source = source_of(net(), tmp_path)
    needed = 4 * (2 * 8 * 36 + 4 * 8 * 36)
    monkeypatch.setattr(bounds, "memory_bound", lambda: 4 * 4 * needed)
    assert bounds.working_memory() == 1 << (4 * needed).bit_length() - 1
    assert batch_size(facts, source, ["h", "r"]) == bounds.working_memory() // needed
    monkeypatch.setattr(runs_of, "memory_bound", lambda: needed - 1)
    with pytest.raises(LimitExceeded, match="activations of one sample"):
        batch_size(facts, source, ["h", "r"])


def test_bound_buffers_give_what_a_plain_run_gives(tmp_path: Path) -> None:
    _, source = source_of(net(), tmp_path)
    session = open_session(net(), CPU)
    names = [output.name for output in session.get_outputs()]
    (batch,) = source.part(0, 5).batches(5)
    plain = execute(session, names, batch.inputs)
    bound = runs_of.execute_bound(session, names, batch.inputs, "cpu")
    assert [a.tobytes() for a in bound] == [a.tobytes() for a in plain]


def test_failure_on_samples_is_told(tmp_path: Path) -> None:
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    net (int64[N] x, float[9, 2] w_table) => (float[N, 2] y) { y = Gather(w_table, x) }
    """
    graph = ModelGraph(model_from_text(text))
    np.savez(tmp_path / "d.npz", x=np.array([1, 99]))
    source = open_source(DataConfig(str(tmp_path / "d.npz")), graph)
    with pytest.raises(InputRefused, match="the model fails on the samples"):
        collect(read_facts(graph), source, [PooledRequest("y")], CPU)


def test_integer_activations_are_reduced(tmp_path: Path) -> None:
    model = net()
    model.graph.node.append(helper.make_node("Cast", ["h"], ["i"], to=TensorProto.INT32))
    facts, source = source_of(model, tmp_path)
    found = collect(facts, source, [PooledRequest("i"), RangeRequest("i")], CPU)
    assert found.ranges[RangeRequest("i")].low.min() < 0
    assert np.isfinite(found.pooled[PooledRequest("i")]).all()


@pytest.mark.cuda
def test_cuda_gives_the_same(tmp_path: Path) -> None:
    if "CUDAExecutionProvider" not in import_onnxruntime().get_available_providers():
        pytest.skip("this ONNX Runtime has no CUDA provider")
    facts, source = source_of(net(), tmp_path)
    config = SessionConfig(provider="cuda")
    check(collect(facts, source, REQUESTS, config, size=4), activations(net(), source), 1e-3)


class Watching:
    """A rider that keeps the numbers of the runs at which it looks."""

    tensors = ("f",)

    def __init__(self, samples: int) -> None:
        self.samples = samples
        self.runs: list[int] = []

    @property
    def anew(self) -> Callable[[Analysis], Watching]:
        return lambda analysis: Watching(self.samples)

    def begin(self, size: int) -> None:
        self.runs = []

    def look(self, number: int, values: Mapping[str, NDArray[Any]]) -> int:
        assert values["f"].shape == (4, 8)
        return number

    def take(self, seen: int) -> None:
        self.runs.append(seen)


@pytest.mark.parametrize(
    ("wanted", "runs"),
    [(40, range(10)), (99, range(10)), (20, [0, 2, 4, 6, 8]), (12, [0, 3, 6]), (3, [0])],
)
def test_a_rider_looks_at_runs_that_lie_evenly_among_all(
    tmp_path: Path, wanted: int, runs: Iterable[int]
) -> None:
    """Samples come in the order of the files: the first half may be half of the classes."""
    facts, source = source_of(net(), tmp_path, 40)
    rider = Watching(wanted)
    collect(facts, source, [PooledRequest("f")], CPU, size=4, rider=rider)
    assert rider.runs == list(runs)
