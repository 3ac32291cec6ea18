"""Seeded ways to break a file: its bytes, its fields, its graph; data and plans as well."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

from google.protobuf.message import Message
from onnx import AttributeProto, ModelProto, TensorProto, helper

Random = random.Random
#: What a number is replaced by.
NUMBERS = (0, 1, -1, 2, 3, 7, 99, 255, 65536, 2**31 - 1, 2**31, 2**40, 2**62, -(2**31), -(2**63))
#: What a name is replaced by.
TEXTS = ("", "x", "\x1b[31m", "../../etc/passwd", "a" * 5000, "\u202e", "ai.onnx", "Conv", "0")


def mutated_bytes(data: bytes, rng: Random) -> bytes:
    """Some bytes changed, taken away, doubled, or cut off."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        if not out:
            break
        place, length = rng.randrange(len(out)), rng.choice((1, 2, 8, 64))
        kind = rng.randrange(6)
        if kind == 0:
            out[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            out[place] = rng.randrange(256)
        elif kind == 2:
            del out[place : place + length]
        elif kind == 3:
            out[place:place] = out[place : place + length]
        elif kind == 4:
            out[place : place + length] = rng.randbytes(length)
        elif rng.random() < 0.2:
            del out[place:]
    return bytes(out)


def _messages(message: Message, depth: int = 0) -> Iterator[Message]:
    """A message and all within it; of long lists a few members."""
    yield message
    if depth > 6:
        return
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        members = value if field.is_repeated else [value]
        for member in list(members)[:60]:
            yield from _messages(member, depth + 1)


def mutated_fields(model: ModelProto, rng: Random) -> ModelProto:
    """One to three fields of any message of the file changed, cleared, doubled or shuffled."""
    out = ModelProto()
    out.CopyFrom(model)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        message = rng.choice(list(_messages(out)))
        fields = [field for field, _ in message.ListFields()] or list(message.DESCRIPTOR.fields)
        _change(message, rng.choice(fields), rng)
    return out


def _change(message: Any, field: Any, rng: Random) -> None:
    if rng.random() < 0.15:
        message.ClearField(field.name)
        return
    if not field.is_repeated:
        if field.message_type is None:
            setattr(message, field.name, _scalar(field, getattr(message, field.name), rng))
        return
    values = list(getattr(message, field.name))
    if not values:
        return
    kind, place = rng.randrange(4), rng.randrange(len(values))
    if kind == 0:
        del values[place]
    elif kind == 1:
        values.append(values[place])
    elif kind == 2 and field.message_type is None:
        values[place] = _scalar(field, values[place], rng)
    elif len(values) < 2000:
        rng.shuffle(values)
    copies = [_copy(value) for value in values]
    message.ClearField(field.name)
    getattr(message, field.name).extend(copies)


def _copy(value: Any) -> Any:
    if not isinstance(value, Message):
        return value
    copy = type(value)()
    copy.CopyFrom(value)
    return copy


def _scalar(field: Any, value: Any, rng: Random) -> Any:
    if isinstance(value, bytes):
        return mutated_bytes(value, rng) if rng.random() < 0.7 else b""
    if isinstance(value, str):
        return rng.choice(TEXTS)
    if isinstance(value, float):
        return rng.choice((0.0, -1.0, 1e38, float("nan"), float("inf")))
    if field.enum_type is not None:
        return rng.choice(list(field.enum_type.values_by_number))
    number = rng.choice((*NUMBERS, value + 1, value - 1, value * 2))
    wide = field.cpp_type in (field.CPPTYPE_INT64, field.CPPTYPE_UINT64)
    low, high = (-(2**63), 2**63 - 1) if wide else (-(2**31), 2**31 - 1)
    if field.cpp_type in (field.CPPTYPE_UINT64, field.CPPTYPE_UINT32):
        low, high = 0, 2**64 - 1 if wide else 2**32 - 1
    return max(low, min(high, number))


def mutated_graph(model: ModelProto, rng: Random) -> ModelProto:
    """One to three edits that a broken exporter could make."""
    out = ModelProto()
    out.CopyFrom(model)
    for _ in range(rng.choice((1, 1, 2, 3))):
        if out.graph.node:
            rng.choice(_EDITS)(out, rng)
    return out


def _other_operator(model: ModelProto, rng: Random) -> None:
    nodes = model.graph.node
    rng.choice(nodes).op_type = rng.choice((rng.choice(nodes).op_type, *_OPERATORS))


_OPERATORS = ("Conv", "Add", "MatMul", "Gemm", "Reshape", "Transpose", "Concat", "Gather", "Slice")


def _rewire(model: ModelProto, rng: Random) -> None:
    nodes = model.graph.node
    node = rng.choice(nodes)
    names = [*(n for other in nodes for n in other.output), *(t.name for t in _stored(model))]
    if node.input:
        node.input[rng.randrange(len(node.input))] = rng.choice([*names, ""])


def _drop_node(model: ModelProto, rng: Random) -> None:
    del model.graph.node[rng.randrange(len(model.graph.node))]


def _drop_operand(model: ModelProto, rng: Random) -> None:
    node = rng.choice(model.graph.node)
    side = rng.choice((node.input, node.output))
    if side:
        del side[rng.randrange(len(side))]


def _reshape_weight(model: ModelProto, rng: Random) -> None:
    stored = _stored(model)
    if stored:
        dims = rng.choice(stored).dims
        if dims and rng.random() < 0.7:
            dims[rng.randrange(len(dims))] = rng.choice((0, 1, 2, dims[0], dims[-1], 4096))
        elif len(dims) > 1:
            first = dims.pop()
            dims.insert(0, first)


def _number_of_shape(model: ModelProto, rng: Random) -> None:
    """Another number in a list of numbers: extents, axes, indices."""
    lists = [t for t in _stored(model) if t.data_type == TensorProto.INT64 and len(t.dims) == 1]
    if not lists:
        return
    tensor = rng.choice(lists)
    if len(tensor.raw_data) >= 8:
        place = 8 * rng.randrange(len(tensor.raw_data) // 8)
        number = rng.choice(NUMBERS).to_bytes(8, "little", signed=True)
        tensor.raw_data = tensor.raw_data[:place] + number + tensor.raw_data[place + 8 :]
    elif tensor.int64_data:
        tensor.int64_data[rng.randrange(len(tensor.int64_data))] = rng.choice(NUMBERS)


def _attribute(model: ModelProto, rng: Random) -> None:
    node = rng.choice(model.graph.node)
    if not node.attribute:
        return
    attribute = rng.choice(node.attribute)
    if attribute.type == AttributeProto.INT:
        attribute.i = rng.choice(NUMBERS)
    elif attribute.type == AttributeProto.INTS and attribute.ints:
        attribute.ints[rng.randrange(len(attribute.ints))] = rng.choice(NUMBERS)
    else:
        node.attribute.remove(attribute)


def _declared(model: ModelProto, rng: Random) -> None:
    """Another extent among those that are declared."""
    infos = [*model.graph.input, *model.graph.output, *model.graph.value_info]
    dims = [d for info in infos for d in info.type.tensor_type.shape.dim]
    if dims:
        rng.choice(dims).dim_value = rng.choice((1, 2, 3, 5, 4096, 2**40, 2**62))


def _unknown_operator(model: ModelProto, rng: Random) -> None:
    """An operator that nobody has, so that the model cannot be run."""
    graph = model.graph
    if not graph.output:
        return
    output = rng.choice(graph.output)
    graph.node.append(helper.make_node("Frob", [output.name], ["fuzz_out"], domain="zz"))
    output.name = "fuzz_out"
    if not any(o.domain == "zz" for o in model.opset_import):
        model.opset_import.append(helper.make_opsetid("zz", 1))


def _infer_declarations(model: ModelProto, rng: Random) -> None:
    """Declared shapes of everything, some of them wrong."""
    for node in rng.sample(list(model.graph.node), min(4, len(model.graph.node))):
        for name in node.output:
            dims = [rng.choice((1, 2, 3, 8, 16, "N")) for _ in range(rng.choice((1, 2, 3, 4, 4)))]
            info = helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)
            model.graph.value_info.append(info)


def _opset(model: ModelProto, rng: Random) -> None:
    if model.opset_import:
        rng.choice(model.opset_import).version = rng.choice((1, 5, 7, 9, 11, 13, 17, 20, 23))


def _stored(model: ModelProto) -> list[TensorProto]:
    constants = [a.t for n in model.graph.node for a in n.attribute if a.HasField("t")]
    return [*model.graph.initializer, *constants]


_EDITS: tuple[Callable[[ModelProto, Random], None], ...] = (
    _other_operator,
    _rewire,
    _drop_node,
    _drop_operand,
    _reshape_weight,
    _number_of_shape,
    _attribute,
    _declared,
    _unknown_operator,
    _infer_declarations,
    _opset,
)


def mutated_model(data: bytes, rng: Random) -> bytes:
    """A model's file, broken in one of the ways above; half of them can be run no more."""
    kind = rng.choice(("bytes", "fields", "fields", "graph", "graph", "graph"))
    if kind == "bytes":
        return mutated_bytes(data, rng)
    model = ModelProto.FromString(data)
    change = mutated_fields if kind == "fields" else mutated_graph
    out = change(model, rng)
    if rng.random() < 0.3:
        _unknown_operator(out, rng)
    return bytes(out.SerializeToString())


def mutated_json(text: str, rng: Random) -> str:
    """A plan with values, keys or bytes changed."""
    if rng.random() < 0.3:
        return mutated_bytes(text.encode(), rng).decode("utf-8", "replace")
    data = json.loads(text)
    for _ in range(rng.choice((1, 1, 2, 4))):
        _change_json(data, rng)
    return json.dumps(data)


_VALUES: tuple[Any, ...] = (None, True, -1, 0, 1, 2**70, 0.5, "", "x", [], {}, [[]], float("nan"))


def _change_json(data: Any, rng: Random) -> None:
    while isinstance(data, dict | list) and data:
        keys = list(data) if isinstance(data, dict) else list(range(len(data)))
        key = rng.choice(keys)
        if rng.random() < 0.35 or not isinstance(data[key], dict | list):
            kind = rng.randrange(4)
            if kind == 0:
                del data[key]
            elif kind == 1 and isinstance(data, list):
                data.append(data[key])
            elif kind == 2 and isinstance(data[key], int):
                data[key] = data[key] + rng.choice((-1, 1, 1000))
            else:
                data[key] = rng.choice(_VALUES)
            return
        data = data[key]
