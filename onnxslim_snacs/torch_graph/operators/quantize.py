"""Quantised operators, with gradients that pass through the rounding (straight-through).

What is quantised is held as whole numbers in a float tensor, so that a gradient has a way through;
it is zero where a value is cut off at the end of the range (Bengio et al. 2013; Jacob et al. 2018).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from onnx import TensorProto

from onnxslim_snacs.torch_graph.call import Call, along
from onnxslim_snacs.torch_graph.families import Family
from onnxslim_snacs.torch_graph.late import torch
from onnxslim_snacs.torch_graph.operators.conv import convolve
from onnxslim_snacs.torch_graph.operators.pool import average_pool, global_average_pool

if TYPE_CHECKING:
    from torch import Tensor

_RANGES: dict[int, tuple[int, int]] = {
    TensorProto.INT8: (-128, 127),
    TensorProto.UINT8: (0, 255),
    TensorProto.INT16: (-(1 << 15), (1 << 15) - 1),
    TensorProto.UINT16: (0, (1 << 16) - 1),
    TensorProto.INT4: (-8, 7),
    TensorProto.UINT4: (0, 15),
    TensorProto.INT32: (-(1 << 31), (1 << 31) - 1),
}


def quantize_linear(call: Call) -> Tensor:
    """QuantizeLinear: x / scale + zero point, rounded and cut off."""
    x = call[0]
    scale = _spread(call, call[1], x)
    zero = call.get(2)
    offset = torch.zeros_like(scale) if zero is None else _spread(call, zero.to(x.dtype), x)
    return _cut(call, 2, rounded(x / scale) + offset)


def dequantize_linear(call: Call) -> Tensor:
    """DequantizeLinear: (x - zero point) scale."""
    scale = call[1]
    x = call[0].to(scale.dtype)
    zero = call.get(2)
    if zero is not None:
        x = x - _spread(call, zero.to(scale.dtype), x)
    return x * _spread(call, scale, x)


def _spread(call: Call, values: Tensor, x: Tensor) -> Tensor:
    """Scales or zero points as they lie along `x`: one, one for each channel, or for blocks."""
    if values.numel() == 1 and values.ndim < 2:
        return values.reshape(()).to(x.device)
    axis, block = call.attr("axis", 1) % x.ndim, call.attr("block_size", 0)
    if values.ndim == 1:
        return along(values, x.ndim, axis).to(x.device)
    if block:
        return values.repeat_interleave(block, axis).narrow(axis, 0, x.shape[axis]).to(x.device)
    return values.to(x.device)


def rounded(x: Tensor) -> Tensor:
    """Rounded to the nearest even whole number, with the gradient of `x`."""
    return x + (torch.round(x) - x).detach()


def _cut(call: Call, zero: int, values: Tensor) -> Tensor:
    """Cut off at the ends of the range of the zero point at input `zero`."""
    low, high = _range(call, zero)
    return values.clamp(low, high)


def _range(call: Call, zero: int) -> tuple[int, int]:
    point = call.get(zero)
    kind = call.kinds.get(zero) or call.attr("output_dtype", 0)
    if not kind and point is None:
        kind = TensorProto.UINT8
    if not kind and point is not None:
        kinds = {
            torch.int8: TensorProto.INT8,
            torch.uint8: TensorProto.UINT8,
            torch.int16: TensorProto.INT16,
            torch.int32: TensorProto.UINT16,
        }
        kind = kinds.get(point.dtype, TensorProto.UINT8)
    if kind not in _RANGES:
        raise call.refuse(f"quantises to {TensorProto.DataType.Name(kind)}, which torch does not")
    return _RANGES[kind]


def dynamic_quantize(call: Call) -> Any:
    """DynamicQuantizeLinear: to the bytes that the values themselves span."""
    x = call[0]
    zero = torch.zeros((), dtype=x.dtype, device=x.device)
    low, high = torch.minimum(x.amin(), zero), torch.maximum(x.amax(), zero)
    scale = (high - low) / 255.0
    safe = torch.where(scale == 0, torch.ones_like(scale), scale)
    point = rounded((-low / safe).clamp(0, 255))
    return (rounded(x / safe) + point).clamp(0, 255), scale, point


def _dequantized(call: Call, start: int, axis: int | None = None) -> Tensor:
    """What stands at inputs start (values), start + 1 (scale) and start + 2 (zero point)."""
    values, scale, zero = call[start], call[start + 1], call.get(start + 2)
    x = values.to(scale.dtype)
    if zero is not None:
        x = x - _lying(zero.to(x.dtype), x, axis)
    return x * _lying(scale, x, axis)


def _lying(values: Tensor, x: Tensor, axis: int | None) -> Tensor:
    if values.numel() == 1 or axis is None or values.ndim != 1:
        return values.reshape(()) if values.numel() == 1 else values
    return along(values, x.ndim, axis)


def _requantized(call: Call, x: Tensor, scale: int) -> Tensor:
    """Quantised with the scale at input `scale` and the zero point behind it."""
    zero = call.get(scale + 1)
    offset = 0.0 if zero is None else zero.to(x.dtype).reshape(())
    return _cut(call, scale + 1, rounded(x / call[scale].reshape(())) + offset)


def qlinear_conv(call: Call) -> Tensor:
    """QLinearConv: a convolution of quantised images, its output quantised."""
    x, weight = _dequantized(call, 0), _dequantized(call, 3, axis=0)
    bias = call.get(8)
    if bias is not None:  # in units of both scales
        bias = bias.to(x.dtype) * call[1].reshape(()) * call[4]
    return _requantized(call, convolve(call, x, weight, bias), 6)


def qlinear_matmul(call: Call) -> Tensor:
    """QLinearMatMul: a product of quantised matrices, its output quantised."""
    return _requantized(call, _dequantized(call, 0, -2) @ _dequantized(call, 3, -1), 6)


def _whole(call: Call, index: int, zero: int, axis: int | None = None) -> Tensor:
    """Input `index` less its zero point, in double precision, which holds every sum exactly."""
    x, point = call[index].double(), call.get(zero)
    return x if point is None else x - _lying(point.double(), x, axis)


def conv_integer(call: Call) -> Tensor:
    """ConvInteger: sums of products of bytes."""
    return convolve(call, _whole(call, 0, 2), _whole(call, 1, 3, 0), None).to(call.floating)


def matmul_integer(call: Call) -> Tensor:
    """MatMulInteger: sums of products of bytes."""
    return (_whole(call, 0, 2, -2) @ _whole(call, 1, 3, -1)).to(call.floating)


def matmul_to_float(call: Call) -> Tensor:
    """MatMulIntegerToFloat: scaled, with a bias."""
    a, b = _whole(call, 0, 4, -2), _whole(call, 1, 5, -1)
    made = (a @ b).to(call.floating) * call[2] * call[3]
    bias = call.get(6)
    return made if bias is None else made + bias


def dynamic_matmul(call: Call) -> Tensor:
    """DynamicQuantizeMatMul: the first operand is quantised on the way."""
    quantised, scale, point = dynamic_quantize(call)
    a = (quantised - point).double()
    made: Tensor = (a @ _whole(call, 1, 3, -1)).to(call.floating) * scale * call[2]
    bias = call.get(4)
    return made if bias is None else made + bias


def qgemm(call: Call) -> Tensor:
    """QGemm: a b alpha + c, quantised if a scale is given."""
    a = _dequantized(call, 0)
    b = _dequantized(call, 3, 0 if call.attr("transB", 0) else 1)
    a = a.T if call.attr("transA", 0) else a
    b = b.T if call.attr("transB", 0) else b
    alpha, bias = call.attr("alpha", 1.0), call.get(6)
    made = alpha * (a @ b)
    if bias is not None:
        made = made + bias.to(a.dtype) * alpha * call[1].reshape(()) * call[4]
    return made if call.get(7) is None else _requantized(call, made, 7)


def qlinear_add(call: Call) -> Tensor:
    """QLinearAdd."""
    return _requantized(call, _dequantized(call, 0) + _dequantized(call, 3), 6)


def qlinear_mul(call: Call) -> Tensor:
    """QLinearMul."""
    return _requantized(call, _dequantized(call, 0) * _dequantized(call, 3), 6)


def qlinear_concat(call: Call) -> Tensor:
    """QLinearConcat: scale and zero point of the result, then each part with its own."""
    parts = [_dequantized(call, k) for k in range(2, len(call.inputs), 3)]
    return _requantized(call, torch.cat(parts, dim=call.attr("axis", 1)), 0)


def qlinear_sigmoid(call: Call) -> Tensor:
    """QLinearSigmoid."""
    return _requantized(call, torch.sigmoid(_dequantized(call, 0)), 3)


def qlinear_where(call: Call) -> Tensor:
    """QLinearWhere."""
    return _requantized(
        call, torch.where(call[0].bool(), _dequantized(call, 1), _dequantized(call, 4)), 7
    )


def _pooled(call: Call, run: Callable[[Call], Tensor]) -> Tensor:
    """A pooling operator between a dequantiser and a quantiser; channels may come last."""
    last = call.attr("channels_last", 0)
    x = _dequantized(call, 0)
    made = run(replace(call, inputs=(x.movedim(-1, 1) if last else x,)))
    return _requantized(call, made.movedim(1, -1) if last else made, 3)


def qlinear_average_pool(call: Call) -> Tensor:
    """QLinearAveragePool."""
    return _pooled(call, average_pool)


def qlinear_global_average_pool(call: Call) -> Tensor:
    """QLinearGlobalAveragePool."""
    return _pooled(call, global_average_pool)


def qlinear_softmax(call: Call) -> Tensor:
    """QLinearSoftmax: over one axis, or over all from one on before operator set 13."""
    x, axis = _dequantized(call, 0), call.attr("axis", -1)
    if call.attr("opset", 13) >= 13:
        return _requantized(call, torch.softmax(x, dim=axis), 3)
    start = axis % (x.ndim + 1)
    made = torch.softmax(x.flatten(start), dim=start) if start < x.ndim else torch.ones_like(x)
    return _requantized(call, made.reshape(x.shape), 3)


def qlinear_leaky_relu(call: Call) -> Tensor:
    """QLinearLeakyRelu."""
    x = _dequantized(call, 0)
    return _requantized(call, torch.where(x < 0, call.attr("alpha", 0.01) * x, x), 3)


def matmul_nbits(call: Call) -> Tensor:
    """MatMulNBits: weights of 4 or 8 bits in blocks, (n, blocks, bytes of a block)."""
    k, n = call.attr("K"), call.attr("N")
    bits, block = call.attr("bits", 4), call.attr("block_size")
    each = -(-k // block)
    packed = call[1].reshape(n, each, -1).to(torch.int32)
    values = _unpacked(packed, bits).reshape(n, each, -1)[..., :block].to(call.floating)
    scale = call[2].reshape(n, each, 1)
    points = call.get(3)
    if points is None:
        zero: Any = float(1 << (bits - 1))
    elif points.is_floating_point():
        zero = points.reshape(n, each, 1)
    else:
        zero = _unpacked(points.reshape(n, -1).to(torch.int32), bits)[:, :each, None]
    weight = ((values - zero) * scale).reshape(n, -1)[:, :k]
    made: Tensor = call[0] @ weight.T
    bias = call.get(5)
    return made if bias is None else made + bias


def _unpacked(packed: Tensor, bits: int) -> Tensor:
    """The numbers in bytes, the lowest bits first."""
    each = 8 // bits
    parts = [(packed >> (bits * k)) & ((1 << bits) - 1) for k in range(each)]
    return torch.stack(parts, -1).flatten(-2)


OPERATORS: Family = {
    "QuantizeLinear": quantize_linear,
    "DequantizeLinear": dequantize_linear,
    "DynamicQuantizeLinear": dynamic_quantize,
    "ConvInteger": conv_integer,
    "QLinearConv": qlinear_conv,
    "MatMulInteger": matmul_integer,
    "QLinearMatMul": qlinear_matmul,
    "com.microsoft::QGemm": qgemm,
    "com.microsoft::MatMulIntegerToFloat": matmul_to_float,
    "com.microsoft::DynamicQuantizeMatMul": dynamic_matmul,
    "com.microsoft::QLinearAdd": qlinear_add,
    "com.microsoft::QLinearMul": qlinear_mul,
    "com.microsoft::QLinearConcat": qlinear_concat,
    "com.microsoft::QLinearWhere": qlinear_where,
    "com.microsoft::QLinearAveragePool": qlinear_average_pool,
    "com.microsoft::QLinearGlobalAveragePool": qlinear_global_average_pool,
    "com.microsoft::QLinearSoftmax": qlinear_softmax,
    "com.microsoft::QLinearSigmoid": qlinear_sigmoid,
    "com.microsoft::QLinearLeakyRelu": qlinear_leaky_relu,
    "com.microsoft::QuantizeLinear": quantize_linear,
    "com.microsoft::DequantizeLinear": dequantize_linear,
    "com.microsoft::MatMulNBits": matmul_nbits,
}
