"""Writing a model so that a reader finds the old file or the new one, whole."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.message import DecodeError, EncodeError
from onnx import ModelProto, TensorProto, numpy_helper

from onnxslim_snacs.errors import FileSystemError, LimitExceeded, foreign
from onnxslim_snacs.model.atomic import TempFile, temp_file
from onnxslim_snacs.model.external import is_external, locate, read_chunks
from onnxslim_snacs.model.shell import shell
from onnxslim_snacs.model.stored import stored_tensors
from onnxslim_snacs.model.tensors import DATA_FIELDS, stored_bytes

#: Weights beyond this go into a data file: Protocol Buffers writes no message of 2 GiB.
MAX_INLINE = 2**31 - 2**26
#: Tensors below this stay in the model in any case.
_SMALL = 1024
#: Readers map the data file into memory, a page at a time.
_PAGE = 4096


@dataclass(frozen=True, slots=True)
class SavedModel:
    """What was written.

    Attributes:
        path: the model.
        data: the file with its weights, None if they are in the model.
        size: bytes of both.
    """

    path: Path
    data: Path | None
    size: int


def save_model(
    proto: ModelProto,
    path: Path | str,
    *,
    base_dir: Path | None = None,
    source: Path | str | None = None,
    overwrite: bool = False,
    beside: Mapping[Path, str] | None = None,
    max_inline: int = MAX_INLINE,
) -> SavedModel:
    """Write a model.

    Weights beyond `max_inline` go into a file beside it whose name carries the hash of its content,
    so that no other model's data are ever overwritten or appended to; it is safely on disk before
    the model is.  A link at `path` is replaced, not followed.  Whatever goes wrong, `path` is as it
    was and no temporary file is left.

    Args:
        proto: the model; not changed.
        path: where to.
        base_dir: folder of the external data that `proto` refers to.
        source: the file that the model was made from, which is never overwritten.
        overwrite: replace an existing file.
        beside: texts that come into their places together with the model: its plan and report.
        max_inline: bytes of weights up to which there is a single file.

    Raises:
        FileSystemError: the file exists, is the source, or cannot be written.
        LimitExceeded: without its initializers the model is still beyond 2 GiB.
    """
    path, texts = Path(path), dict(beside or {})
    check_targets([path, *texts], source, overwrite=overwrite)
    replaced = _own_data(path, path) - (_own_data(path, Path(source)) if source else set())
    try:
        with contextlib.ExitStack() as stack:
            drafts = {place: _draft(stack, text, place) for place, text in texts.items()}
            saved = _save(proto, path, base_dir or Path(), max_inline, drafts)
    except EncodeError as error:
        raise LimitExceeded(
            f"{foreign(path)}: the model without its initializers is larger than 2 GiB"
        ) from error
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise FileSystemError(f"{foreign(path)} cannot be written ({foreign(reason)})") from error
    for name in replaced - {saved.data.name if saved.data else ""}:
        with contextlib.suppress(OSError):
            path.with_name(name).unlink()
    return saved


def _draft(stack: contextlib.ExitStack, text: str, place: Path) -> TempFile:
    file = stack.enter_context(temp_file(place))
    file.write(text.encode("utf-8", "backslashreplace"))
    return file


def check_targets(
    paths: Iterable[Path | None], source: Path | str | None, *, overwrite: bool
) -> None:
    """Make sure that files can be written, before any work goes into what they will hold.

    Args:
        paths: where to; None is passed over.
        source: a file that is never overwritten.
        overwrite: whether existing files may be replaced.

    Raises:
        FileSystemError: one of them exists, is the source, another of them, or in no folder.
    """
    seen: set[Path] = set()
    for path in paths:
        if path is None:
            continue
        _refuse_target(path, source, overwrite)
        place = path.parent.resolve() / path.name
        if place in seen:
            raise FileSystemError(f"{foreign(path)}: two outputs cannot share one file")
        seen.add(place)


def _refuse_target(path: Path, source: Path | str | None, overwrite: bool) -> None:
    shown = foreign(path)
    if path.is_dir():
        raise FileSystemError(f"{shown} is a folder: give the name of a file")
    if not path.parent.is_dir():
        raise FileSystemError(f"{shown}: there is no folder {foreign(path.parent)}")
    if not os.path.lexists(path):
        return
    if not (path.is_symlink() or path.is_file()):
        raise FileSystemError(f"{shown} is a pipe or a device: give the name of a file")
    if source is not None and path.exists() and path.samefile(source):
        raise FileSystemError(f"{shown} is the input itself: choose another name with -o")
    if not overwrite:
        raise FileSystemError(f"{shown} exists: --force replaces it")


_Drafts = Mapping[Path, TempFile]


def _save(
    proto: ModelProto, path: Path, base_dir: Path, max_inline: int, drafts: _Drafts
) -> SavedModel:
    weights = sum(stored_bytes(tensor) for _, tensor in stored_tensors(proto))
    if weights > max_inline:
        return _save_split(proto, path, base_dir, drafts)
    return SavedModel(path, None, _write_model(_with_data_inside(proto, base_dir), path, drafts))


def _write_model(proto: ModelProto, path: Path, drafts: _Drafts) -> int:
    """Write the model; when all data are on disk, the other files get their names, then this."""
    with temp_file(path) as file:
        file.write(proto.SerializeToString(deterministic=True))
        os.fsync(file.descriptor)  # from here on only names change
        for place, draft in drafts.items():
            draft.become(place)
        file.become(path)
        return file.size


def _save_split(proto: ModelProto, path: Path, base_dir: Path, drafts: _Drafts) -> SavedModel:
    """Write the data file, then the model that names it."""
    light, moved = _split(proto, base_dir)
    with contextlib.ExitStack() as undo:
        with temp_file(path) as file:
            digest = hashlib.sha256()
            offsets = [_append(file, digest, tensor, base_dir) for tensor, _ in moved]
            data = path.with_name(f"{path.stem}.{digest.hexdigest()[:16]}.data")
            if not data.exists():
                undo.callback(_remove_unread, data, path)
            file.become(data)
        for (tensor, entry), offset in zip(moved, offsets, strict=True):
            entry.data_location = TensorProto.EXTERNAL
            region = {"location": data.name, "offset": offset, "length": stored_bytes(tensor)}
            for key, value in region.items():
                entry.external_data.add(key=key, value=str(value))
        saved = SavedModel(path, data, file.size + _write_model(light, path, drafts))
        undo.pop_all()
        return saved


def _remove_unread(data: Path, path: Path) -> None:
    """Take back a data file, unless the model that reads it has just come into its place."""
    if data.name not in _own_data(path, path):
        data.unlink(missing_ok=True)


def _split(
    proto: ModelProto, base_dir: Path
) -> tuple[ModelProto, list[tuple[TensorProto, TensorProto]]]:
    """The model without its large initializers' data, and these beside their copies."""
    light = shell(proto, "graph")
    light.graph.CopyFrom(shell(proto.graph, "initializer"))
    light = _with_data_inside(light, base_dir)
    moved = []
    for tensor in proto.graph.initializer:
        entry = light.graph.initializer.add()
        if stored_bytes(tensor) < _SMALL and not is_external(tensor):
            entry.CopyFrom(tensor)
            continue
        entry.CopyFrom(shell(tensor, *DATA_FIELDS))
        moved.append((tensor, entry))
    return light, moved


def _with_data_inside(proto: ModelProto, base_dir: Path) -> ModelProto:
    """The model with every external tensor read in."""
    if not any(is_external(tensor) for _, tensor in stored_tensors(proto)):
        return proto
    whole = ModelProto()
    whole.CopyFrom(proto)
    for _, tensor in stored_tensors(whole):
        if is_external(tensor):
            raw = b"".join(_data(tensor, base_dir))
            tensor.ClearField("external_data")
            tensor.ClearField("data_location")
            tensor.raw_data = raw
    return whole


def _append(file: TempFile, digest: hashlib._Hash, tensor: TensorProto, base_dir: Path) -> int:
    """Write a tensor's data at the next page; where that is."""
    padding = bytes(-file.size % _PAGE)
    offset = file.size + len(padding)
    for data in (padding, *_data(tensor, base_dir)):
        file.write(data)
        digest.update(data)
    return offset


def _data(tensor: TensorProto, base_dir: Path) -> Iterator[bytes]:
    """The bytes of a tensor as `raw_data` holds them, in pieces where they lie in a file."""
    if is_external(tensor):
        yield from read_chunks(locate(tensor, base_dir, stored_bytes(tensor)))
    elif tensor.HasField("raw_data"):
        yield tensor.raw_data
    else:
        yield numpy_helper.from_array(numpy_helper.to_array(tensor)).raw_data


def _own_data(path: Path, reader: Path) -> set[str]:
    """Data files that earlier runs have written for `path` and that the model `reader` reads."""
    pattern = re.compile(re.escape(path.stem) + r"\.[0-9a-f]{16}\.data")
    try:
        if not any(pattern.fullmatch(name) for name in os.listdir(path.parent)):
            return set()
        model = ModelProto.FromString(reader.read_bytes() if reader.is_file() else b"")
    except (OSError, DecodeError):
        return set()
    entries = [e for _, tensor in stored_tensors(model) for e in tensor.external_data]
    return {e.value for e in entries if e.key == "location" and pattern.fullmatch(e.value)}
