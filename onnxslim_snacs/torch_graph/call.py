"""What an operator sees when it is run: its inputs, its attributes, and the bodies within it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from onnx import TensorProto

from onnxslim_snacs.errors import InputRefused, foreign
from onnxslim_snacs.torch_graph.late import torch

if TYPE_CHECKING:
    from torch import Tensor

#: What a name of a graph stands for: a tensor, or a sequence of tensors.
Value = Any
#: A body of control flow: values of its inputs -> values of its outputs.
Body = Callable[[Sequence[Value]], tuple[Value, ...]]

_WHOLE: dict[int, str] = {
    TensorProto.BOOL: "bool",
    TensorProto.INT8: "int8",
    TensorProto.UINT8: "uint8",
    TensorProto.INT16: "int16",
    TensorProto.INT32: "int32",
    TensorProto.INT64: "int64",
    TensorProto.INT4: "int8",
    TensorProto.UINT4: "uint8",
    # torch computes with few unsigned types: the next larger signed one holds all their values
    TensorProto.UINT16: "int32",
    TensorProto.UINT32: "int64",
    TensorProto.UINT64: "int64",
}
_FLOAT = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16)


def torch_type(kind: int, precision: str = "float32") -> torch.dtype:
    """The type in which torch holds what ONNX holds in `kind`.

    Half precision is kept in single precision: weights that are trained move by less than it
    resolves.

    Args:
        kind: an element type of TensorProto.
        precision: "float32" or "float64", in which floats are computed.

    Raises:
        InputRefused: torch has nothing for it.
    """
    if kind in _FLOAT:
        found: torch.dtype = getattr(torch, precision)
        return found
    if kind == TensorProto.DOUBLE:
        return torch.float64
    if kind not in _WHOLE:
        name = TensorProto.DataType.Name(kind) if kind in TensorProto.DataType.values() else kind
        raise InputRefused(f"tensors of type {name} cannot be run in torch")
    found = getattr(torch, _WHOLE[kind])
    return found


@dataclass(frozen=True, slots=True)
class Call:
    """A node as it is run.

    Attributes:
        op: its operator, with the domain unless it is ONNX's own.
        name: the node's name, or its first output's.
        opset: version of its operator set.
        inputs: their values; None for one that is left out.
        attributes: by name.
        outputs: names of the outputs; "" for one that is left out.
        precision: "float32" or "float64".
        device: where weights lie.
        bodies: by the attribute that holds them.
        kinds: element types of inputs that are stored in the file, by position.
    """

    op: str
    name: str
    opset: int
    inputs: tuple[Value, ...]
    attributes: Mapping[str, Any]
    outputs: tuple[str, ...] = ("",)
    precision: str = "float32"
    device: str = "cpu"
    bodies: Mapping[str, Body] = field(default_factory=dict)
    kinds: Mapping[int, int] = field(default_factory=dict)

    def __getitem__(self, index: int) -> Tensor:
        """Input `index`, which has to be there.

        Raises:
            InputRefused: it is not.
        """
        value = self.get(index)
        if value is None:
            raise self.refuse(f"has no input {index}")
        return value

    def get(self, index: int) -> Tensor | None:
        """Input `index`, None if it is left out."""
        value: Tensor | None = self.inputs[index] if index < len(self.inputs) else None
        return value

    def attr(self, name: str, default: Any = None) -> Any:
        """An attribute, or `default`."""
        return self.attributes.get(name, default)

    def ints(self, index: int, attribute: str = "") -> list[int] | None:
        """Whole numbers from input `index`, or from the attribute; None if neither is given."""
        value = self.get(index)
        if value is not None:
            return [int(v) for v in value.reshape(-1).tolist()]
        found = self.attributes.get(attribute)
        if isinstance(found, int):
            return [found]
        return None if found is None else [int(v) for v in found]

    def scalar(self, index: int, attribute: str = "", default: Any = None) -> Any:
        """A number from input `index`, or from the attribute."""
        value = self.get(index)
        if value is not None and value.numel():
            return value.reshape(-1)[0].item()
        return self.attributes.get(attribute, default)

    def wants(self, output: int) -> bool:
        """Whether output `output` is read by anybody."""
        return output < len(self.outputs) and self.outputs[output] != ""

    def dtype(self, kind: int) -> torch.dtype:
        """The type in which torch holds what ONNX holds in `kind`."""
        return torch_type(kind, self.precision)

    @property
    def floating(self) -> torch.dtype:
        """The type in which floats are computed."""
        return self.dtype(TensorProto.FLOAT)

    def refuse(self, reason: str) -> InputRefused:
        """An error that names this node."""
        return InputRefused(f"{self.op} node {foreign(self.name)} {reason}")


def together(*values: Tensor) -> list[Tensor]:
    """The tensors on one device: that of the first that does not lie in main memory."""
    device = next((v.device for v in values if v.device.type != "cpu"), None)
    return list(values) if device is None else [v.to(device) for v in values]


def along(vector: Tensor, rank: int, axis: int) -> Tensor:
    """A vector as a tensor of `rank` dimensions that lies along one of them."""
    return vector.reshape([-1 if k == axis % rank else 1 for k in range(rank)])
