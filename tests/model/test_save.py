"""Writing: the old file or the new one, never less, whatever fails and whenever."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper

from onnxslim_snacs.errors import FileSystemError
from onnxslim_snacs.model.load import load_model
from onnxslim_snacs.model.save import SavedModel, save_model, staged
from tests.cli.conftest import contents
from tests.faults import faults


def model(value: float) -> ModelProto:
    """Two large weights, one of them in `float_data`, and a small one."""
    proto: ModelProto = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17], doc_string: "kept"> '
        "net (float[32] x) => (float[32] y) "
        "{ h = MatMul (x, a)  i = MatMul (h, b)  y = Add (i, c) }"
    )
    a, b = np.full((32, 32), value, "f4"), np.full((32, 32), 2 * value, "f4")
    c = np.full(32, 3 * value, "f4")
    proto.graph.initializer.extend(
        [
            numpy_helper.from_array(a, "a"),
            onnx.helper.make_tensor("b", 1, b.shape, b),
            numpy_helper.from_array(c, "c"),
        ]
    )
    return proto


def split(proto: ModelProto, path: Path, **options: Any) -> SavedModel:
    """Save with the weights in a data file."""
    return save_model(proto, path, max_inline=0, **options)


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def values(path: Path) -> list[float]:
    graph = load_model(path)
    return [float(graph.array(name).max()) for name in "abc"]


def test_bytes_are_those_of_the_model(tmp_path: Path) -> None:
    proto = model(1)
    saved = save_model(proto, tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").read_bytes() == proto.SerializeToString()
    assert saved == SavedModel(tmp_path / "m.onnx", None, len(proto.SerializeToString()))


def test_existing_output_needs_permission(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"old")
    with pytest.raises(FileSystemError, match="--force"):
        save_model(model(1), path)
    assert path.read_bytes() == b"old"
    save_model(model(1), path, overwrite=True)
    assert values(path) == [1, 2, 3]


def test_the_input_is_never_overwritten(tmp_path: Path) -> None:
    source = tmp_path / "m.onnx"
    source.write_bytes(b"source")
    os.link(source, tmp_path / "hard.onnx")
    (tmp_path / "soft.onnx").symlink_to(source)
    for name in ("m.onnx", "hard.onnx", "soft.onnx"):
        with pytest.raises(FileSystemError, match="the input itself"):
            save_model(model(1), tmp_path / name, inputs=[source], overwrite=True)
    assert source.read_bytes() == b"source"


def test_links_are_replaced_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"victim")
    link = tmp_path / "m.onnx"
    link.symlink_to("victim")
    with pytest.raises(FileSystemError, match="exists"):
        save_model(model(1), link)
    save_model(model(1), link, overwrite=True)
    assert not link.is_symlink()
    assert (tmp_path / "victim").read_bytes() == b"victim"


def test_targets_that_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for target in (tmp_path, tmp_path / "none" / "m.onnx", tmp_path / "pipe", Path("/dev/full")):
        with pytest.raises(FileSystemError):
            save_model(model(1), target, overwrite=True)
    assert names(tmp_path) == ["pipe"]


def test_data_file(tmp_path: Path) -> None:
    proto, path = model(1), tmp_path / "m.onnx"
    before = proto.SerializeToString()
    saved = split(proto, path)
    assert proto.SerializeToString() == before
    assert saved.data is not None
    assert names(tmp_path) == [saved.data.name, "m.onnx"]
    assert saved.size == path.stat().st_size + saved.data.stat().st_size
    assert saved.data.stat().st_size == 2 * 4096  # page by page, nothing appended
    assert values(path) == [1, 2, 3]
    restored = onnx.load(path)
    assert restored.doc_string == "kept"
    assert [t.name for t in restored.graph.initializer] == ["a", "b", "c"]


def test_the_same_model_gives_the_same_files(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    runs = []
    for _ in range(3):
        split(model(1), path, overwrite=True)
        runs.append({p.name: p.read_bytes() for p in tmp_path.iterdir()})
    assert runs[0] == runs[1] == runs[2]
    assert len(runs[0]) == 2


def test_other_models_keep_their_data(tmp_path: Path) -> None:
    first, second = tmp_path / "m.onnx", tmp_path / "n.onnx"
    split(model(1), first)
    split(model(2), second)
    assert values(first) == [1, 2, 3]
    old = load_model(first)
    split(model(3), first, overwrite=True)
    assert values(second) == [2, 4, 6]
    assert len(names(tmp_path)) == 4  # the replaced model's data file has gone with it
    assert values(first) == [3, 6, 9]
    assert old.base_dir == tmp_path


def test_data_of_the_source_are_kept(tmp_path: Path) -> None:
    source, output = tmp_path / "source.onnx", tmp_path / "m.onnx"
    read = split(model(1), output).data
    assert read is not None
    source.write_bytes(output.read_bytes())  # now two models read one data file
    split(model(2), output, inputs=[source, read], overwrite=True)
    assert values(source) == [1, 2, 3]
    assert values(output) == [2, 4, 6]


def test_external_data_follow_the_model(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    split(model(1), tmp_path / "m.onnx")
    graph = load_model(tmp_path / "m.onnx")
    save_model(graph.proto, tmp_path / "out" / "one.onnx", base_dir=graph.base_dir)
    split(graph.proto, tmp_path / "out" / "two.onnx", base_dir=graph.base_dir)
    assert values(tmp_path / "out" / "one.onnx") == values(tmp_path / "out" / "two.onnx")
    assert len(names(tmp_path / "out")) == 3
    assert values(tmp_path / "out" / "one.onnx") == [1, 2, 3]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError()])
@pytest.mark.parametrize("max_inline", [0, 1 << 30])
def test_every_call_may_be_interrupted(
    tmp_path: Path, error: BaseException, max_inline: int
) -> None:
    path = tmp_path / "m.onnx"
    save_model(model(1), path, max_inline=max_inline)
    before = contents(tmp_path)
    for k in range(1, 100):
        with faults(k, error) as made:
            try:
                save_model(model(2), path, overwrite=True, max_inline=max_inline)
                break
            except type(error):
                pass
        assert contents(tmp_path) == before or values(path) == [2, 4, 6]
        save_model(model(1), path, overwrite=True, max_inline=max_inline)
        assert contents(tmp_path) == before
    assert len(made) < k
    assert values(path) == [2, 4, 6]


def test_partial_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, bytes(data[:1000])))
    save_model(model(1), tmp_path / "m.onnx")
    assert values(tmp_path / "m.onnx") == [1, 2, 3]


KILLED = """
import os, signal, sys
from tests.model.test_save import model, save_model
replace = os.replace
os.replace = lambda *a: os.kill(os.getpid(), signal.SIGKILL)
save_model(model(2), sys.argv[1], overwrite=True, max_inline=int(sys.argv[2]))
"""


@pytest.mark.parametrize("max_inline", [0, 1 << 30])
def test_a_killed_run_leaves_the_old_file(tmp_path: Path, max_inline: int) -> None:
    path = tmp_path / "m.onnx"
    save_model(model(1), path)
    command = [sys.executable, "-c", KILLED, str(path), str(max_inline)]
    root = Path(__file__).parents[2]
    assert subprocess.run(command, cwd=root, check=False).returncode == -signal.SIGKILL
    assert values(path) == [1, 2, 3]
    assert [name for name in names(tmp_path) if not name.startswith(".")] == ["m.onnx"]
    save_model(model(3), path, overwrite=True)
    assert names(tmp_path) == ["m.onnx"]
    assert values(path) == [3, 6, 9]


def test_a_running_writer_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    with staged(model(2), path, overwrite=True) as other:
        save_model(model(1), path)
        other.publish()
    assert values(path) == [2, 4, 6]
    assert names(tmp_path) == ["m.onnx"]
