"""What SECURITY.md promises about files that other people made, promise by promise."""

from __future__ import annotations

import json
import os
import re
import socket
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tests.cli.conftest import Cli

POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"
SHOUT = "\x1b]0;own\x07\x1b[2J\x9b31m\u202eabc\u2028\u200b[bold red]x[/][link=http://x]c[/link]\r\n"
CUT = ("--criterion", "l1", "--ratio", "0.5", "--recover", "none")


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The mark that is left if anything starts Ghostscript."""
    mark, folder = tmp_path / "started", tmp_path / "bin"
    folder.mkdir()
    stub = folder / "gs"
    stub.write_text(f"#!/bin/sh\ntouch '{mark}'\n")
    stub.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return mark


def decoder(path: Path, behind: str) -> Path:
    """A model that picks channels by what a picture shows that is stored in it."""
    stored: dict[str, NDArray[Any]] = {
        "picture": np.frombuffer(POSTSCRIPT, dtype=np.uint8),
        "w": np.ones((4, 3, 3, 3), dtype=np.float32),
        "v": np.ones((2, 4, 1, 1), dtype=np.float32),
        "one": np.array([1, 1, 1], dtype=np.int64),
        "flat": np.array([-1], dtype=np.int64),
    }
    picture = "tiled" if behind == "Tile" else "decoded"
    nodes = [
        helper.make_node("ImageDecoder", ["picture"], ["decoded"], pixel_format="RGB"),
        helper.make_node("Tile", ["decoded", "one"], ["tiled"]),
        helper.make_node("Cast", [picture], ["whole"], to=TensorProto.INT64),
        helper.make_node("Reshape", ["whole", "flat"], ["places"]),
        helper.make_node("Conv", ["x", "w"], ["h"]),
        helper.make_node("Gather", ["h", "places"], ["picked"], axis=1),
        helper.make_node("Conv", ["picked", "v"], ["y"]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2, 6, 6])
    tensors = [numpy_helper.from_array(value, name) for name, value in stored.items()]
    graph = helper.make_graph(nodes, "net", [x], [y], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("behind", ["Cast", "Tile"])
def test_a_picture_in_a_model_starts_nothing(
    cli: Cli, tmp_path: Path, started: Path, behind: str
) -> None:
    path = decoder(tmp_path / "net.onnx", behind)
    said = cli("inspect", path)
    assert "ImageDecoder" in said.out
    cli("compress", path, *CUT, code=4)
    assert not started.exists()


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_postscript_among_the_images_starts_nothing(
    cli: Cli, model: Path, tmp_path: Path, started: Path, suffix: str
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(4):
        (folder / f"{number}{suffix}").write_bytes(POSTSCRIPT)
    cli("compress", model, "--data", folder, *CUT, code=3)
    assert not started.exists()


def shouting(path: Path) -> Path:
    """A model that says what a terminal obeys wherever a name can stand."""
    weight = numpy_helper.from_array(np.ones((4, 3, 3, 3), dtype=np.float32), SHOUT + "w")
    nodes = [
        helper.make_node("Conv", ["x", SHOUT + "w"], [SHOUT + "h"], name=SHOUT + "n"),
        helper.make_node(SHOUT, [SHOUT + "h"], ["y"], domain=SHOUT),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, 6, 6])
    graph = helper.make_graph(nodes, "net", [x], [y], [weight])
    imports = [helper.make_opsetid("", 17), helper.make_opsetid(SHOUT, 1)]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=8), path)
    return path


UNSEEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]")


def test_no_control_character_reaches_the_terminal(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = shouting(tmp_path / "net.onnx")
    for line, code in (
        (("inspect", path), 0),
        (("inspect", path, "--json"), 0),
        (("inspect", path, "--why", SHOUT + "h"), 0),
        (("compress", path, *CUT), 4),
    ):
        said = cli(*line, code=code)
        assert not UNSEEN.search(said.out + said.err), line
        assert "own" in said.out + said.err


def test_the_text_of_a_plan_is_escaped(cli: Cli, model: Path, tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    for data in ({"format": SHOUT}, {"format": 1, "groups": [{"id": SHOUT}]}, {SHOUT: 1}):
        plan.write_text(json.dumps(data))
        said = cli("apply", model, plan, code=3)
        assert not UNSEEN.search(said.err)


def test_a_name_of_a_file_is_escaped(cli: Cli, tmp_path: Path) -> None:
    said = cli("inspect", tmp_path / ("\x1b[31m\u202e" + "net.onnx"), code=6)
    assert not UNSEEN.search(said.err)
    assert "\\x1b[31m\\u202enet.onnx" in said.err


def test_no_socket_is_opened(
    cli: Cli, model: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    sys.addaudithook(lambda event, _: opened.append(event) if event.startswith("socket.") else None)
    plan = model.with_name("p.json")
    cli("compress", model, "--data", data, *CUT, "--plan-out", plan)
    cli("verify", model, model.with_name("net.slim.onnx"), "--plan", plan)
    assert opened == []
    with pytest.raises(OSError, match=r".*"):
        socket.create_connection(("127.0.0.1", 9), timeout=0.01)
    assert opened  # else nothing was listened for
