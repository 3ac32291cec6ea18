"""Files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_OPEN_FLAGS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


@dataclass(slots=True)
class TempFile:
    """A new file beside the one that it will become.

    Attributes:
        path: where it lies.
        descriptor: open for writing.
        size: bytes written so far.
    """

    path: Path
    descriptor: int
    size: int = 0

    def write(self, data: bytes | memoryview) -> None:
        """Append all of the data."""
        view = memoryview(data).cast("B")
        while view:
            written = os.write(self.descriptor, view)
            self.size += written
            view = view[written:]

    def become(self, target: Path) -> None:
        """Put the file, safely on disk, in the place of `target`; a link there is not followed."""
        os.fsync(self.descriptor)
        os.replace(self.path, target)
        # the new file is in place: that some file systems cannot sync a folder changes nothing
        with contextlib.suppress(OSError):
            _sync_folder(target.parent)


@contextlib.contextmanager
def temp_file(target: Path) -> Iterator[TempFile]:
    """A temporary file for `target`, in its folder; gone on exit unless it has become the target.

    What a killed run has left for the same target is removed first.
    """
    _remove_stale(target)
    path = target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        _lock(descriptor)
        yield TempFile(path, descriptor)
    finally:
        os.close(descriptor)
        with contextlib.suppress(FileNotFoundError):
            path.unlink()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Mark the file as in use; the kernel takes the mark away when its process ends."""
    if sys.platform == "win32":  # no such locks: there, a killed run's temporary file stays
        return False
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _remove_stale(target: Path) -> None:
    prefix = f".{target.name}."
    for path in target.parent.iterdir():
        if not (path.name.startswith(prefix) and path.name.endswith(".tmp")):
            continue
        with contextlib.suppress(OSError):
            descriptor = os.open(path, _OPEN_FLAGS)
            try:
                if _lock(descriptor):
                    path.unlink()
            finally:
                os.close(descriptor)
