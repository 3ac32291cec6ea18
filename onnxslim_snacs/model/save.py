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
from onnxslim_snacs.model.atomic import NewFile, new_file
from onnxslim_snacs.model.external import is_external, locate, read_chunks
from onnxslim_snacs.model.shell import shell
from onnxslim_snacs.model.stored import stored_tensors
from onnxslim_snacs.model.targets import check_targets, is_input
from onnxslim_snacs.model.tensors import DATA_FIELDS, stored_bytes
from onnxslim_snacs.model.together import alone, put_in_place

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
    inputs: Iterable[Path | str] = (),
    overwrite: bool = False,
    beside: Mapping[Path, str] | None = None,
    max_inline: int = MAX_INLINE,
) -> SavedModel:
    """Write a model at once; see `staged`.

    Raises:
        FileSystemError: the file exists, is an input, or cannot be written.
        LimitExceeded: without its initializers the model is still beyond 2 GiB.
    """
    with staged(
        proto,
        path,
        base_dir=base_dir,
        inputs=inputs,
        overwrite=overwrite,
        beside=beside,
        max_inline=max_inline,
    ) as files:
        return files.publish()


@dataclass(frozen=True, slots=True)
class Staged:
    """Files that are written and not yet in their places.

    Attributes:
        saved: the model as it will lie there.
        drafts: all of them, the model last.
        inputs: files that are never overwritten.
        overwrite: whether existing files may be replaced.
    """

    saved: SavedModel
    drafts: tuple[NewFile, ...]
    inputs: tuple[Path | str, ...]
    overwrite: bool

    def publish(self) -> SavedModel:
        """Put the files into their places, all or none.

        Raises:
            FileSystemError: that is not possible, or somebody else has written there meanwhile.
        """
        path, data = self.saved.path, self.saved.data
        targets = [draft.target for draft in self.drafts]
        with _refusals(path), alone(targets):
            named = [target for target in targets if target != data]
            check_targets(named, self.inputs, overwrite=self.overwrite)
            outdated = _own_data(path, path) - {data.name if data else ""}
            put_in_place(self.drafts)
            for old in map(path.with_name, outdated):
                if not is_input(old, self.inputs):
                    with contextlib.suppress(OSError):
                        old.unlink()
        return self.saved


@contextlib.contextmanager
def staged(
    proto: ModelProto,
    path: Path | str,
    *,
    base_dir: Path | None = None,
    inputs: Iterable[Path | str] = (),
    overwrite: bool = False,
    beside: Mapping[Path, str] | None = None,
    max_inline: int = MAX_INLINE,
) -> Iterator[Staged]:
    """Write a model, and texts beside it, to drafts that are safely on disk.

    Weights beyond `max_inline` go into a file beside it whose name carries the hash of its content,
    so that no other model's data are ever overwritten or appended to.  A link at `path` is
    replaced, not followed; a file that is replaced hands on its mode.  Whatever goes wrong, all
    places are as they were and no draft is left.

    Args:
        proto: the model; not changed.
        path: where to.
        base_dir: folder of the external data that `proto` refers to.
        inputs: files that the model was made from, which are never overwritten.
        overwrite: replace existing files.
        beside: texts that come into their places together with the model: its plan and report.
        max_inline: bytes of weights up to which there is a single file.

    Raises:
        FileSystemError: a file exists, is an input, or cannot be written.
        LimitExceeded: without its initializers the model is still beyond 2 GiB.
    """
    path, texts, inputs = Path(path), dict(beside or {}), tuple(inputs)
    check_targets([path, *texts], inputs, overwrite=overwrite)
    with contextlib.ExitStack() as stack:
        with _refusals(path):
            drafts = [_text(stack, text, place) for place, text in texts.items()]
            saved, files = _model(stack, proto, path, base_dir or Path(), max_inline)
            if saved.data is not None and is_input(saved.data, inputs):
                files = files[1:]  # the model reads on what it has read
        yield Staged(saved, (*drafts, *files), inputs, overwrite)


@contextlib.contextmanager
def _refusals(path: Path) -> Iterator[None]:
    """What goes wrong while files are written, as errors of ours."""
    try:
        yield
    except EncodeError as error:
        raise LimitExceeded(
            f"{foreign(path)}: the model without its initializers is larger than 2 GiB"
        ) from error
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise FileSystemError(f"{foreign(path)} cannot be written ({foreign(reason)})") from error


def _text(stack: contextlib.ExitStack, text: str, place: Path) -> NewFile:
    file = stack.enter_context(new_file(place))
    file.write(text.encode("utf-8", "backslashreplace"))
    file.finish(place)
    return file


def _model(
    stack: contextlib.ExitStack, proto: ModelProto, path: Path, base_dir: Path, max_inline: int
) -> tuple[SavedModel, list[NewFile]]:
    """Drafts of the data file, if there is one, and of the model."""
    files, data = [], None
    if sum(stored_bytes(tensor) for _, tensor in stored_tensors(proto)) > max_inline:
        proto, weights = _data_file(stack, proto, path, base_dir)
        files, data = [weights], weights.target
    else:
        proto = _with_data_inside(proto, base_dir)
    file = stack.enter_context(new_file(path))
    file.write(proto.SerializeToString(deterministic=True))
    file.finish(path)
    files.append(file)
    return SavedModel(path, data, sum(file.size for file in files)), files


def _data_file(
    stack: contextlib.ExitStack, proto: ModelProto, path: Path, base_dir: Path
) -> tuple[ModelProto, NewFile]:
    """The draft of a data file, and the model that names it."""
    light, moved = _split(proto, base_dir)
    file, digest = stack.enter_context(new_file(path)), hashlib.sha256()
    offsets = [_append(file, digest, tensor, base_dir) for tensor, _ in moved]
    file.finish(path)  # whoever may not read the model may not read its weights
    file.target = path.with_name(f"{path.stem}.{digest.hexdigest()[:16]}.data")
    for (tensor, entry), offset in zip(moved, offsets, strict=True):
        entry.data_location = TensorProto.EXTERNAL
        region = {"location": file.target.name, "offset": offset, "length": stored_bytes(tensor)}
        for key, value in region.items():
            entry.external_data.add(key=key, value=str(value))
    return light, file


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


def _append(file: NewFile, digest: hashlib._Hash, tensor: TensorProto, base_dir: Path) -> int:
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
