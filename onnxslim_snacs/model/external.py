"""Tensors that lie in a file beside the model: where, and whether they may be read.

A model names such files itself, so the name is not to be trusted: it must lead, without any link,
to an ordinary file in the model's own folder or below.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from onnx import TensorProto

from onnxslim_snacs.errors import InputRefused, foreign

_KEYS = frozenset({"location", "offset", "length", "checksum", "basepath"})
_CHUNK = 1 << 24


@dataclass(frozen=True, slots=True)
class ExternalRegion:
    """Where the bytes of a tensor lie.

    Attributes:
        path: the file.
        offset: first byte.
        length: number of bytes.
    """

    path: Path
    offset: int
    length: int


def is_external(tensor: TensorProto) -> bool:
    """Whether the tensor's bytes lie in another file."""
    return tensor.data_location == TensorProto.EXTERNAL


def locate(tensor: TensorProto, base_dir: Path, size: int) -> ExternalRegion:
    """Find the bytes of a tensor, and make sure that they are there and may be read.

    Args:
        tensor: a tensor whose data are external.
        base_dir: the model's folder.
        size: number of bytes that its dimensions and type ask for.

    Raises:
        InputRefused: the entry is malformed, leads out of the folder or through a link, or the file
            is missing or too short.
    """
    entries = _entries(tensor)
    path = _contained(tensor, base_dir, entries["location"])
    offset = _number(tensor, entries, "offset", 0)
    available = _file_size(tensor, path) - offset
    length = _number(tensor, entries, "length", available)
    if length != size:
        raise _refuse(
            tensor, f"its dimensions and type ask for {size} bytes, its entry gives {length}"
        )
    if length > available:
        raise _refuse(
            tensor,
            f"the file ends before it does ({offset} + {length} bytes of {available + offset}): "
            "was the download complete?",
        )
    return ExternalRegion(path, offset, length)


def external_files(tensors: Iterable[TensorProto], base_dir: Path) -> tuple[Path, ...]:
    """The files, each once, in which data of these tensors lie."""
    names = [_entries(tensor)["location"] for tensor in tensors if is_external(tensor)]
    return tuple(base_dir / name for name in dict.fromkeys(names))


def read_chunks(region: ExternalRegion, chunk: int = _CHUNK) -> Iterator[bytes]:
    """The bytes of a region, at most `chunk` at a time.

    Raises:
        InputRefused: the file has become shorter.
        OSError: it cannot be read.
    """
    with open(os.open(region.path, _open_flags()), "rb") as file:
        file.seek(region.offset)
        left = region.length
        while left > 0:
            data = file.read(min(chunk, left))
            if not data:
                raise InputRefused(f"{foreign(region.path)} became shorter while it was read")
            left -= len(data)
            yield data


def _open_flags() -> int:
    return os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


def _refuse(tensor: TensorProto, reason: str) -> InputRefused:
    return InputRefused(f"external data of tensor {foreign(tensor.name)}: {reason}")


def _entries(tensor: TensorProto) -> dict[str, str]:
    entries: dict[str, str] = {}
    for entry in tensor.external_data:
        if entry.key not in _KEYS:
            raise _refuse(tensor, f"unknown key {foreign(entry.key)}")
        if entry.key in entries:
            raise _refuse(tensor, f"key {entry.key} is given twice")
        entries[entry.key] = entry.value
    if not entries.get("location"):
        raise _refuse(tensor, "no location is given")
    return entries


def _number(tensor: TensorProto, entries: dict[str, str], key: str, default: int) -> int:
    text = entries.get(key)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise _refuse(tensor, f"{key} is {foreign(text)}, expected a number of bytes")
    return int(text)


def _contained(tensor: TensorProto, base_dir: Path, location: str) -> Path:
    """The path that a location names, checked component by component for links."""
    posix, windows = PurePosixPath(location), PureWindowsPath(location)
    shown = foreign(location)
    if "\0" in location or posix.is_absolute() or windows.is_absolute() or windows.drive:
        raise _refuse(tensor, f"{shown} is not a path within the model's folder")
    if ".." in posix.parts or ".." in windows.parts:
        raise _refuse(tensor, f"{shown} leads out of the model's folder")
    path = base_dir
    for part in posix.parts:
        path = path / part
        try:
            is_link = stat.S_ISLNK(os.lstat(path).st_mode)
        except (OSError, ValueError) as error:
            raise _refuse(
                tensor, f"{shown} cannot be found beside the model: copy it there"
            ) from error
        if is_link:
            raise _refuse(
                tensor,
                f"{shown} is a symbolic link, which could lead anywhere. Hugging Face's cache "
                "keeps its files so: download with --local-dir, or copy the files with cp -L",
            )
    return path


def _file_size(tensor: TensorProto, path: Path) -> int:
    status = os.lstat(path)
    if not stat.S_ISREG(status.st_mode):
        raise _refuse(tensor, f"{foreign(path.name)} is not an ordinary file")
    if status.st_nlink > 1:
        raise _refuse(
            tensor,
            f"{foreign(path.name)} is a hard link, which could be any file: make a copy of it",
        )
    if not os.access(path, os.R_OK):
        raise _refuse(tensor, f"{foreign(path.name)} may not be read")
    return status.st_size
