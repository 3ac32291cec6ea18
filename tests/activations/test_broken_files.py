"""Files of arrays that are damaged, or were never any: refused by name, never a fault."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from onnxslim_snacs.activations.array_files import open_archive, open_array
from onnxslim_snacs.activations.open_data import open_source
from onnxslim_snacs.config import DataConfig
from onnxslim_snacs.errors import InputRefused, LimitExceeded
from onnxslim_snacs.model.graph import ModelGraph
from tests.harness import model_from_text

NET = """<ir_version: 8, opset_import: ["" : 17]>
net (float[N,4] x) => (float[N,4] y) { y = Relu(x) }"""


def with_header(header: str) -> bytes:
    text = header.encode("latin1")
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(640)


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': (), 'fortran_order': False, 'shape': (4, 4), }",
        "{'descr': [], 'fortran_order': False, 'shape': (4, 4), }",
        "{'descr': '<f4', 1: False, 'shape': (4,)}",
        "{'descr': ('<f4',",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (0x" + "f" * 5000 + ",), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-4, 4), }",
        "{'descr': '<f99', 'fortran_order': False, 'shape': (4, 4), }",
        "{'descr': '|O', 'fortran_order': False, 'shape': (4, 4), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': 4, }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (True, 4), }",
        "(" * 900,
        "[]",
        "",
        "\x00",
    ],
)
def test_headers(tmp_path: Path, header: str) -> None:
    path = tmp_path / "x.npy"
    path.write_bytes(with_header(header))
    with pytest.raises(InputRefused, match=r"x\.npy"):
        open_array(path)
    packed = tmp_path / "x.npz"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", with_header(header))
    with pytest.raises(InputRefused, match=r"x\.npz"):
        open_archive(packed)


def test_two_arrays_of_one_name(tmp_path: Path) -> None:
    """Which of them is meant, nobody knows; readers of archives take one or the other."""
    array, path = io.BytesIO(), tmp_path / "x.npz"
    np.save(array, np.ones((4, 4), np.float32))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", array.getvalue())
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("x.npy", array.getvalue())
    with pytest.raises(InputRefused, match="several arrays of one name"):
        open_archive(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_damaged_members(tmp_path: Path, method: int) -> None:
    """Wherever a byte is damaged: refused, or (a byte that says nothing) read as it was."""
    whole = io.BytesIO()
    values = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
    array = io.BytesIO()
    np.save(array, values)
    with zipfile.ZipFile(whole, "w", method) as archive:
        archive.writestr("x.npy", array.getvalue())
    data, path = whole.getvalue(), tmp_path / "x.npz"
    said = []
    for place in range(0, len(data), max(1, len(data) // 150)):
        damaged = bytearray(data)
        damaged[place] ^= 0xA5
        path.write_bytes(bytes(damaged))
        try:
            arrays = open_archive(path)
            for array_ in arrays.values():
                array_.take(np.arange(array_.shape[0]))
        except (InputRefused, LimitExceeded) as error:
            said.append(str(error))
    assert len(said) > 50
    assert all("x.npz" in text for text in said)


def test_places_outside_of_the_file(tmp_path: Path) -> None:
    whole = io.BytesIO()
    np.savez(whole, x=np.ones((4, 4), np.float32))
    data = bytearray(whole.getvalue())
    end = data.rindex(b"PK\x05\x06")
    path = tmp_path / "x.npz"
    for value in (0, 1, 7, 1 << 31, (1 << 32) - 2):
        data[end + 16 : end + 20] = value.to_bytes(4, "little")
        path.write_bytes(bytes(data))
        with pytest.raises(InputRefused, match=r"x\.npz"):
            open_archive(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no pipes with names")
def test_only_ordinary_files_are_read(tmp_path: Path) -> None:
    graph = ModelGraph(model_from_text(NET))
    os.mkfifo(tmp_path / "pipe.npz")
    (tmp_path / "zero.npz").symlink_to("/dev/zero")
    for name in ("pipe.npz", "zero.npz"):
        with pytest.raises(InputRefused, match="no ordinary file"):
            open_source(DataConfig(str(tmp_path / name)), graph)
    with pytest.raises(InputRefused):
        open_source(DataConfig(str(tmp_path)), graph)
