"""Element types of tensors: by ONNX's inference, and where that stops, by ONNX Runtime's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import onnx
from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto, helper

from onnxslim_snacs.errors import InputRefused, RuntimeRefused, foreign
from onnxslim_snacs.model.session import SessionConfig, create_session
from onnxslim_snacs.model.shell import shell

#: ONNX Runtime's words for the types that differ from ONNX's.
_RUNTIME_WORDS = {"float": TensorProto.FLOAT, "double": TensorProto.DOUBLE}


def element_types(
    model: ModelProto, tensors: Iterable[str], base_dir: Path | None = None
) -> Mapping[str, int]:
    """Element types of tensors of the top-level graph.

    Args:
        model: the model; not changed.
        tensors: the tensors that are asked for.
        base_dir: the folder of its external data.

    Returns:
        Tensor -> element type as in TensorProto.

    Raises:
        InputRefused: neither ONNX nor ONNX Runtime can tell the type of one of them.
    """
    wanted = list(dict.fromkeys(tensors))
    known = _inferred(model) if wanted else {}
    missing = [name for name in wanted if not known.get(name)]
    if missing:
        known = {**known, **_asked(model, missing, base_dir)}
    return {name: known[name] for name in wanted}


def declared(graph: GraphProto) -> dict[str, int]:
    """The element types that a graph itself tells; 0 for what is no tensor."""
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    for info in (*graph.value_info, *graph.input, *graph.output):
        types[info.name] = info.type.tensor_type.elem_type
    return types


def _inferred(model: ModelProto) -> dict[str, int]:
    """By static inference, from the types of the weights alone: their contents tell nothing."""
    light = shell(model, "graph")
    light.graph.CopyFrom(shell(model.graph, "initializer"))
    listed = {info.name for info in light.graph.input}
    light.graph.input.extend(
        helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
        for tensor in model.graph.initializer
        if tensor.name not in listed
    )
    try:
        light = onnx.shape_inference.infer_shapes(light)
    except MemoryError:
        raise
    except Exception:  # inference is best effort: what it does not tell, ONNX Runtime may
        return declared(model.graph)
    return {**declared(light.graph), **declared(model.graph)}


def _asked(model: ModelProto, tensors: list[str], base_dir: Path | None) -> dict[str, int]:
    """By ONNX Runtime, which infers the types of all outputs when it loads a model."""
    watched = ModelProto()
    watched.CopyFrom(model)
    del watched.graph.output[:]
    watched.graph.output.extend(ValueInfoProto(name=name) for name in tensors)
    try:
        session = create_session(watched, SessionConfig(level=0), base_dir)
    except RuntimeRefused as error:
        raise InputRefused(
            f"the element type of {foreign(tensors[0])} is not known: {error}"
        ) from error
    words = {o.name: o.type.removeprefix("tensor(").rstrip(")") for o in session.get_outputs()}
    return {name: _by_word(words[name], name) for name in tensors}


def _by_word(word: str, tensor: str) -> int:
    kinds: Mapping[str, int] = dict(TensorProto.DataType.items())
    kind = _RUNTIME_WORDS.get(word) or kinds.get(word.upper())
    if kind is None:
        raise InputRefused(f"{foreign(tensor)} is no tensor of a known type, but {foreign(word)}")
    return kind
