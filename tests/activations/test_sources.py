"""Calibration data of every kind, and what is refused of each."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from onnxslim_snacs.activations.open_data import open_source
from onnxslim_snacs.activations.run import trimmed
from onnxslim_snacs.activations.sources import CalibrationSource
from onnxslim_snacs.config import DataConfig
from onnxslim_snacs.errors import FileSystemError, InputRefused, LimitExceeded, UsageError
from onnxslim_snacs.model.graph import ModelGraph
from tests.harness import model_from_text

IMAGE = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N, 3, 4, 4] x) => (float[N, 3] y) { p = GlobalAveragePool(x)  y = Flatten(p) }
"""
STATE = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[1, 5] x, float[2, 1, 5] state, int64 rate) => (float[2, 1, 5] y) {
  s = Add(x, state)  r = Cast<to = 1>(rate)  y = Mul(s, r)
}
"""
X = np.random.default_rng(0).standard_normal((10, 3, 4, 4)).astype(np.float32)
LABELS = np.arange(10) % 3


def graph(text: str = IMAGE) -> ModelGraph:
    return ModelGraph(model_from_text(text))


def opened(path: Path | str, text: str = IMAGE, **options: Any) -> CalibrationSource:
    return open_source(DataConfig(path=str(path), **options), graph(text))


def gathered(source: CalibrationSource, size: int | None = 4) -> NDArray[Any]:
    return np.concatenate([b.inputs["x"][: b.size] for b in source.batches(size)])


def save(path: Path, *, packed: bool = False, **arrays: Any) -> Path:
    (np.savez_compressed if packed else np.savez)(path, **arrays)
    return path


@pytest.mark.parametrize("packed", [False, True])
def test_archive_in_batches(tmp_path: Path, packed: bool) -> None:
    source = opened(save(tmp_path / "d.npz", packed=packed, x=X.astype(float), labels=LABELS))
    batches = list(source.batches(4))
    assert [b.size for b in batches] == [4, 4, 2]
    assert source.samples == 10
    assert source.has_labels
    assert not source.is_random
    for batch in batches:
        assert batch.inputs["x"].dtype == np.float32
        assert batch.labels is not None
        np.testing.assert_array_equal(batch.inputs["x"], X[batch.index])
        np.testing.assert_array_equal(batch.labels, LABELS[batch.index])
    np.testing.assert_array_equal(gathered(source), X)
    np.testing.assert_array_equal(gathered(source), X)  # a second pass is the same


@pytest.mark.parametrize("packed", [False, True])
def test_parts_are_disjoint_random_choices(tmp_path: Path, packed: bool) -> None:
    source = opened(save(tmp_path / "d.npz", packed=packed, x=X))
    first, second = source.part(0, 6), source.part(6, 10)
    index = [np.concatenate([b.index for b in part.batches(4)]) for part in (first, second)]
    assert sorted(np.concatenate(index)) == list(range(10))
    assert list(index[0]) != list(range(6))
    np.testing.assert_array_equal(gathered(first), X[index[0]])
    np.testing.assert_array_equal(gathered(second), X[index[1]])


def test_samples_are_a_seeded_choice(tmp_path: Path) -> None:
    path = save(tmp_path / "d.npz", x=X)
    orders = [
        open_source(DataConfig(str(path), samples=5), graph(), seed=seed).order
        for seed in (1, 1, 2)
    ]
    assert len(orders[0]) == 5
    np.testing.assert_array_equal(orders[0], orders[1])
    assert set(orders[0]) != set(orders[2])


def test_single_array_and_folder(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", X[:3])
    np.save(tmp_path / "b.npy", np.asfortranarray(X[3:]))
    np.testing.assert_array_equal(gathered(opened(tmp_path / "b.npy")), X[3:])
    np.testing.assert_array_equal(gathered(opened(tmp_path)), X)


def test_half_precision_is_reached_and_not_left(tmp_path: Path) -> None:
    text = IMAGE.replace("float[", "float16[")
    source = opened(save(tmp_path / "d.npz", x=X), text)
    assert next(source.batches()).inputs["x"].dtype == np.float16
    large = opened(save(tmp_path / "l.npz", x=X * 1e6), text)
    with pytest.raises(InputRefused, match="beyond float16"):
        next(large.batches())


def test_fixed_batch_is_filled_with_the_last_sample(tmp_path: Path) -> None:
    source = opened(save(tmp_path / "d.npz", x=X), IMAGE.replace("[N,", "[4,"))
    batches = list(source.batches(32))
    assert [b.inputs["x"].shape[0] for b in batches] == [4, 4, 4]
    assert [b.size for b in batches] == [4, 4, 2]
    np.testing.assert_array_equal(batches[-1].inputs["x"], X[[8, 9, 9, 9]])
    np.testing.assert_array_equal(gathered(source), X)


def test_model_without_a_batch_takes_whole_sets(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    state = rng.standard_normal((3, 2, 1, 5))
    path = save(tmp_path / "d.npz", x=np.ones((3, 1, 5)), state=state, rate=np.arange(3))
    batches = list(opened(path, STATE).batches(32))
    assert [b.size for b in batches] == [1, 1, 1]
    assert batches[2].inputs["state"].shape == (2, 1, 5)
    assert batches[2].inputs["rate"] == 2
    with pytest.raises(InputRefused, match=r"state got \(2, 1, 5\), expected float32 \(samples, 2"):
        opened(save(tmp_path / "e.npz", x=np.ones((3, 1, 5)), state=state[0], rate=[1]), STATE)


def test_whole_sets_for_a_model_with_a_batch(tmp_path: Path) -> None:
    source = opened(save(tmp_path / "d.npz", x=X.reshape(5, 2, 3, 4, 4)))
    assert [b.inputs["x"].shape for b in source.batches()] == [(2, 3, 4, 4)] * 5


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"image": X}, "got arrays image, expected the model's inputs x"),
        ({"x": X, "y": X}, "expected the model's inputs x"),
        ({"x": X[0]}, r"got \(3, 4, 4\), expected float32 \(samples, 3, 4, 4\)"),
        ({"x": X[:, :, :3]}, r"got float32 \(10, 3, 3, 4\), expected float32 \(samples, 3, 4, 4\)"),
        ({"x": (X * 9).astype(np.uint8)}, r"got uint8 \(10, 3, 4, 4\), expected float32"),
        ({"x": X.astype(object)}, "holds object"),
        ({"x": X.astype(complex)}, "holds complex128"),
        ({"x": X[:0]}, "holds no samples"),
        ({"x": X, "labels": LABELS[:5]}, "different numbers of samples"),
    ],
)
def test_wrong_arrays_are_refused_when_opened(
    tmp_path: Path, arrays: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputRefused, match=message) as caught:
        opened(save(tmp_path / "d.npz", **arrays))
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.where(X > 2, np.nan, X)}, "x holds NaN"),
        ({"x": X, "labels": LABELS + 1}, r"got the label 3, expected 0\.\.2"),
        ({"x": X, "labels": LABELS - 1}, "got the label -1"),
        ({"x": X, "labels": LABELS / 2}, "labels got float64"),
    ],
)
def test_wrong_values_are_refused_when_read(
    tmp_path: Path, arrays: dict[str, Any], message: str
) -> None:
    source = opened(save(tmp_path / "d.npz", **arrays))
    with pytest.raises(InputRefused, match=message):
        list(source.batches())


def test_integers_keep_their_values(tmp_path: Path) -> None:
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    net (uint8[N, 2] x) => (uint8[N, 2] y) { y = Identity(x) }
    """
    source = opened(save(tmp_path / "d.npz", x=np.array([[1, 255]])), text)
    assert next(source.batches()).inputs["x"].dtype == np.uint8
    source = opened(save(tmp_path / "d.npz", x=np.array([[1, 256]])), text)
    with pytest.raises(InputRefused, match="x exceeds uint8"):
        list(source.batches())


class Gadget:
    """Touches a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self.marker), "w"))


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    np.save(tmp_path / "d.npy", np.array([Gadget(marker)], dtype=object), allow_pickle=True)
    with pytest.raises(InputRefused, match="holds object"):
        opened(tmp_path / "d.npy")
    assert not marker.exists()


def test_declared_size_is_checked_before_allocating(tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", X)
    data = (tmp_path / "d.npy").read_bytes()
    (tmp_path / "d.npy").write_bytes(data.replace(b"(10, 3, 4, 4)", b"(99999999, 3, 4, 4)")[:4096])
    with pytest.raises(InputRefused, match=r"not a numpy array|declares"):
        opened(tmp_path / "d.npy")
    header = (
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (65536, 3, 4, 4), }".ljust(117) + b"\n"
    )
    magic = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header))
    (tmp_path / "d.npy").write_bytes(magic + header)
    with pytest.raises(InputRefused, match="declares 12582912 bytes but has 0"):
        opened(tmp_path / "d.npy")
    (tmp_path / "d.npy").write_bytes(magic + header.replace(b"65536, 3, 4, 4", b"2, 65536, 65536"))
    with pytest.raises(InputRefused, match="declares"):
        opened(tmp_path / "d.npy")


def test_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = save(tmp_path / "d.npz", packed=True, x=X)
    raw = bytearray(path.read_bytes())
    at = raw.rindex(b"PK\x01\x02")  # the directory, which says what is in the archive
    raw[at + 24 : at + 28] = struct.pack("<I", 2**31)
    path.write_bytes(bytes(raw))
    with pytest.raises(LimitExceeded, match="unpacks"):
        opened(path)


def test_damaged_archives_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "d.npz", packed=True, x=X)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputRefused, match=r"not an \.npz"):
        opened(path)
    damaged = bytearray(whole)
    damaged[300:320] = bytes(20)
    path.write_bytes(bytes(damaged))
    with pytest.raises(InputRefused):
        list(opened(path).batches())
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", b"not an array")
    with pytest.raises(InputRefused, match="not a numpy array"):
        opened(path)


def test_paths_that_lead_nowhere(tmp_path: Path) -> None:
    with pytest.raises(FileSystemError):
        opened(tmp_path / "none.npz")
    with pytest.raises(InputRefused, match="an empty folder"):
        opened(tmp_path)
    (tmp_path / "readme.txt").write_text("x")
    with pytest.raises(InputRefused, match=r"got \.txt"):
        opened(tmp_path)


TOKENS = """
<ir_version: 8, opset_import: ["" : 17]>
net (int64[N, T] x, float[N] weight) => (float[N, T] y) <int64[1] one = {1}> {
  c = Cast<to = 1>(x)  w = Unsqueeze(weight, one)  y = Mul(c, w)
}
"""


def sentences(lengths: list[int]) -> list[dict[str, NDArray[Any]]]:
    """One set of arrays for each sample; it holds its own number."""
    return [
        {"x": np.full((1, t), k), "weight": np.array([k / 2]), "labels": np.array([k])}
        for k, t in enumerate(lengths)
    ]


def ragged() -> Iterator[dict[str, NDArray[Any]]]:
    yield from sentences([3, 3, 5, 3, 5, 5, 5])


def test_samples_of_different_lengths_run_by_length(tmp_path: Path) -> None:
    for k, arrays in enumerate(sentences([3, 5, 3, 4, 5, 3])):
        save(tmp_path / f"{k}.npz", packed=False, **arrays)
    source = opened(tmp_path, TOKENS)
    for size, wanted in ((8, [3, 2, 1]), (2, [2, 1, 2, 1])):
        batches = list(source.batches(size))
        assert [b.size for b in batches] == wanted
        for batch in batches:
            assert batch.labels is not None
            assert batch.inputs["x"][:, 0].tolist() == list(batch.index) == list(batch.labels)
            assert batch.inputs["weight"].tolist() == [k / 2 for k in batch.index]
    assert [b.inputs["x"].shape for b in source.batches(8)] == [(3, 3), (2, 5), (1, 4)]
    function = opened(f"{__name__}:ragged", TOKENS)
    assert [b.inputs["x"].shape for b in function.batches(3)] == [(2, 3), (1, 5), (1, 3), (3, 5)]
    assert [k for b in function.batches(3) for k in b.index] == list(range(7))


STEPS = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[T, B, 2] x, int32[B] lens) => (float[T, B, 2] y) { y = Identity(x) }
"""
FIXED = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[7, 4, 2] x) => (float[7, 4, 2] y) { y = Identity(x) }
"""


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("as_taken", [False, True])
def test_samples_along_another_axis(tmp_path: Path, packed: bool, as_taken: bool) -> None:
    values = np.random.default_rng(1).standard_normal((10, 7, 2)).astype(np.float32)
    stored = np.ascontiguousarray(values.transpose(1, 0, 2)) if as_taken else values
    path = save(tmp_path / "d.npz", packed=packed, x=stored, lens=np.arange(10, dtype=np.int32))
    for source in (opened(path, STEPS), opened(path, STEPS, sample_axes={"x": 1})):
        assert source.samples == 10
        for batch in source.batches(4):
            rows = values[batch.index]
            np.testing.assert_array_equal(batch.inputs["x"], rows.transpose(1, 0, 2))
            np.testing.assert_array_equal(batch.inputs["lens"], batch.index)


def test_a_fixed_batch_along_another_axis_is_filled_there(tmp_path: Path) -> None:
    values = np.random.default_rng(2).standard_normal((6, 7, 2)).astype(np.float32)
    source = opened(save(tmp_path / "d.npz", x=values), FIXED, sample_axes={"x": 1})
    first, last = source.batches()
    np.testing.assert_array_equal(first.inputs["x"], values[:4].transpose(1, 0, 2))
    filled = values[[4, 5, 5, 5]].transpose(1, 0, 2)
    np.testing.assert_array_equal(last.inputs["x"], filled)
    np.testing.assert_array_equal(last.repeated()["x"], values[[5] * 4].transpose(1, 0, 2))
    np.testing.assert_array_equal(trimmed(filled, last), filled[:, :2])
    assert trimmed(np.zeros((4, 3)), last).shape == (2, 3)
    whole = opened(save(tmp_path / "w.npz", x=np.zeros((5, 7, 4, 2), np.float32)), FIXED)
    assert [b.inputs["x"].shape for b in whole.batches()] == [(7, 4, 2)] * 5


def test_an_axis_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="sample-axis x=3: it has 3 dimensions"):
        open_source(DataConfig(sample_axes={"x": 3}), graph(STEPS))
    with pytest.raises(UsageError, match="the model's inputs are"):
        open_source(DataConfig(sample_axes={"z": 1}), graph(STEPS))


WORDS = """
<ir_version: 8, opset_import: ["" : 17]>
net (string[N] word, float[N, 2] x) => (string[N] y, float[N, 2] z) {
  y = Identity(word)  z = Identity(x)
}
"""


def test_strings(tmp_path: Path) -> None:
    words = ["cat", "Süßwasser", "", "dog"]
    numbers = np.zeros((4, 2), np.float32)
    stored = (np.array(words), np.array([word.encode() for word in words]))
    for k, array in enumerate(stored):
        source = opened(save(tmp_path / f"{k}.npz", word=array, x=numbers), WORDS)
        read = [batch.inputs["word"] for batch in source.batches(3)]
        assert [a.dtype.kind for a in read] == ["O", "O"]
        assert np.concatenate(read).tolist() == words
        assert all(isinstance(word, str) for word in np.concatenate(read))
    with pytest.raises(InputRefused, match=r"word got int64 \(4,\), expected strings \(samples\)"):
        opened(save(tmp_path / "n.npz", word=np.arange(4), x=numbers), WORDS)
    with pytest.raises(InputRefused, match="x got <U1"):
        opened(save(tmp_path / "t.npz", word=np.array(words), x=np.full((4, 2), "a")), WORDS)
    made = next(open_source(DataConfig(samples=2), graph(WORDS)).batches())
    assert made.inputs["word"].tolist() == ["", ""]


def samples_by_threes() -> Iterator[dict[str, NDArray[Any]]]:
    for at in range(0, 10, 3):
        yield {"x": X[at : at + 3], "labels": LABELS[at : at + 3]}


def endless() -> Iterator[dict[str, NDArray[Any]]]:
    while True:
        yield {"x": X}


def whole_sets() -> Iterator[dict[str, Any]]:
    for k in range(3):
        yield {"x": np.ones((1, 5)), "state": np.full((2, 1, 5), float(k)), "rate": 1}


def faulty() -> Iterator[dict[str, NDArray[Any]]]:
    yield {"x": X}
    raise KeyError("lost")


def test_function_of_the_user() -> None:
    source = opened(f"{__name__}:samples_by_threes")
    assert source.samples == 10
    np.testing.assert_array_equal(gathered(source), X)
    part = source.part(2, 9)
    index = np.concatenate([b.index for b in part.batches(2)])
    np.testing.assert_array_equal(gathered(part, 2), X[index])
    assert [b.size for b in opened(f"{__name__}:endless", samples=25).batches(8)] == [8, 8, 8, 1]


def test_function_that_yields_sets_of_inputs() -> None:
    batches = list(opened(f"{__name__}:whole_sets", STATE).batches())
    assert [float(b.inputs["state"][0, 0, 0]) for b in batches] == [0.0, 1.0, 2.0]


def test_function_that_fails_or_is_not_there() -> None:
    with pytest.raises(InputRefused, match="faulty failed: KeyError: 'lost'"):
        opened(f"{__name__}:faulty")
    with pytest.raises(UsageError, match="nowhere"):
        opened("nowhere_to_be_found:f")
    with pytest.raises(InputRefused, match="expected the model's inputs x"):
        opened(f"{__name__}:whole_sets")


def test_images(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), dtype=np.uint8)
    (tmp_path / "cats").mkdir()
    for k, path in enumerate((tmp_path / "cats" / "a.png", tmp_path / "z.png")):
        image.fromarray(pixels[k]).save(path)
    source = opened(tmp_path, mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.1))
    wanted = (pixels / 255 - [0.5, 0.4, 0.3]) / [0.2, 0.2, 0.1]
    np.testing.assert_allclose(gathered(source), wanted.transpose(0, 3, 1, 2), rtol=1e-5, atol=1e-6)
    last = IMAGE.replace("[N, 3, 4, 4]", "[N, 4, 4, 3]").replace("[N, 3]", "[N, 12]")
    source = opened(tmp_path, last.replace("GlobalAveragePool", "Identity"), layout="NHWC")
    np.testing.assert_allclose(gathered(source), pixels / 255, rtol=1e-5)
    with pytest.raises(InputRefused, match="is it --layout NHWC"):
        opened(tmp_path, last)
    with pytest.raises(InputRefused, match=r"got float32 \(2, 3, 2, 2\)"):
        gathered(opened(tmp_path, size=(2, 2)))
    with pytest.raises(UsageError, match="--mean: got 2 numbers"):
        opened(tmp_path, mean=(0.1, 0.2))
    whole = (tmp_path / "z.png").read_bytes()
    (tmp_path / "z.png").write_bytes(whole[:50])
    with pytest.raises(InputRefused, match=r"z\.png: cannot be decoded"):
        gathered(opened(tmp_path))


def test_files_that_are_no_images_are_left_out_by_name(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "page.jpg").write_bytes(b"<html>not found</html>")
    (tmp_path / "empty.png").touch()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "labels.csv").write_text("a.png,1")
    (tmp_path / ".hidden").touch()
    source = opened(tmp_path)
    assert source.samples == 1
    assert source.left_out == ("empty.png", "notes/labels.csv", "page.jpg")
    (tmp_path / "a.png").unlink()
    with pytest.raises(InputRefused, match="are no images"):
        opened(tmp_path)


def test_notes_beside_arrays_are_left_out_and_two_kinds_of_data_refused(tmp_path: Path) -> None:
    save(tmp_path / "d.npz", x=X)
    (tmp_path / "README.md").write_text("ten samples")
    source = opened(tmp_path)
    assert (source.samples, source.left_out) == (10, ("README.md",))
    (tmp_path / "b.png").touch()
    with pytest.raises(InputRefused, match=r"got .*\.md, \.npz, \.png"):
        opened(tmp_path)


def test_random_inputs_do_not_depend_on_the_batch() -> None:
    source = open_source(DataConfig(), graph(), seed=3)
    assert source.is_random
    assert source.samples == 256
    np.testing.assert_array_equal(gathered(source, 7), gathered(source, 64))
    assert len(np.unique(gathered(source)[:, 0, 0, 0])) == 256
    other = open_source(DataConfig(), graph(), seed=4)
    assert not np.array_equal(gathered(source), gathered(other))


def test_random_inputs_of_open_sizes_and_whole_numbers() -> None:
    text = """
    <ir_version: 8, opset_import: ["" : 17]>
    net (int64[N, T] x, float[9, 2] w_table) => (float[N, T, 2] y) { y = Gather(w_table, x) }
    """
    values = gathered(open_source(DataConfig(), graph(text)))
    assert values.shape[0] == 256
    assert set(np.unique(values)) == {0, 1}
    batch = next(open_source(DataConfig(samples=3), graph(STATE)).batches())
    assert batch.inputs["state"].shape == (2, 1, 5)
    assert batch.inputs["rate"].shape == ()
