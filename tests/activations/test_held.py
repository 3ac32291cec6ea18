"""Samples and labels that a caller holds in memory: the same batches as from a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnxruntime.quantization import CalibrationDataReader

from onnxslim_snacs import CompressConfig, DataConfig, SnacsError, apply, compress
from onnxslim_snacs.activations.open_data import open_source
from onnxslim_snacs.activations.sources import CalibrationSource
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.plan.written import plan_from_json, plan_to_json
from onnxslim_snacs.report.report import report_from_json, to_json
from tests.harness import model_from_text

ONE = """<ir_version: 8, opset_import: ["" : 17]>
net (float[N,4] x, float[4,8] w_a, float[8,3] w_b) => (float[N,3] y) {
  a = MatMul(x, w_a)  r = Relu(a)  y = MatMul(r, w_b)
}"""
TWO = """<ir_version: 8, opset_import: ["" : 17]>
net (float[N,4] x, float[N,4] z, float[4,3] w_a) => (float[N,3] y) {
  a = Add(x, z)  y = MatMul(a, w_a)
}"""
STREAM = """<ir_version: 8, opset_import: ["" : 17]>
net (float[1,5] x, float[2,1,5] state) => (float[2,1,5] y) { y = Add(x, state) }"""
X = np.random.default_rng(0).standard_normal((10, 4)).astype(np.float32)
LABELS = np.arange(10) % 3


class Reader(CalibrationDataReader):  # type: ignore[misc]
    """As the examples of ONNX Runtime write it."""

    def __init__(self) -> None:
        self.rewind()

    def rewind(self) -> None:
        self.rest = iter([{"x": X[:4]}, {"x": X[4:8]}, {"x": X[8:]}])

    def get_next(self) -> Any:
        return next(self.rest, None)


class Dataset:
    """A dataset of torch, without torch: a length and items."""

    def __len__(self) -> int:
        return 10

    def __getitem__(self, k: int) -> Any:
        return X[k], LABELS[k]


def loader(**options: Any) -> Any:
    torch = pytest.importorskip("torch")
    data = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(LABELS))
    return torch.utils.data.DataLoader(data, batch_size=4, **options)


def tensor() -> Any:
    return pytest.importorskip("torch").from_numpy(X).requires_grad_()


def threes() -> Iterator[dict[str, Any]]:
    for at in range(0, 10, 3):
        yield {"x": X[at : at + 3]}


FORMS: dict[str, Callable[[], Any]] = {
    "arrays by name": lambda: {"x": X, "labels": LABELS},
    "one array": lambda: X,
    "float64": lambda: X.astype(np.float64),
    "tensor": tensor,
    "list of batches": lambda: [{"x": X[:3]}, {"x": X[3:]}],
    "list of samples": lambda: [{"x": x} for x in X],
    "list of rows": lambda: list(X),
    "list of pairs": lambda: list(zip(X, LABELS, strict=True)),
    "list of dicts and labels": lambda: [({"x": X[:3]}, LABELS[:3]), ({"x": X[3:]}, LABELS[3:])],
    "dataset": Dataset,
    "function": lambda: threes,
    "reader": Reader,
    "loader": loader,
}
LABELLED = {
    *("arrays by name", "list of pairs", "list of dicts and labels", "dataset", "loader"),
}


def opened(given: Any, text: str = ONE, **options: Any) -> CalibrationSource:
    return open_source(DataConfig(given, **options), ModelGraph(model_from_text(text)))


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_samples(form: str) -> None:
    source = opened(FORMS[form]())
    assert source.samples == 10
    for _ in range(2):  # a second pass is the same
        batches = list(source.batches(4))
        assert sum(batch.size for batch in batches) == 10
        for batch in batches:
            assert batch.inputs["x"].dtype == np.float32
            np.testing.assert_array_equal(batch.inputs["x"], X[batch.index])
            if form in LABELLED:
                assert batch.labels is not None
                np.testing.assert_array_equal(batch.labels, LABELS[batch.index])
    assert source.has_labels == (form in LABELLED)


@pytest.mark.parametrize(
    "labels",
    [
        LABELS,
        list(map(int, LABELS)),
        [LABELS[:7], LABELS[7:]],
        lambda: iter([LABELS[:1], LABELS[1:]]),
    ],
)
@pytest.mark.parametrize("form", ["one array", "list of batches", "function", "reader"])
def test_labels_on_their_own(form: str, labels: Any) -> None:
    for batch in opened(FORMS[form](), labels=labels).batches(4):
        assert batch.labels is not None
        np.testing.assert_array_equal(batch.labels, LABELS[batch.index])


def test_a_reader_is_left_as_it_came() -> None:
    reader = Reader()
    source = opened(reader)
    next(iter(source.batches(2)))
    assert reader.get_next()["x"] is not None
    reader.rewind()
    assert sum(1 for _ in iter(reader.get_next, None)) == 3


def test_samples_of_two_inputs() -> None:
    pairs = [(X[:3], -X[:3]), (X[3:], -X[3:])]
    for given in (pairs, [(*pairs[0], LABELS[:3]), (*pairs[1], LABELS[3:])]):
        for batch in opened(given, TWO).batches(4):
            np.testing.assert_array_equal(batch.inputs["z"], -X[batch.index])


def test_sets_of_inputs_of_a_stream() -> None:
    feeds = [{"x": np.full((1, 5), k, np.float32), "state": np.zeros((2, 1, 5))} for k in range(3)]
    found = [float(b.inputs["x"][0, 0]) for b in opened(feeds, STREAM).batches()]
    assert found == [0.0, 1.0, 2.0]


def test_a_plan_does_not_hold_samples_and_takes_them_again() -> None:
    config = CompressConfig(data=DataConfig(X), target={"macs": 0.6}, criterion="l1")
    model = model_from_text(ONE, integers=False)
    done = compress(model, config)
    plan = plan_from_json(plan_to_json(done.plan))
    assert apply(model, plan, data=DataConfig({"x": X})).model == done.model
    assert config == CompressConfig(data=config.data, target={"macs": 0.6}, criterion="l1")


def endless() -> Iterator[Any]:
    while True:
        yield {"x": X}


def faulty() -> Iterator[Any]:
    yield {"x": X}
    raise KeyError("lost")


class NoRewind:
    def get_next(self) -> Any:
        return None


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (3, r"DataConfig\.path: got 3 \(int\), expected a path"),
        ({}, r"DataConfig\.path: got \{\}"),
        ({1: X}, r"DataConfig\.path"),
        ([1, 2], r"DataConfig\.path"),
        (b"x", r"DataConfig\.path"),
        (threes(), r"DataConfig\.path: generator can be read once only"),
        (NoRewind(), r"DataConfig\.path: NoRewind has no rewind\(\)"),
        ({"y": X}, r"DataConfig\.path \(dict\): got arrays y, expected the model's inputs x"),
        ({"x": X[:, :3]}, r"DataConfig\.path \(dict\): x got float32 \(10, 3\), expected"),
        ({"x": np.array([None] * 3)}, "x holds Python objects"),
        ([{"x": X}, {"x": X[:, :3]}], r"DataConfig\.path \(list\)\[1\]: x got"),
        ([(X, X, X)], r"DataConfig\.path \(list\)\[0\] yielded tuple of 3"),
        (np.float32(1), r"DataConfig\.path"),
        (faulty, r"DataConfig\.path \(function\) failed: KeyError: 'lost'"),
        (lambda: [5], r"DataConfig\.path \(function\) yielded int, expected dicts of arrays"),
        (lambda: 5, r"DataConfig\.path \(function\) failed: TypeError"),
        (list, r"DataConfig\.path"),
    ],
)
def test_what_is_refused_is_named(given: Any, says: str) -> None:
    with pytest.raises(SnacsError, match=says):
        opened(given)


@pytest.mark.parametrize(
    ("given", "labels", "says"),
    [
        (X, LABELS[:9], r"DataConfig\.labels: got 9 labels for 10 samples"),
        (threes, LABELS[:9], r"DataConfig\.labels: got 9 labels for 10 samples"),
        (X, 3, r"DataConfig\.labels: got 3"),
        (X, iter([1]), r"DataConfig\.labels: list_iterator can be read once only"),
        ("x.npz", LABELS, r"DataConfig\.labels belongs to samples in memory"),
        (None, LABELS, r"DataConfig\.labels belongs to samples in memory"),
    ],
)
def test_labels_that_are_refused(given: Any, labels: Any, says: str) -> None:
    with pytest.raises(SnacsError, match=says):
        opened(given, labels=labels)


def test_samples_that_change_from_pass_to_pass_are_refused() -> None:
    """What a cut answers would be held against what the original answered to others."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    with pytest.raises(SnacsError, match=r"yielded other samples than the first time.*shuffle"):
        list(opened(loader(shuffle=True)).batches())
    drawn = np.random.default_rng(0)
    with pytest.raises(SnacsError, match="yielded other samples"):
        list(opened(lambda: [X + drawn.standard_normal()]).batches())


def test_as_many_as_are_asked_for() -> None:
    assert opened(endless, samples=25).samples == 25
    assert opened(X, samples=3).samples == 3


def test_a_report_says_that_samples_were_in_memory(tmp_path: Path) -> None:
    config = CompressConfig(
        data=DataConfig(X, labels=LABELS), ratio=0.25, criterion="l1", recover="none"
    )
    report = compress(model_from_text(ONE), config).report
    again = report_from_json(to_json(report))
    assert again.config is not None
    assert (again.config.data.path, again.config.data.labels) == ("(ndarray)", None)
    assert again.drift is not None
    assert again.drift.accuracy_before is not None
