"""Reading an ONNX file that nobody has vouched for."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from google.protobuf.message import DecodeError
from onnx import ModelProto

from onnxslim_snacs.errors import FileSystemError, InputRefused, LimitExceeded, SnacsError, foreign
from onnxslim_snacs.model.bounds import DEFAULT_LIMITS, Limits
from onnxslim_snacs.model.equations import check_equations
from onnxslim_snacs.model.functions import check_size
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.schema import check_schema, check_versions
from onnxslim_snacs.model.topology import in_order
from onnxslim_snacs.model.turns import check_turns
from onnxslim_snacs.model.weights import check_shapes, check_tensors
from onnxslim_snacs.model.wiring import check_names, check_wiring

#: Protocol Buffers reads no message beyond this.
_MAX_FILE = 2**31 - 1

#: How other files begin (offset, bytes) and what to do about them.
_OTHER_FILES = (
    (0, b"version https://git-lfs", "a Git LFS pointer, not the model: run 'git lfs pull'"),
    (0, b"PK\x03\x04", "a zip archive (PyTorch's .pt files are): unpack it, or export it to ONNX"),
    (0, b"\x1f\x8b", "compressed by gzip: unpack it first"),
    (0, b"BZh", "compressed by bzip2: unpack it first"),
    (0, b"\xfd7zXZ", "compressed by xz: unpack it first"),
    (0, b"\x28\xb5\x2f\xfd", "compressed by zstd: unpack it first"),
    (0, b"\x89HDF", "an HDF5 file (Keras): convert it with tf2onnx"),
    (4, b"TFL3", "a TensorFlow Lite file: convert it with tf2onnx --tflite"),
    (4, b"ORTM", "in ONNX Runtime's own format: give the .onnx file that it was made from"),
    (0, b"GGUF", "a GGUF file, which does not hold a graph"),
)


def load_model(
    path: Path | str, *, allow_nonfinite: bool = False, limits: Limits = DEFAULT_LIMITS
) -> ModelGraph:
    """Read a model and make sure that the rest of the package can rely on it.

    What holds afterwards: the graph is not empty, every name is written once and before it is read
    (nodes that stand in another order are put into one), no function calls itself, every tensor's
    data fit its dimensions and type, external data lie in the model's folder and behind no link,
    filters have channels.  External data stay on disk.

    Args:
        path: the file; its folder is where external data are looked for.
        allow_nonfinite: take models whose weights hold NaN or infinity.
        limits: bounds on what the model may ask for.

    Raises:
        InputRefused: this is not a model, or not a valid one.
        LimitExceeded: it is beyond the limits.
        FileSystemError: it cannot be read.
    """
    path = Path(path)
    try:
        model = parse_model(_read(path))
        model, infinite = checked(
            model, path.parent, allow_nonfinite=allow_nonfinite, limits=limits
        )
    except SnacsError as error:
        raise type(error)(f"{foreign(path)}: {error}") from error
    return ModelGraph(model, path.parent, infinite)


def checked(
    model: ModelProto,
    base_dir: Path,
    *,
    allow_nonfinite: bool = False,
    limits: Limits = DEFAULT_LIMITS,
) -> tuple[ModelProto, frozenset[str]]:
    """Check a parsed model; see `load_model`.

    Cheap checks of our own come first: onnx's checker and ONNX Runtime can be made to run for hours
    by a file of 2.5 kB.

    Returns:
        (the model with its nodes in order, the stored tensors that hold infinite values if those
        are not allowed).
    """
    check_names(model)
    check_size(model, limits)
    check_versions(model)
    model = in_order(model)
    check_wiring(model)
    check_equations(model)
    infinite = check_tensors(model, base_dir, allow_nonfinite=allow_nonfinite)
    check_schema(model)
    check_shapes(model, base_dir, limits)
    check_turns(model, limits)
    return model, infinite


def _read(path: Path) -> bytes:
    """The bytes of a regular file; never waits for a pipe or a device."""
    try:
        _require_regular(os.stat(path).st_mode)
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            _require_regular(status.st_mode)
            if status.st_size > _MAX_FILE:
                raise LimitExceeded(
                    "the file is larger than 2 GiB, which no ONNX file can be: weights of that "
                    "size belong into external data (onnx.save(..., save_as_external_data=True))"
                )
            # room for all that is asked for is taken at once, however little there is
            return file.read(status.st_size)
    except (OSError, ValueError) as error:
        raise _unreadable(error) from error


def _require_regular(mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise InputRefused("is a folder, expected an .onnx file")
    if not stat.S_ISREG(mode):
        raise InputRefused("is no ordinary file (a pipe, a socket or a device)")


def _unreadable(error: OSError | ValueError) -> SnacsError:
    if not isinstance(error, OSError):
        return FileSystemError(f"is not the name of a file ({foreign(error)})")
    if error.errno == errno.ENOENT:
        return FileSystemError("there is no such file")
    return FileSystemError(f"cannot be read ({os.strerror(error.errno or 0)})")


def parse_model(data: bytes) -> ModelProto:
    """A model from its bytes.

    Raises:
        InputRefused: they are none.
    """
    if not data:
        raise InputRefused("the file is empty")
    for offset, start, what in _OTHER_FILES:
        if data.startswith(start, offset):
            raise InputRefused(f"this is {what}")
    if data[:512].lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise InputRefused(
            "this is a web page, not a model: the download answered with a page (log in, or take "
            "the link to the raw file)"
        )
    try:
        model: ModelProto = ModelProto.FromString(data)
    except DecodeError as error:
        raise InputRefused(
            "this is not an ONNX model, or it is cut off or damaged: fetch or export it again"
        ) from error
    return model
