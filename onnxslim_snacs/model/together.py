"""Several files that come into their places together: a reader finds all old or all new.

No file system renames several files at once.  So what a place held before is linked beside it, and
a note says how to go back; then the drafts come into their places, and with the note removed they
are there for good.  Whatever fails until then is undone by this run, and if it is killed, by the
next one for the same files.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from onnxslim_snacs.errors import FileSystemError, foreign
from onnxslim_snacs.model.atomic import (
    Held,
    NewFile,
    hidden,
    hidden_files,
    is_at,
    lock,
    sync_folder,
)

#: One for each folder, there only while files come into their places.
LOCK = ".snacs-onnx.lock"
#: Seconds: putting files into their places takes a few thousandths of one.
_PATIENCE = 60.0
#: A note on four files takes a kilobyte.
_MAX_NOTE = 1 << 20


@dataclass(frozen=True, slots=True)
class Placement:
    """One file that comes into its place.

    Attributes:
        target: the place.
        backup: a second name for what was there before; None if nothing was.
        made: device, inode, and time of the last change of the new file, by which it is known.
    """

    target: Path
    backup: Path | None
    made: tuple[int, int, int]

    def undo(self) -> None:
        """Put back what was there, unless somebody else has written there since."""
        if _known(self.target) != self.made:
            return
        if self.backup is None:
            self.target.unlink()
        else:
            os.replace(self.backup, self.target)


def put_in_place(drafts: Sequence[NewFile]) -> None:
    """Bring finished drafts into their places, all or none; the last of them last.

    Args:
        drafts: what has been written and finished.  The folders of their targets are held, see
            `alone`.

    Raises:
        OSError: something failed, and is as it was.
        FileSystemError: that, too, has failed: the next run for the same files will do it.
    """
    token = secrets.token_hex(8)
    note = hidden(drafts[-1].target, token, "undo")
    folders = {draft.target.parent for draft in drafts}
    steps = [_step(draft, token) for draft in drafts]
    try:
        for step in steps:
            _back_up(step)
        _write_note(note, steps)
        _sync(folders)
        for draft in drafts:
            os.replace(draft.path, draft.target)
        _sync(folders)
        note.unlink()
    except BaseException as error:
        _undo(note, steps, error)
        raise
    with contextlib.suppress(OSError):
        _sync(folders)
    _forget(steps)


def _step(draft: NewFile, token: str) -> Placement:
    there = os.path.lexists(draft.target)
    backup = hidden(draft.target, token, "old") if there else None
    return Placement(draft.target, backup, _known(draft.path) or (0, 0, 0))


def _known(path: Path) -> tuple[int, int, int] | None:
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns


def _sync(folders: Iterable[Path]) -> None:
    for folder in sorted(folders):
        sync_folder(folder)


def _back_up(step: Placement) -> None:
    if step.backup is None:
        return
    if step.target.is_symlink():
        step.backup.symlink_to(os.readlink(step.target))
        return
    try:
        os.link(step.target, step.backup)
    except OSError:  # FAT has no links, and Linux grants none to files of others
        shutil.copy2(step.target, step.backup)


def _write_note(note: Path, steps: Sequence[Placement]) -> None:
    files = [
        {
            "target": str(step.target.absolute()),
            "backup": None if step.backup is None else step.backup.name,
            "made": step.made,
        }
        for step in steps
    ]
    descriptor = os.open(note, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, json.dumps(files).encode("ascii"))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _undo(note: Path, steps: Sequence[Placement], error: BaseException | None) -> None:
    """Go back, as far as that is possible; the note stays as long as it is needed."""
    failed = None
    for step in reversed(steps):
        try:
            step.undo()
        except OSError as again:
            failed = again
    if failed is not None:
        raise FileSystemError(
            f"{foreign(steps[-1].target)} and the files written with it could not be put back "
            f"({foreign(failed.strerror or failed)}): the next run that writes them will do it"
        ) from error
    with contextlib.suppress(OSError):
        _sync({step.target.parent for step in steps})
    with contextlib.suppress(OSError):
        note.unlink(missing_ok=True)
    _forget(steps)


def _forget(steps: Iterable[Placement]) -> None:
    for step in steps:
        if step.backup is not None:
            with contextlib.suppress(OSError):
                step.backup.unlink(missing_ok=True)


@contextlib.contextmanager
def alone(targets: Sequence[Path]) -> Iterator[None]:
    """Hold the folders of `targets`, so that no other run puts files there; undo killed runs.

    Args:
        targets: the places, the one after which notes are named last.

    Raises:
        FileSystemError: another run holds one of them and does not let go.
    """
    with contextlib.ExitStack() as stack:
        folders = sorted({target.parent.resolve() for target in targets})
        if all([stack.enter_context(_held(folder)) for folder in folders]):
            _undo_killed(targets)
        yield


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[bool]:
    """Hold a folder by a locked file in it; whether the file system knows locks."""
    path = folder / LOCK
    descriptor = _wait_for(path)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            _let_go(path, descriptor)


def _let_go(path: Path, descriptor: int) -> None:
    try:
        with contextlib.suppress(OSError):
            path.unlink()  # while it is held: who waits for it sees that it has lost its name
    finally:
        with contextlib.suppress(OSError):
            os.close(descriptor)


def _wait_for(path: Path) -> int | None:
    """A descriptor of the lock file that this process alone has; None without locks."""
    if sys.platform == "win32":
        return None
    end = time.monotonic() + _PATIENCE
    while True:
        descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        held = lock(descriptor)
        if held is Held.OURS and is_at(descriptor, path):
            return descriptor
        if held is Held.UNKNOWN:
            _let_go(path, descriptor)
            return None
        os.close(descriptor)
        if time.monotonic() > end:
            raise FileSystemError(
                f"{foreign(path.parent)}: another run has been putting files there for a minute"
            )
        time.sleep(0.005)


def _undo_killed(targets: Sequence[Path]) -> None:
    """Undo what killed runs have begun for the last of `targets`; remove what they have left."""
    for note in hidden_files(targets[-1], "undo"):
        token = note.name.rsplit("-", 1)[1].removesuffix(".undo")
        steps = _read_note(note, token)
        if steps:
            _undo(note, steps, None)
        note.unlink(missing_ok=True)
    for target in targets:
        for backup in hidden_files(target, "old"):
            backup.unlink(missing_ok=True)


def _read_note(note: Path, token: str) -> list[Placement]:
    """The steps of a note; none of one that is broken, whose run had not begun to replace files.

    A note that somebody else has put there does nothing: the files in its places would have to be
    those that it says it has made.
    """
    try:
        if note.is_symlink() or note.stat().st_size > _MAX_NOTE:
            return []
        return [_parsed(entry, token) for entry in json.loads(note.read_bytes())]
    except (ValueError, KeyError, TypeError):
        return []


def _parsed(entry: dict[str, object], token: str) -> Placement:
    target, made = Path(str(entry["target"])), entry["made"]
    if not isinstance(made, list) or len(made) != 3:
        raise ValueError("no file")
    backup = None if entry["backup"] is None else hidden(target, token, "old")
    return Placement(target, backup, (int(made[0]), int(made[1]), int(made[2])))
