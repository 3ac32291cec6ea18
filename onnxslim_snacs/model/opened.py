"""A model however it is held: a file, or an object in memory."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any, TypeAlias

from onnx import ModelProto

from onnxslim_snacs.errors import InputRefused, SnacsError, UsageError, foreign
from onnxslim_snacs.model.external import is_external
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.load import checked, load_model, parse_model
from onnxslim_snacs.model.mapped import read_in
from onnxslim_snacs.model.stored import stored_tensors

#: A path, a ModelProto, a serialised model, an onnx_ir.Model or a graph of onnx-graphsurgeon; the
#: last two belong to libraries that need not be there.
AnyModel: TypeAlias = Path | str | bytes | ModelProto | Any

EXPECTED = "a path, an onnx.ModelProto, bytes, an onnx_ir.Model or a graph of onnx-graphsurgeon"


@dataclass(frozen=True, slots=True)
class Opened:
    """A model, and where it came from.

    Attributes:
        graph: the model; what was given is never changed.
        name: the path, or the kind of the object.
        path: the file, if it was read from one.
    """

    graph: ModelGraph
    name: str
    path: Path | None = None


def open_model(given: AnyModel, argument: str = "model") -> Opened:
    """Read a model, and make sure that the rest of the package can rely on it (`load_model`).

    Args:
        given: the model.
        argument: what the caller calls it, for messages.

    Raises:
        UsageError: it is none of these.
        InputRefused: it is not a valid model, or its weights lie in files that cannot be found.
        LimitExceeded: it is beyond the limits.
        FileSystemError: it cannot be read.
    """
    if isinstance(given, str | PathLike):
        text = fspath(given)
        if isinstance(text, str):
            return Opened(load_model(Path(text)), text, Path(text))
    kind = type(given).__name__
    try:
        proto = _as_proto(given)
        _require_inside(proto)
        proto, infinite = checked(proto, Path())  # nothing is looked for there
    except _NoModel:
        shown = foreign(f"{given!r} ({kind})")
        raise UsageError(f"{argument}: got {shown}, expected {EXPECTED}") from None
    except SnacsError as error:
        raise type(error)(f"{argument} ({kind}): {error}") from error
    return Opened(ModelGraph(proto, None, infinite), f"({kind})")


class _NoModel(Exception):
    """Nothing that a model can be made of."""


def _as_proto(given: Any) -> ModelProto:
    if isinstance(given, ModelProto):
        return given
    if isinstance(given, bytes | bytearray | memoryview):
        return parse_model(bytes(given))
    for module, convert in _CONVERTERS.items():
        library = sys.modules.get(module)  # who has such an object has imported its library
        if library is not None and convert.fits(library, given):
            return convert.make(library, given)
    raise _NoModel


def _require_inside(proto: ModelProto) -> None:
    """Raise if weights lie in files: nobody says where."""
    for _, tensor in stored_tensors(proto):
        if is_external(tensor):
            raise InputRefused(
                f"tensor {foreign(tensor.name)} lies in another file, and a model in memory has no "
                "folder to look in: give the path of the file, or read the weights in "
                "(onnx.load(path) does)"
            )


def _from_onnx_ir(library: Any, given: Any) -> ModelProto:
    folders = {str(tensor.base_dir) for tensor in _external(library, given)}
    if len(folders) > 1:
        raise InputRefused(f"its weights lie in several folders: {foreign(sorted(folders))}")
    try:
        proto: ModelProto = library.to_proto(given)
    except Exception as error:  # whatever its serialiser raises of what it was given
        raise InputRefused(f"onnx_ir cannot serialise it: {foreign(error)}") from error
    for folder in folders:
        for _, tensor in stored_tensors(proto):
            if is_external(tensor):
                tensor.CopyFrom(read_in(tensor, Path(folder)))
    return proto


def _external(library: Any, given: Any) -> Iterator[Any]:
    graphs = given.graphs() if hasattr(given, "graphs") else (given.graph,)
    for graph in graphs:
        for value in graph.initializers.values():
            if isinstance(value.const_value, library.ExternalTensor):
                yield value.const_value


def _from_graphsurgeon(library: Any, given: Any) -> ModelProto:
    try:
        proto: ModelProto = library.export_onnx(given)
    except Exception as error:  # whatever its exporter raises of what it was given
        raise InputRefused(f"onnx-graphsurgeon cannot export it: {foreign(error)}") from error
    return proto


@dataclass(frozen=True, slots=True)
class _Converter:
    kind: str
    make: Callable[[Any, Any], ModelProto]

    def fits(self, library: Any, given: Any) -> bool:
        kind = getattr(library, self.kind, None)
        return isinstance(kind, type) and isinstance(given, kind)


#: Library -> its kind of model, and how to make a ModelProto of one.
_CONVERTERS = {
    "onnx_ir": _Converter("Model", _from_onnx_ir),
    "onnx_graphsurgeon": _Converter("Graph", _from_graphsurgeon),
}
