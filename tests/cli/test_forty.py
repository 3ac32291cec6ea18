"""Which test holds which of the forty fault cases; those that fitted nowhere else."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxslim_snacs.progress import Clock
from tests.cli.conftest import Cli, untouched
from tests.cli.test_fault_cases import CUT, plain
from tests.test_security import functions

CASES = "cli/test_fault_cases.py::"
#: Case -> the tests that hold it.
HELD: dict[str, tuple[str, ...]] = {
    "1 to 5: no model": (f"{CASES}test_no_models",),
    "6: a folder, a pipe, a device": (f"{CASES}test_what_is_no_file",),
    "7: not there, not to be read": (f"{CASES}test_what_is_no_file",),
    "8 to 12: names": (f"{CASES}test_broken_models",),
    "13: unknown operators": (
        "cli/test_exit_codes.py::test_custom_operator",
        "test_security.py::test_no_library_of_operators_is_ever_loaded",
    ),
    "14: versions": (f"{CASES}test_broken_models",),
    "15: bodies within bodies": (
        f"{CASES}test_nested_bodies_are_left_alone",
        "cli/test_forty.py::test_messages_within_messages",
    ),
    "16, 17: functions": (f"{CASES}test_broken_models", "model/test_load.py::test_function_bomb"),
    "18: long chains": ("model/test_load.py::test_a_long_chain",),
    "19 to 23: tensors": (f"{CASES}test_broken_models",),
    "24: names": (
        f"{CASES}test_names_are_no_paths",
        "cli/test_forty.py::test_names_that_are_none",
        "model/test_load.py::test_names_that_are_not_utf8",
    ),
    "25 to 30: weights outside": (
        f"{CASES}test_weights_outside",
        "model/test_external.py::test_links",
    ),
    "31: objects in arrays": (
        "activations/test_sources.py::test_nothing_is_unpickled",
        "cli/test_forty.py::test_arrays_that_are_a_trap",
    ),
    "32: declared sizes, bombs": (
        "cli/test_forty.py::test_arrays_that_are_a_trap",
        "activations/test_sources.py::test_declared_size_is_checked_before_allocating",
        "activations/test_sources.py::test_bomb_is_refused_before_it_is_unpacked",
    ),
    "33: samples": (f"{CASES}test_samples",),
    "34: a checkpoint": (f"{CASES}test_a_checkpoint_of_torch_is_no_model_and_no_data",),
    "35: outputs that are there": (
        "cli/test_exit_codes.py::test_outputs_that_exist",
        "cli/test_files.py::test_no_output_is_an_input",
        "model/test_save.py::test_links_are_replaced_not_followed",
    ),
    "36: outputs that cannot be": (
        "cli/test_exit_codes.py::test_outputs_that_cannot_be",
        "cli/test_files.py::test_links_to_devices_are_no_outputs",
    ),
    "37: the k-th call fails": (
        "cli/test_files.py::test_every_failing_call_leaves_all_or_nothing",
        "model/test_together.py::test_every_call_may_fail",
    ),
    "38: signals, kills": (
        "cli/test_process.py::test_signals",
        "cli/test_watch.py::test_signals_while_the_libraries_are_imported",
        "cli/test_watch.py::test_a_signal_ends_a_run_that_sees_none",
        "model/test_together.py::test_a_killed_run_is_undone_by_the_next",
    ),
    "39: memory, more than 2 GiB": (
        "cli/test_forty.py::test_memory_may_end_at_any_stage",
        "cli/test_exit_codes.py::test_limits",
        "model/test_save.py::test_data_file",
    ),
    "40: two at once, no network, nobody reads, wrong numbers": (
        "model/test_together.py::test_two_writers_at_once",
        "cli/test_promises.py::test_no_socket_is_opened",
        "cli/test_process.py::test_a_reader_who_leaves",
        "cli/test_process.py::test_closed_streams",
        "cli/test_exit_codes.py::test_wrong_options",
    ),
}


def test_every_case_is_held() -> None:
    numbers = [
        int(n) for case in HELD for n in case.split(":")[0].replace(" to ", ", ").split(", ")
    ]
    assert (numbers[0], numbers[-1]) == (1, 40)
    assert numbers == sorted(set(numbers))
    for names in HELD.values():
        for name in names:
            path, _, function = name.partition("::")
            assert function in functions(path), name


def test_messages_within_messages(cli: Cli, tmp_path: Path) -> None:
    """15: five thousand of them, by hand: a node's attribute is a graph that has a node."""
    content = b""
    for _ in range(5000):
        for tag in (0x32, 0x2A, 0x0A):  # an attribute's graph, a node's attribute, a graph's node
            content = bytes([tag]) + varint(len(content)) + content
    path = tmp_path / "net.onnx"
    path.write_bytes(b"\x08\x08\x3a" + varint(len(content)) + content)
    with untouched(tmp_path):
        for line in (("inspect", path), ("compress", path, *CUT)):
            assert f"error: {path}" in cli(*line, code=3).err


def varint(number: int) -> bytes:
    found = b""
    while number > 0x7F:
        found, number = found + bytes([number & 0x7F | 0x80]), number >> 7
    return found + bytes([number])


@pytest.mark.parametrize("name", [b"", b"\xff\xfe", b"a\xe7"])
@pytest.mark.parametrize("place", ["input", "stored", "inner", "output"])
def test_names_that_are_none(cli: Cli, tmp_path: Path, name: bytes, place: str) -> None:
    """24: empty, and not UTF-8."""
    old = {"input": "x", "stored": "w_a", "inner": "a", "output": "y"}[place]
    model, path, new = plain(), tmp_path / "net.onnx", "\x01" * len(name)
    for node in model.graph.node:
        for side in (node.input, node.output):
            side[:] = [new if n == old else n for n in side]
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        value.name = new if value.name == old else value.name
    content = model.SerializeToString()
    path.write_bytes(content.replace(new.encode(), name) if name else content)
    with untouched(tmp_path):
        for line in (("inspect", path), ("compress", path, *CUT)):
            assert f"error: {path}" in cli(*line, code=3).err


class Gadget:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (self.mark,)  # type: ignore[return-value]


def objects(mark: Path) -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([Gadget(mark)], dtype=object), allow_pickle=True)
    return file.getvalue()


def declared(descr: str, shape: str) -> bytes:
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


def packed(member: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", member)
    return file.getvalue()


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
@pytest.mark.parametrize("case", ["objects", "32 GiB", "exabytes", "a bomb"])
def test_arrays_that_are_a_trap(cli: Cli, tmp_path: Path, case: str, suffix: str) -> None:
    """31 and 32: nothing is unpickled, and nothing is allocated that the file does not have."""
    mark, data = tmp_path / "mark", tmp_path / f"d{suffix}"
    member = {
        "objects": lambda: objects(mark),
        "32 GiB": lambda: declared("<f8", "(65536, 65536)"),
        "exabytes": lambda: declared("<f8", "(4294967296, 4294967296, 4294967296)"),
        "a bomb": lambda: declared("<f4", "(4096, 4096, 16)") + bytes(1 << 22),
    }[case]()
    data.write_bytes(packed(member) if suffix == ".npz" else member)
    onnx.save(plain(), tmp_path / "net.onnx")
    with untouched(tmp_path):
        said = cli("compress", tmp_path / "net.onnx", "--data", data, *CUT, code=3).err
    assert f"d{suffix}" in said
    assert not mark.exists()


def test_memory_may_end_at_any_stage(
    cli: Cli, model: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """39: whichever stage it is that finds none, the code is 7, and nothing is written."""
    stage, entered = Clock.stage, list[str]()
    line = ("compress", model, "--data", data, "--samples", 32, *CUT)

    def fails_at(number: int) -> None:
        entered.clear()

        @contextmanager
        def failing(self: Clock, name: str) -> Iterator[None]:
            entered.append(name)
            if len(entered) == number:
                raise MemoryError
            inner: AbstractContextManager[None] = stage(self, name)
            with inner:
                yield

        monkeypatch.setattr(Clock, "stage", failing)

    fails_at(0)
    cli(*line)
    model.with_name("net.slim.onnx").unlink()
    stages = len(entered)
    assert stages > 8
    for number in range(1, stages + 1):
        fails_at(number)
        with untouched(model.parent):
            assert "not enough memory" in cli(*line, code=7).err
