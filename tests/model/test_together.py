"""Model, plan and report: all old or all new, whatever fails, is killed, or writes beside us."""

from __future__ import annotations

import errno
import json
import os
import signal
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from onnxslim_snacs.errors import FileSystemError
from onnxslim_snacs.model import together
from onnxslim_snacs.model.save import save_model, staged
from onnxslim_snacs.model.together import LOCK, alone
from tests.cli.conftest import contents
from tests.faults import faults
from tests.model.test_save import model, values

INLINE = 1 << 30
#: Calls of one run with three files, and a data file; those of a killed run's undoing beside.
MOST = 120


@pytest.fixture(autouse=True)
def _no_waiting_for_disks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is synced shows only when the power fails; the calls are made and may fail."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


class Run:
    """A model with two texts beside it, in three folders if so wanted."""

    def __init__(self, folder: Path, max_inline: int = INLINE, *, apart: bool = False) -> None:
        self.folder, self.max_inline = folder, max_inline
        self.model = folder / "m.onnx"
        self.texts = [folder / ("a/p.json" if apart else "p.json"), folder / "r.json"]
        (folder / "a").mkdir(exist_ok=True)

    def write(self, value: float) -> None:
        beside = {path: f"{value:g}" for path in self.texts}
        save_model(
            model(value), self.model, beside=beside, overwrite=True, max_inline=self.max_inline
        )

    def seen(self) -> dict[str, bytes]:
        """What a reader finds: no drafts, backups, notes and locks."""
        return {n: b for n, b in contents(self.folder).items() if not Path(n).name.startswith(".")}

    def left(self) -> list[str]:
        return sorted(set(contents(self.folder)) - set(self.seen()))

    def whole(self, value: float) -> bool:
        texts = [path.read_text() for path in self.texts]
        return values(self.model) == [value, 2 * value, 3 * value] and texts == [f"{value:g}"] * 2


@pytest.mark.parametrize(
    ("number", "max_inline", "apart"),
    [(errno.EIO, 0, False), (errno.ENOSPC, 0, True), (errno.ENOSPC, INLINE, False)],
)
@pytest.mark.parametrize("first", [False, True], ids=["replacing", "first"])
def test_every_call_may_fail(
    tmp_path: Path, number: int, max_inline: int, apart: bool, first: bool
) -> None:
    run = Run(tmp_path, max_inline, apart=apart)
    for k in range(1, MOST):
        if not first:
            run.write(1)
        before = run.seen()
        with faults(k, OSError(number, "failed")) as made:
            try:
                run.write(2)
                failed = False
            except FileSystemError:
                failed = True
        after = run.seen()
        assert after == before if failed else run.whole(2), (k, made[-1])
        run.write(2)
        assert run.left() == []
        if len(made) < k:
            break
        for name in run.seen() if first else ():
            (tmp_path / name).unlink()
    else:
        pytest.fail("the last call was not reached")
    assert k > 30
    # with links and in order: the texts, and after them the model that goes with them
    assert made.count("replace") == 3 + (max_inline == 0)
    assert [made.count(n) for n in ("link", "symlink")] == [0 if first else 3, 0]


def in_child(work: Callable[[], object]) -> int:
    """Run something in a process of its own; how that ended."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            os._exit(1)
    return os.waitpid(child, 0)[1]


@pytest.mark.parametrize("max_inline", [0, INLINE])
@pytest.mark.parametrize("first", [False, True], ids=["replacing", "first"])
def test_a_killed_run_is_undone_by_the_next(tmp_path: Path, max_inline: int, first: bool) -> None:
    run = Run(tmp_path, max_inline)
    mixed = 0

    def killed() -> None:
        with faults(k, lambda: os.kill(os.getpid(), signal.SIGKILL)):
            run.write(2)

    for k in range(1, MOST):
        if not first:
            run.write(1)
        before = run.seen()
        status = in_child(killed)
        mixed += run.seen() != before and not (run.model.exists() and run.whole(2))
        with alone([*run.texts, run.model]):
            undone = run.seen()
        assert undone == before or run.whole(2), k
        run.write(2)
        assert run.left() == []
        if status == 0:
            break
        assert os.WTERMSIG(status) == signal.SIGKILL
        for name in run.seen() if first else ():
            (tmp_path / name).unlink()
    assert k > 30
    assert mixed > 0  # else nothing was undone


@pytest.mark.parametrize("pairs", [10, pytest.param(100, marks=pytest.mark.slow)])
def test_two_writers_at_once(tmp_path: Path, pairs: int) -> None:
    run = Run(tmp_path, 0, apart=True)
    for _ in range(pairs):
        children = []
        for value in (1, 2):
            child = os.fork()
            if child == 0:
                try:
                    run.write(value)
                    os._exit(0)
                except BaseException:
                    os._exit(1)
            children.append(child)
        assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
        assert run.whole(1) or run.whole(2)
        assert run.left() == []
        assert len(run.seen()) == 4  # nobody's data file is left


def test_who_comes_second_needs_permission(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    with staged(model(1), path) as first, staged(model(2), path) as second:
        first.publish()
        with pytest.raises(FileSystemError, match="exists"):
            second.publish()
    assert values(path) == [1, 2, 3]
    assert list(contents(tmp_path)) == ["m.onnx"]


def test_a_folder_that_another_run_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "_PATIENCE", 0.0)
    path = tmp_path / "m.onnx"
    with alone([path]), pytest.raises(FileSystemError, match="another run"):
        save_model(model(1), path)
    assert contents(tmp_path) == {}
    (tmp_path / LOCK).touch()  # of a run that was killed: nobody holds it
    save_model(model(1), path)
    assert list(contents(tmp_path)) == ["m.onnx"]


def test_files_of_strangers_stay(tmp_path: Path) -> None:
    run = Run(tmp_path)
    strangers = [
        ".m.onnx.notes.tmp", ".m.onnx.0123456789abcdef.tmp", ".m.onnx.snacs-notes.tmp",
        ".m.onnx.snacs-0123456789abcdef.old.txt", ".p.json.old",
        ".other.snacs-0123456789abcdef.old",
    ]  # fmt: skip
    for name in strangers:
        (tmp_path / name).write_text("mine")
    (tmp_path / ".m.onnx.snacs-0123456789abcdef.tmp").mkdir()
    run.write(1)
    run.write(2)
    assert run.left() == sorted(strangers)


def test_a_note_that_somebody_has_put_there_does_nothing(tmp_path: Path) -> None:
    run = Run(tmp_path)
    victim = tmp_path / "victim"
    victim.write_text("precious")
    token = "0123456789abcdef"
    status = victim.stat()
    note = tmp_path / f".m.onnx.snacs-{token}.undo"
    (tmp_path / f".victim.snacs-{token}.old").write_text("evil")
    made = [status.st_dev, status.st_ino, status.st_mtime_ns + 1]
    entries = [{"target": str(victim), "backup": "x", "made": made}]
    for text in (json.dumps(entries), "[{}]", "[1]", "{", '[{"target": 1, "made": 1}]'):
        note.write_text(text)
        run.write(1)
        assert victim.read_text() == "precious"
        assert not note.exists()


def test_what_is_written_meanwhile_is_not_undone(tmp_path: Path) -> None:
    """Whoever has written a file after a run was killed keeps it."""
    run = Run(tmp_path)
    run.write(1)
    replaced = 0

    def killed() -> None:
        replace = os.replace

        def once(*arguments: Path) -> None:
            nonlocal replaced
            replaced += 1
            replace(*arguments)
            if replaced == 2:
                os.kill(os.getpid(), signal.SIGKILL)

        os.replace = once  # type: ignore[assignment]
        run.write(2)

    assert in_child(killed) != 0
    assert [path.read_text() for path in run.texts] == ["2", "2"]
    os.replace(run.texts[0], tmp_path / "aside")
    run.texts[0].write_text("by hand")
    with alone([*run.texts, run.model]):
        assert [path.read_text() for path in run.texts] == ["by hand", "1"]
        assert values(run.model) == [1, 2, 3]


def test_modes_are_handed_on(tmp_path: Path) -> None:
    run = Run(tmp_path, max_inline=0)
    before = os.umask(0o022)
    try:
        run.write(1)
        assert {stat.S_IMODE(p.stat().st_mode) for p in tmp_path.glob("*.*")} == {0o644}
        run.model.chmod(0o600)
        run.texts[0].chmod(0o664)
        run.write(2)
    finally:
        os.umask(before)
    modes = {p.suffix: stat.S_IMODE(p.stat().st_mode) for p in tmp_path.glob("[!r]*.*")}
    assert modes == {".onnx": 0o600, ".data": 0o600, ".json": 0o664}


def test_nobody_reads_a_private_draft(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    save_model(model(1), path)
    path.chmod(0o600)
    with staged(model(2), path, overwrite=True, max_inline=0):
        drafts = list(tmp_path.glob(".m.onnx.*.tmp"))
        assert [stat.S_IMODE(p.stat().st_mode) for p in drafts] == [0o600, 0o600]


def test_links_of_the_system_are_no_outputs(tmp_path: Path) -> None:
    pipe, link, plain = tmp_path / "pipe", tmp_path / "link", tmp_path / "plain"
    os.mkfifo(pipe)
    link.symlink_to("pipe")
    with plain.open("w") as file:
        own = Path(f"/proc/self/fd/{file.fileno()}")
        (tmp_path / "far").symlink_to(own)
        for path in (link, own, tmp_path / "far", Path("/dev/stdout"), Path("/dev/fd/1")):
            with pytest.raises(FileSystemError, match="device"):
                save_model(model(1), path, overwrite=True)
    assert link.is_symlink()
    assert plain.read_bytes() == b""
    loop = tmp_path / "loop.onnx"
    loop.symlink_to("loop.onnx")
    save_model(model(1), loop, overwrite=True)
    assert values(loop) == [1, 2, 3]


def test_long_names(tmp_path: Path) -> None:
    path = tmp_path / ("é" * 124 + ".onnx")
    for value in (1, 2):
        save_model(model(value), path, overwrite=True)
        assert values(path) == [value, 2 * value, 3 * value]
    assert list(contents(tmp_path)) == [path.name]
