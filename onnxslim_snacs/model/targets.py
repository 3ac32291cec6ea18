"""Where files may be written, and where not."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

from onnxslim_snacs.errors import FileSystemError, foreign

#: The links in these folders are the system's: `/dev/stdout` leads to what a process has open.
_DEVICES, _PROCESSES = Path("/dev"), Path("/proc")
#: Links in a row that Linux follows.
_LINKS = 40


def check_targets(
    paths: Iterable[Path | None], inputs: Iterable[Path | str], *, overwrite: bool
) -> None:
    """Make sure that files can be written, before any work goes into what they will hold.

    Args:
        paths: where to; None is passed over.
        inputs: files that are never overwritten, by whatever name.
        overwrite: whether existing files may be replaced.

    Raises:
        FileSystemError: one of them exists, is an input, another of them, or in no folder.
    """
    seen: set[Path] = set()
    inputs = tuple(inputs)
    for path in paths:
        if path is None:
            continue
        _refuse_target(path, inputs, overwrite)
        place = path.parent.resolve() / path.name
        if place in seen:
            raise FileSystemError(f"{foreign(path)}: two outputs cannot share one file")
        seen.add(place)


def _refuse_target(path: Path, inputs: Sequence[Path | str], overwrite: bool) -> None:
    shown = foreign(path)
    if path.is_dir():
        raise FileSystemError(f"{shown} is a folder: give the name of a file")
    if not path.parent.is_dir():
        raise FileSystemError(f"{shown}: there is no folder {foreign(path.parent)}")
    if not os.path.lexists(path):
        return
    if _is_device(path):
        raise FileSystemError(
            f"{shown} is a pipe or a device, or leads to one: give the name of a file"
        )
    if is_input(path, inputs):
        raise FileSystemError(f"{shown} is the input itself: choose another name for this output")
    if not overwrite:
        raise FileSystemError(f"{shown} exists: --force replaces it")


def is_input(path: Path, inputs: Iterable[Path | str]) -> bool:
    """Whether a file is one of `inputs`, through links and by other names as well."""
    try:
        status = path.stat()
    except OSError:
        return False
    return any(_is_same(status, other) for other in inputs)


def _is_same(status: os.stat_result, other: Path | str) -> bool:
    try:
        return os.path.samestat(status, os.stat(other))
    except (OSError, ValueError):
        return False


def _is_device(path: Path) -> bool:
    """Whether something that is no ordinary file stands at the end of a name, or a link to it."""
    for _ in range(_LINKS):
        if not path.is_symlink():
            break
        folder = path.parent.resolve()
        if folder == _DEVICES or _PROCESSES in folder.parents:
            return True
        path = folder / os.readlink(path)
    try:
        return not stat.S_ISREG(os.stat(path).st_mode)
    except OSError:  # a link to nothing is replaced like any other
        return False
