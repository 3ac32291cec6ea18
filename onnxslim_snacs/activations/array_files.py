"""Arrays in .npy and .npz files, opened.

Nothing is unpickled, and nothing is allocated before the size that a file declares has been held
against the size that it has.  Plain files and stored archive members are mapped into memory;
compressed members are read as a stream, rows in ascending order.
"""

from __future__ import annotations

import errno
import math
import struct
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from onnxslim_snacs.activations.arrays import MappedArray, RowArray, Rows
from onnxslim_snacs.errors import FileSystemError, InputRefused, LimitExceeded, SnacsError, foreign

#: One sample may take so many bytes.
MAX_SAMPLE = 1 << 30
#: A compressed member may unpack to so many bytes, or to so many times its own size.
MAX_UNPACKED, MAX_EXPANSION = 1 << 30, 200
_LARGEST = 1 << 62
#: Faults of the system, not of what a file holds.
_SYSTEM = (errno.EACCES, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOENT, errno.ENOMEM)


@dataclass(slots=True)
class PackedArray:
    """An array in a compressed member of an archive.

    Attributes:
        path: the archive.
        member: its name in it.
        offset: where the values begin in the unpacked member.
        shape: (sample, ...).
        dtype: element type.
    """

    path: Path
    member: str
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    _stream: IO[bytes] | None = field(default=None, repr=False)

    def take(self, rows: Rows) -> NDArray[Any]:
        """Some of its rows, in ascending order; an earlier row than the last starts anew."""
        runs = np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1)
        return np.concatenate([self._read(int(run[0]), len(run)) for run in runs])

    def _read(self, first: int, count: int) -> NDArray[Any]:
        row = math.prod(self.shape[1:]) * self.dtype.itemsize
        if self._stream is None:
            archive = zipfile.ZipFile(self.path)  # stays open for the next rows
            self._stream = archive.open(self.member)
        with _reading(self.path, f"{self.member} is damaged"):
            self._stream.seek(self.offset + first * row)
            data = self._stream.read(count * row)
        if len(data) != count * row:
            raise _refuse(self.path, f"{self.member} ends early")
        return np.frombuffer(data, self.dtype).reshape(count, *self.shape[1:])


def open_array(path: Path) -> MappedArray:
    """The array in a .npy file.

    Raises:
        InputRefused: not such a file, Python objects in it, or shorter than it says.
        LimitExceeded: one sample is too large.
    """
    with path.open("rb") as file:
        shape, fortran, dtype = _header(path, "the file", file)
        offset, size = file.tell(), path.stat().st_size
    _check_size(path, "", shape, dtype, size - offset)
    return MappedArray(path, offset, shape, dtype, fortran)


def open_archive(path: Path) -> Mapping[str, RowArray]:
    """The arrays in a .npz file by name.

    Raises:
        InputRefused: not such a file, Python objects in it, or shorter than it says.
        LimitExceeded: one sample is too large, or a member unpacks to far more than its size.
    """
    with path.open("rb") as file:
        with _reading(path, "not an .npz file"):
            archive = zipfile.ZipFile(file)
            members = [m for m in archive.infolist() if not m.is_dir()]
        names = [m.filename.removesuffix(".npy") for m in members]
        if len(set(names)) != len(names):
            raise _refuse(path, f"there are several arrays of one name among {sorted(names)}")
        return {m.filename.removesuffix(".npy"): _member(path, archive, m) for m in members}


def _member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> RowArray:
    packed = info.compress_type != zipfile.ZIP_STORED
    if info.file_size > max(MAX_UNPACKED, MAX_EXPANSION * info.compress_size):
        raise LimitExceeded(
            f"{foreign(path)}: {foreign(info.filename)} unpacks {info.compress_size} bytes to "
            f"{info.file_size}; if that is meant, save it with numpy.savez"
        )
    with _reading(path, f"{info.filename} cannot be unpacked"):
        file = archive.open(info)
    with file:
        shape, fortran, dtype = _header(path, info.filename, file)
        offset = file.tell()
    _check_size(path, info.filename, shape, dtype, info.file_size - offset)
    if packed and fortran and len(shape) > 1:
        raise _refuse(
            path, f"{info.filename} is compressed in Fortran order: save numpy.ascontiguousarray"
        )
    if packed:
        return PackedArray(path, info.filename, offset, shape, dtype)
    return MappedArray(path, _data_start(path, info) + offset, shape, dtype, fortran)


def _data_start(path: Path, info: zipfile.ZipInfo) -> int:
    """Where a stored member's bytes begin: behind its local header, whose lengths are its own."""
    with path.open("rb") as file:
        file.seek(info.header_offset)
        header = file.read(30)
    if len(header) < 30:
        raise _refuse(path, f"{info.filename} ends behind the end of the file")
    name, extra = struct.unpack("<HH", header[26:30])
    start = info.header_offset + 30 + name + extra
    if start + info.file_size > path.stat().st_size:
        raise _refuse(path, f"{info.filename} ends behind the end of the file")
    return int(start)


def _header(
    path: Path, member: str, file: IO[bytes]
) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    with _reading(path, f"{member} is not a numpy array"):
        version = npy.read_magic(file)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read(file)
    if dtype.hasobject or dtype.names is not None or dtype.kind not in "fiubUS":
        raise _refuse(path, f"{member} holds {dtype}, expected numbers or strings".strip())
    if dtype.itemsize == 0:
        raise _refuse(path, f"{member} holds empty strings only".strip())
    if any(abs(d) > _LARGEST for d in shape):  # Python does not even print the largest numbers
        raise _refuse(path, f"{member} has extents that no memory can hold".strip())
    if not shape or any(d < 0 or isinstance(d, bool) for d in shape):
        raise _refuse(path, f"{member} has the shape {shape}, expected (samples, ...)".strip())
    return shape, fortran, dtype


def _check_size(
    path: Path, member: str, shape: tuple[int, ...], dtype: np.dtype[Any], available: int
) -> None:
    declared = math.prod(shape) * dtype.itemsize  # Python's integers: no overflow
    if declared > available:
        raise _refuse(
            path, f"{member} declares {declared} bytes but has {available}: complete?".strip()
        )
    if math.prod(shape[1:]) * dtype.itemsize > MAX_SAMPLE:
        raise LimitExceeded(f"{foreign(path)}: one sample of shape {shape[1:]} exceeds 1 GiB")


@contextmanager
def _reading(path: Path, what: str) -> Iterator[None]:
    """Turn what zipfile, its decompressors and numpy raise of a file into a refusal.

    Damaged bytes make them raise nearly everything: TokenError, LZMAError, KeyError, OSError for a
    place before the beginning.  Nothing but calls of theirs belongs into the block.

    Args:
        path: the file.
        what: what is wrong then, as the beginning of a sentence.

    Raises:
        InputRefused: with their reason.
    """
    try:
        yield
    except (MemoryError, SnacsError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _SYSTEM:
            raise
        raise _refuse(path, f"{what}: {type(error).__name__} {error}".strip()) from error


def _refuse(path: Path, reason: str) -> InputRefused:
    return InputRefused(f"{foreign(path)}: {foreign(reason)}")


def open_arrays(path: Path, only_input: str | None) -> Mapping[str, RowArray]:
    """The arrays of a .npz or .npy file by input name.

    Args:
        path: the file.
        only_input: the model's input, if there is but one: the name of the array in a .npy file.

    Raises:
        InputRefused: the file cannot be used.
        FileSystemError: it cannot be read.
        LimitExceeded: it asks for too much memory.
    """
    try:
        if path.suffix.lower() == ".npz":
            return open_archive(path)
        if only_input is None:
            raise _refuse(
                path,
                "a .npy file holds one array, but the model has several inputs: "
                "save an .npz with arrays named like them",
            )
        return {only_input: open_array(path)}
    except OSError as error:
        raise FileSystemError(f"{foreign(path)}: {error.strerror or error}") from error
