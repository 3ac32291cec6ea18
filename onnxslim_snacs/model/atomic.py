"""Drafts: files that are written beside their place and come into it whole, or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from onnxslim_snacs.errors import FileSystemError, foreign

_OPEN_FLAGS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
#: Longer names are hashed: file systems allow 255 bytes, and some are for the rest of a draft's.
_LONGEST = 200
#: What file systems answer that do not know how to sync a folder, or systems that do not open one.
_NO_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES, errno.EPERM, errno.EISDIR}


@dataclass(slots=True)
class NewFile:
    """A new file beside the one that it will become.

    Attributes:
        path: where it lies.
        descriptor: open for writing, and locked as long as this process lives.
        target: where it is to go.
        size: bytes written so far.
    """

    path: Path
    descriptor: int
    target: Path
    size: int = 0

    def write(self, data: bytes | memoryview) -> None:
        """Append all of the data."""
        view = memoryview(data).cast("B")
        while view:
            written = os.write(self.descriptor, view)
            self.size += written
            view = view[written:]

    def finish(self, like: Path) -> None:
        """Bring the file safely to disk, with the owner and mode of the file that it replaces."""
        old = _replaced(like)
        if old is not None:
            with contextlib.suppress(OSError):  # neither a stranger nor FAT lets one do this
                os.fchown(self.descriptor, old.st_uid, old.st_gid)
            with contextlib.suppress(OSError):
                os.fchmod(self.descriptor, stat.S_IMODE(old.st_mode) & 0o777)
        os.fsync(self.descriptor)


@contextlib.contextmanager
def new_file(target: Path) -> Iterator[NewFile]:
    """A draft of `target`, in its folder; gone on exit unless it has come into its place.

    What killed runs have left of drafts for the same target is removed first.  What replaces a file
    is nobody else's to read before it has that file's mode.
    """
    remove_stale(target)
    mode = 0o666 if _replaced(target) is None else 0o600
    while True:
        path = hidden(target, secrets.token_hex(8), "tmp")
        with _opened(path, mode) as descriptor:
            # another run may have taken it for a killed one's before it was locked
            if lock(descriptor) is not Held.OTHERS and is_at(descriptor, path):
                yield NewFile(path, descriptor, target)
                return


@contextlib.contextmanager
def _opened(path: Path, mode: int) -> Iterator[int]:
    """A new file, closed on exit, and gone if it still has this name."""
    descriptor = -1
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        yield descriptor
    finally:
        try:
            if descriptor >= 0:
                with contextlib.suppress(OSError):  # what counts is on disk, or not wanted
                    os.close(descriptor)
        finally:
            with contextlib.suppress(OSError):  # in its place, or left for the next run
                path.unlink()


def _replaced(target: Path) -> os.stat_result | None:
    """The status of the ordinary file at a place, None if there is none."""
    try:
        status = os.lstat(target)
    except OSError:
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def hidden(target: Path, token: str, kind: str) -> Path:
    """The name of a file of ours that belongs to `target`, in its folder.

    Args:
        target: the file that it belongs to.
        token: 16 hexadecimal digits.
        kind: "tmp" for drafts, "old" for what a target held before, "undo" for how to go back.
    """
    return target.with_name(f"{_stem(target)}{token}.{kind}")


def _stem(target: Path) -> str:
    name = os.fsencode(target.name)
    short = target.name if len(name) <= _LONGEST else hashlib.sha256(name).hexdigest()
    return f".{short}.snacs-"


def hidden_files(target: Path, kind: str) -> list[Path]:
    """Files of ours of one kind that belong to `target`: ordinary files or links, and our own."""
    pattern = re.compile(re.escape(_stem(target)) + r"[0-9a-f]{16}\." + re.escape(kind))
    try:
        found = [target.with_name(n) for n in os.listdir(target.parent) if pattern.fullmatch(n)]
        return sorted(path for path in found if _is_ours(path))
    except OSError:  # a folder that may be written to, but not read
        return []


def _is_ours(path: Path) -> bool:
    status = os.lstat(path)
    kind = stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode)
    return kind and (sys.platform == "win32" or status.st_uid == os.geteuid())


def remove_stale(target: Path) -> None:
    """Remove drafts for `target` whose process has been killed."""
    for path in hidden_files(target, "tmp"):
        with contextlib.suppress(OSError):
            descriptor = os.open(path, _OPEN_FLAGS)
            try:
                if lock(descriptor) is Held.OURS:
                    path.unlink()
            finally:
                os.close(descriptor)


class Held(Enum):
    """Who has a locked file."""

    OURS = "this process"
    OTHERS = "another process"
    UNKNOWN = "the file system knows no locks"


def lock(descriptor: int) -> Held:
    """Mark a file as in use; the kernel takes the mark away when its process ends."""
    if sys.platform == "win32":  # no such locks: there, a killed run's files stay
        return Held.UNKNOWN
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return Held.OTHERS
    except OSError:
        return Held.UNKNOWN
    return Held.OURS


def is_at(descriptor: int, path: Path) -> bool:
    """Whether an open file still has its name: somebody may have removed it."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to disk, where the file system can do that.

    Raises:
        OSError: it can, and failed.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise


def put_text(path: Path, text: str) -> None:
    """Write a text that is there whole or not at all, see `put_bytes`."""
    put_bytes(path, text.encode("utf-8", "backslashreplace"))


def put_bytes(path: Path, data: bytes) -> None:
    """Write a file that is there whole or not at all.

    Args:
        path: where to; what lies there is replaced.
        data: what to write.

    Raises:
        FileSystemError: it cannot be written.
    """
    try:
        with new_file(path) as file:
            file.write(data)
            file.finish(path)
            os.replace(file.path, path)
        sync_folder(path.parent)
    except OSError as error:
        raise FileSystemError(
            f"{foreign(path)} cannot be written ({foreign(error.strerror or error)})"
        ) from error
