"""Single nodes with random inputs: what each operator of torch_graph is held to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper

from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.torch_graph.network import Network, open_network

Array = NDArray[Any]


@dataclass(frozen=True)
class Drawn:
    """A float input: normal numbers moved and scaled, or spread so that none are near each other.

    `apart` gives all numbers a distance, for operators whose gradient jumps where two are equal.
    """

    shape: tuple[int, ...]
    scale: float = 1.0
    shift: float = 0.0
    apart: bool = False

    def array(self, rng: np.random.Generator) -> Array:
        if self.apart:
            count = int(np.prod(self.shape))
            steps = rng.permutation(count) - (count - 1) / 2 + 0.25
            return (steps * 0.37).reshape(self.shape) * self.scale + self.shift
        return rng.standard_normal(self.shape) * self.scale + self.shift


@dataclass(frozen=True)
class Case:
    """One node.

    Attributes:
        op: its operator, with the domain in front of "::".
        inputs: shapes of float inputs that are drawn, arrays that are fed as they are, or None.
        attributes: of the node.
        opset: of ONNX.
        outputs: how many outputs are read, or for each whether it is.
        smooth: whether gradients of drawn inputs are compared with finite differences.
        rtol: of the outputs.
    """

    op: str
    inputs: tuple[Any, ...]
    attributes: dict[str, Any] = field(default_factory=dict)
    opset: int = 20
    outputs: int | tuple[int, ...] = 1
    smooth: bool = True
    rtol: float = 2e-6

    @property
    def title(self) -> str:
        extra = "-".join(f"{k}={v}" for k, v in self.attributes.items())
        return f"{self.op}-{self.opset}-{extra}"[:80]

    @property
    def drawn(self) -> set[str]:
        """Names of the inputs that are drawn."""
        return {f"x{k}" for k, v in enumerate(self.inputs) if isinstance(v, (tuple, Drawn))}

    def feeds(self) -> dict[str, Array]:
        rng = np.random.default_rng(3)
        found = {}
        for k, given in enumerate(self.inputs):
            if isinstance(given, tuple):
                given = Drawn(given)
            if isinstance(given, Drawn):
                found[f"x{k}"] = given.array(rng).astype(np.float32)
            elif given is not None:
                found[f"x{k}"] = np.asarray(given)
        return found

    def model(self) -> ModelProto:
        domain, _, op = self.op.rpartition("::")
        names = [f"x{k}" if given is not None else "" for k, given in enumerate(self.inputs)]
        wanted = range(self.outputs) if isinstance(self.outputs, int) else self.outputs
        outputs = [f"y{k}" if k in wanted else "" for k in range(max(wanted) + 1)]
        node = helper.make_node(op, names, outputs, name="node", domain=domain, **self.attributes)
        feeds = self.feeds()
        infos = [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(value.dtype), list(value.shape)
            )
            for name, value in feeds.items()
        ]
        results = [onnx_output(name) for name in outputs if name]
        graph = helper.make_graph([node], "case", infos, results)
        opsets = [helper.make_opsetid("", self.opset)]
        if domain:
            opsets.append(helper.make_opsetid(domain, 1))
        return helper.make_model(graph, opset_imports=opsets, ir_version=10)

    def network(self, precision: str = "float32") -> Network:
        return open_network(ModelGraph(self.model()), precision=precision)


def onnx_output(name: str) -> Any:
    """An output of which only the name is known."""
    info = helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None)
    info.ClearField("type")
    return info


def ints(*values: int) -> Array:
    return np.array(values, dtype=np.int64)


def apart(*shape: int, scale: float = 1.0, shift: float = 0.0) -> Drawn:
    return Drawn(shape, scale, shift, apart=True)


def positive(*shape: int) -> Drawn:
    return Drawn(shape, 0.2, 1.5)


X = (2, 3, 4)
UNARY = {
    "Abs": apart(*X),
    "Acos": Drawn(X, 0.2),
    "Acosh": Drawn(X, 0.1, 2.0),
    "Asin": Drawn(X, 0.2),
    "Asinh": X,
    "Atan": X,
    "Atanh": Drawn(X, 0.2),
    "Celu": apart(*X),
    "Cos": X,
    "Cosh": X,
    "Elu": apart(*X),
    "Erf": X,
    "Exp": X,
    "Gelu": X,
    "HardSigmoid": apart(*X),
    "HardSwish": apart(*X),
    "Identity": X,
    "LeakyRelu": apart(*X),
    "Log": positive(*X),
    "Mish": X,
    "Neg": X,
    "Reciprocal": positive(*X),
    "Relu": apart(*X),
    "Selu": apart(*X),
    "Shrink": apart(*X),
    "Sigmoid": X,
    "Sin": X,
    "Sinh": X,
    "Softplus": X,
    "Softsign": apart(*X),
    "Sqrt": positive(*X),
    "Tan": Drawn(X, 0.3),
    "Tanh": X,
    "ThresholdedRelu": apart(*X),
    "com.microsoft::Gelu": X,
    "com.microsoft::QuickGelu": X,
}
REDUCED = ["L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare"]


def recurrent(op: str, gates: int, **more: Any) -> Case:
    """A recurrent node of 2 directions, 3 steps, 2 sequences, 3 numbers in, 2 hidden units."""
    states = 2 if op == "LSTM" else 1
    peephole = ((2, 3 * 2),) if op == "LSTM" else ()
    inputs = (
        (3, 2, 3),
        (2, gates * 2, 3),
        (2, gates * 2, 2),
        (2, 2 * gates * 2),
        np.array([3, 2], dtype=np.int32),
        *[(2, 2, 2)] * states,
        *peephole,
    )
    attributes = {"hidden_size": 2, "direction": "bidirectional", **more}
    return Case(op, inputs, attributes, opset=14, outputs=1 + states)


CASES = [
    *[Case(op, (given,)) for op, given in UNARY.items()],
    Case("Swish", (X,), {"alpha": 1.3}, opset=24, smooth=True),
    Case("Gelu", (X,), {"approximate": "tanh"}),
    Case("LeakyRelu", (apart(*X),), {"alpha": 0.3}),
    Case("Selu", (apart(*X),), {"alpha": 1.1, "gamma": 0.7}),
    Case("PRelu", (apart(2, 3, 4), (3, 1))),
    Case("Clip", (apart(*X), np.float32(-1.0), np.float32(1.2)), opset=13),
    Case("Clip", (apart(*X),), {"min": -1.0, "max": 1.2}, opset=6),
    Case("Dropout", (X,), outputs=1),
    Case("Cast", (X,), {"to": TensorProto.INT32}, smooth=False),
    Case("Cast", (X,), {"to": TensorProto.DOUBLE}),
    Case("CastLike", (X, np.zeros(2, np.int64)), smooth=False),
    *[Case(op, (X,), smooth=False) for op in ("Ceil", "Floor", "Round", "Sign", "IsNaN", "IsInf")],
    Case("Add", (X, (3, 1))),
    Case("Sub", (X, (3, 1))),
    Case("Mul", (X, (3, 1))),
    Case("Div", (X, positive(3, 1))),
    Case("Div", (np.array([7, -7, 5]), np.array([2, 2, -3])), smooth=False),
    Case("Pow", (positive(*X), (4,))),
    Case("Mod", (np.array([7, -7, 5]), np.array([3, 3, -3])), smooth=False),
    Case("Mod", (np.array([7.5, -7.5], np.float32), np.array([2, 2], np.float32)), {"fmod": 1},
         smooth=False),
    Case("Max", (apart(*X), apart(3, 1, shift=0.1), apart(4, shift=0.17))),
    Case("Min", (apart(*X), apart(3, 1, shift=0.1), apart(4, shift=0.17))),
    Case("Sum", (X, (3, 1), (4,))),
    Case("Mean", (X, (3, 1), (4,))),
    Case("Where", (np.array([[True], [False], [True]]), X, (4,))),
    *[Case(op, (X, (3, 1)), smooth=False) for op in
      ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")],
    *[Case(op, (np.array([True, False]), np.array([[True], [False]])), smooth=False)
      for op in ("And", "Or", "Xor")],
    Case("Not", (np.array([True, False]),), smooth=False),
    *[Case(op, (np.array([12, 5], np.int32), np.array([10, 3], np.int32)), smooth=False)
      for op in ("BitwiseAnd", "BitwiseOr", "BitwiseXor")],
    Case("BitwiseNot", (np.array([12, 5], np.int32),), smooth=False),
    Case("BitShift", (np.array([12, 5], np.uint8), np.array([1, 2], np.uint8)),
         {"direction": "LEFT"}, smooth=False),
    Case("BitShift", (np.array([12, 5], np.uint8), np.array([1, 2], np.uint8)),
         {"direction": "RIGHT"}, smooth=False),
    Case("com.microsoft::FastGelu", (X, (4,))),
    Case("com.microsoft::BiasGelu", (X, (4,))),
    # convolutions
    Case("Conv", ((2, 4, 5, 6), (6, 2, 3, 3), (6,)),
         {"group": 2, "pads": [1, 0, 2, 1], "strides": [2, 1], "dilations": [1, 2]}),
    Case("Conv", ((2, 3, 7), (4, 3, 3)), {"auto_pad": "SAME_LOWER", "strides": [2]}),
    Case("Conv", ((1, 2, 4, 4, 4), (2, 2, 2, 2, 2)), {"auto_pad": "SAME_UPPER"}),
    Case("Conv", ((1, 2, 5, 5), (2, 2, 3, 3)), {"auto_pad": "VALID"}),
    Case("ConvTranspose", ((2, 4, 3, 4), (4, 3, 3, 3), (6,)),
         {"group": 2, "pads": [1, 0, 0, 1], "strides": [2, 2], "output_padding": [1, 0]}),
    Case("ConvTranspose", ((1, 2, 4), (2, 3, 3)), {"output_shape": [9], "strides": [2]}),
    Case("ConvTranspose", ((1, 2, 3, 3), (2, 3, 3, 3)),
         {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    Case("ConvTranspose", ((1, 2, 3, 3), (2, 3, 2, 2)), {"dilations": [2, 2]}),
    Case("com.microsoft::FusedConv", (apart(1, 2, 4, 4), (3, 2, 3, 3), (3,), (1, 3, 2, 2)),
         {"activation": "Sigmoid"}),
    Case("DeformConv", ((1, 4, 4, 5), (6, 2, 2, 3), apart(1, 24, 3, 2, scale=0.003), (6,),
         (1, 12, 3, 2)), {"group": 2, "offset_group": 2, "pads": [0, 1, 1, 0], "strides": [1, 2],
         "dilations": [2, 1]}),
    # products
    Case("MatMul", ((2, 3, 4), (4, 5))),
    Case("MatMul", ((4,), (2, 4, 5))),
    Case("Gemm", ((4, 3), (5, 4), (5,)), {"transA": 1, "transB": 1, "alpha": 0.5, "beta": 2.0}),
    Case("Gemm", ((3, 4), (4, 5))),
    Case("Einsum", ((2, 3, 4), (2, 4, 5)), {"equation": "bij, bjk -> bki"}),
    Case("com.microsoft::FusedMatMul", ((2, 4, 3), (2, 5, 4)),
         {"transA": 1, "transB": 1, "alpha": 0.5}),
    Case("com.microsoft::TransposeMatMul", ((2, 4, 3), (2, 4, 5)), {"transA": 1}),
    Case("com.microsoft::FusedGemm", (apart(3, 4), (4, 5), (5,)),
         {"activation": "LeakyRelu", "activation_alpha": 0.1}),
    # normalisations
    Case("BatchNormalization", ((2, 3, 4), (3,), (3,), (3,), positive(3)), {"epsilon": 1e-3}),
    Case("BatchNormalization", ((4, 3, 4), (3,), (3,), (3,), positive(3)),
         {"training_mode": 1, "momentum": 0.8}, outputs=3, smooth=True),
    Case("InstanceNormalization", ((2, 3, 4, 2), (3,), (3,))),
    Case("GroupNormalization", ((2, 4, 3), (2,), (2,)), {"num_groups": 2}, opset=18),
    Case("GroupNormalization", ((2, 4, 3), (4,), (4,)), {"num_groups": 2}, opset=21),
    Case("LayerNormalization", ((2, 3, 4), (4,), (4,)), outputs=3),
    Case("LayerNormalization", ((2, 3, 4), (3, 4)), {"axis": 1}),
    Case("RMSNormalization", ((2, 3, 4), (4,)), opset=23),
    Case("SimplifiedLayerNormalization", ((2, 3, 4), (4,)), {"axis": -1}, opset=17),
    Case("com.microsoft::SkipLayerNormalization", (X, X, (4,), (4,), (4,)), outputs=(0, 3)),
    Case("com.microsoft::SkipSimplifiedLayerNormalization", (X, X, (4,), (4,)), outputs=(0, 3)),
    Case("com.microsoft::EmbedLayerNormalization",
         (np.array([[1, 2, 0]], np.int32), np.array([[0, 1, 1]], np.int32), (4, 5), (6, 5),
          (2, 5), (5,), (5,), np.array([[1, 1, 0]], np.int32)), outputs=2),
    Case("MeanVarianceNormalization", ((2, 3, 2, 2),), {"axes": [0, 2, 3]}, rtol=1e-5),
    Case("LpNormalization", ((2, 3, 4),), {"axis": 1, "p": 2}),
    Case("LpNormalization", (apart(2, 3, 4),), {"axis": 1, "p": 1}),
    Case("LRN", ((2, 5, 2, 2),), {"size": 3, "alpha": 0.5, "beta": 0.6, "bias": 1.2}),
    # pooling
    Case("MaxPool", (apart(1, 2, 5, 6),), {"kernel_shape": [3, 2], "pads": [1, 0, 1, 1],
         "strides": [2, 2]}),
    Case("MaxPool", (apart(1, 2, 7, 7),), {"kernel_shape": [3, 3], "ceil_mode": 1,
         "strides": [2, 3], "dilations": [1, 2]}),
    Case("MaxPool", (apart(2, 2, 5, 4),), {"kernel_shape": [2, 2], "pads": [0, 1, 1, 0],
         "strides": [2, 1]}, outputs=2, smooth=False),
    Case("MaxPool", (apart(2, 2, 5, 4),), {"kernel_shape": [2, 2], "storage_order": 1}, outputs=2,
         smooth=False),
    Case("MaxPool", (apart(1, 2, 7),), {"kernel_shape": [3], "auto_pad": "SAME_UPPER",
         "strides": [2]}),
    Case("AveragePool", ((1, 2, 5, 6),), {"kernel_shape": [3, 2], "pads": [1, 0, 1, 1]}),
    Case("AveragePool", ((1, 2, 5, 6),), {"kernel_shape": [3, 2], "pads": [1, 1, 1, 1],
         "count_include_pad": 1, "strides": [2, 2]}),
    Case("AveragePool", ((1, 2, 6, 6),), {"kernel_shape": [3, 3], "ceil_mode": 1,
         "strides": [2, 2]}),
    Case("AveragePool", ((1, 2, 7, 7),), {"kernel_shape": [3, 3], "dilations": [2, 1]}),
    Case("AveragePool", ((1, 2, 7),), {"kernel_shape": [3], "auto_pad": "SAME_LOWER",
         "strides": [2]}),
    Case("LpPool", ((1, 2, 5, 6),), {"kernel_shape": [3, 2], "p": 3, "strides": [2, 1]}),
    *[Case(op, (apart(1, 2, 4),), {"kernel_shape": [2], "strides": [4], "pads": [0, 1],
           "ceil_mode": 1}) for op in ("MaxPool", "AveragePool")],
    Case("GlobalAveragePool", ((2, 3, 4, 2),)),
    Case("GlobalMaxPool", (apart(2, 3, 4, 2),)),
    Case("GlobalLpPool", ((2, 3, 4, 2),), {"p": 2}),
    Case("MaxUnpool", ((1, 1, 2, 2), np.array([[[[1, 3], [8, 15]]]])), {"kernel_shape": [2, 2],
         "strides": [2, 2]}),
    Case("MaxRoiPool", (apart(1, 2, 6, 6), np.array([[0, 0, 0, 3, 4], [0, 1, 2, 5, 5]],
         np.float32)), {"pooled_shape": [2, 2]}),
    Case("RoiAlign", ((1, 2, 6, 6), np.array([[0, 0, 3, 4], [1.3, 2, 5.2, 5]], np.float32),
         ints(0, 0)), {"output_height": 2, "output_width": 3, "sampling_ratio": 2}),
    Case("RoiAlign", ((1, 2, 6, 6), np.array([[0, 0, 3, 4], [1.3, 2, 5.2, 5]], np.float32),
         ints(0, 0)), {"output_height": 2, "output_width": 2, "spatial_scale": 0.7,
         "coordinate_transformation_mode": "output_half_pixel"}),
    *[Case("GridSample", ((1, 2, 4, 5), apart(1, 3, 2, 2, scale=0.2)),
           {"mode": mode, "padding_mode": pad, "align_corners": corners})
      for mode in ("linear", "cubic")
      for pad, corners in (("zeros", 0), ("border", 1), ("reflection", 0))],
    # sizes
    *[Case("Resize", ((1, 2, 4, 5), None, np.array([1, 1, up, 1.5], np.float32)),
           {"mode": mode, "coordinate_transformation_mode": place}, opset=19)
      for mode in ("nearest", "linear", "cubic") for up in (2.0, 0.6)
      for place in ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")],
    *[Case("Resize", ((1, 1, 4, 4), None, np.array([1, 1, 1.7, 0.6], np.float32)),
           {"mode": "nearest", "nearest_mode": mode}, opset=19)
      for mode in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")],
    Case("Resize", ((1, 2, 6, 6), None, None, ints(1, 2, 3, 4)), {"mode": "linear",
         "antialias": 1}, opset=18, rtol=1e-5),
    Case("Resize", ((1, 2, 6, 6), None, None, ints(1, 2, 3, 4)), {"mode": "cubic",
         "antialias": 1}, opset=18, rtol=1e-5),
    Case("Resize", ((1, 2, 4, 4), None, None, ints(7, 5)), {"mode": "cubic", "axes": [2, 3],
         "cubic_coeff_a": -0.5, "exclude_outside": 1}, opset=18, rtol=1e-5),
    Case("Resize", ((1, 2, 4, 4), None, None, ints(7, 6)), {"mode": "linear", "axes": [2, 3],
         "keep_aspect_ratio_policy": "not_larger"}, opset=18),
    Case("Resize", ((1, 1, 4, 4), np.array([0, 0, -0.2, 0.1, 1, 1, 0.9, 1.3], np.float32), None,
         ints(1, 1, 5, 5)), {"mode": "linear",
         "coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": 9.0},
         opset=13),
    Case("Resize", ((1, 1, 4, 4), np.array([1, 1, 2, 2.5], np.float32)), {"mode": "nearest"},
         opset=10),
    Case("Upsample", ((1, 2, 3, 3), np.array([1, 1, 2, 3], np.float32)), {"mode": "linear"},
         opset=9),
    Case("Upsample", ((1, 2, 3, 3),), {"mode": "nearest", "scales": [1.0, 1.0, 2.0, 2.0]},
         opset=7),
    # recurrent
    recurrent("LSTM", 4),
    recurrent("LSTM", 4, clip=0.3, input_forget=1),
    recurrent("LSTM", 4, activations=["HardSigmoid", "Softsign", "Tanh"] * 2,
              activation_alpha=[0.3, 0.25], activation_beta=[0.4, 0.45]),
    recurrent("GRU", 3),
    recurrent("GRU", 3, linear_before_reset=1),
    recurrent("RNN", 1),
    recurrent("RNN", 1, activations=["Affine", "LeakyRelu"], activation_alpha=[0.7, 0.1],
              activation_beta=[0.2]),
    Case("LSTM", ((3, 2, 3), (1, 8, 3), (1, 8, 2)), {"hidden_size": 2, "direction": "reverse"},
         opset=14, outputs=3),
    # movement
    Case("Reshape", (X, ints(0, -1, 2))),
    Case("Reshape", (X,), {"shape": [6, 4]}, opset=1, smooth=True),
    Case("Flatten", ((2, 3, 4, 2),), {"axis": 2}),
    Case("Transpose", (X,), {"perm": [2, 0, 1]}),
    Case("Transpose", (X,)),
    Case("Squeeze", ((2, 1, 3, 1), ints(1, -1))),
    Case("Squeeze", ((2, 1, 3, 1),)),
    Case("Unsqueeze", (X, ints(0, -1))),
    Case("Unsqueeze", (X,), {"axes": [1]}, opset=11),
    Case("Expand", ((3, 1), ints(2, 1, 4))),
    Case("Tile", ((2, 3), ints(2, 1))),
    Case("DepthToSpace", ((1, 8, 2, 3),), {"blocksize": 2}),
    Case("DepthToSpace", ((1, 8, 2, 3),), {"blocksize": 2, "mode": "CRD"}),
    Case("SpaceToDepth", ((1, 2, 4, 6),), {"blocksize": 2}),
    # pieces
    Case("Concat", (X, (2, 1, 4)), {"axis": 1}),
    Case("Split", (X, ints(1, 3)), {"axis": 2}, outputs=2),
    Case("Split", ((2, 5),), {"axis": 1, "num_outputs": 2}, outputs=2),
    Case("Split", ((2, 4),), {"axis": 1, "split": [1, 3]}, opset=11, outputs=2),
    Case("Slice", (X, ints(-1, 0), ints(-100, 3), ints(2, 1), ints(-1, 2))),
    Case("Slice", (X,), {"starts": [1, -3], "ends": [100, -1], "axes": [0, 2]}, opset=9),
    Case("Pad", (X, ints(0, 1, 0, 1, 0, 2), np.float32(0.5)), {"mode": "constant"}),
    *[Case("Pad", (X, ints(0, 1, 2, 0, 2, 1)), {"mode": mode}, opset=19)
      for mode in ("reflect", "edge", "wrap")],
    Case("Pad", (X, ints(1, -1), None, ints(1)), {"mode": "constant"}),
    Case("Pad", (X,), {"pads": [0, 1, 0, 0, 0, 1], "value": 2.0}, opset=10),
    Case("CenterCropPad", ((4, 5), ints(3, 8))),
    Case("CenterCropPad", ((4, 5), ints(7)), {"axes": [1]}),
    Case("Trilu", ((2, 4, 4), np.int64(1)), {"upper": 0}),
    Case("Trilu", ((2, 4, 4),)),
    Case("Compress", (X, np.array([True, False, True])), {"axis": 1}),
    Case("Compress", (X, np.array([True, False, True]))),
    Case("ReverseSequence", ((4, 3, 2), ints(4, 2, 1)), {"time_axis": 0, "batch_axis": 1}),
    Case("Col2Im", ((1, 8, 9), ints(4, 4), ints(2, 2))),
    Case("Col2Im", ((1, 8, 4), ints(4, 4), ints(2, 2)), {"strides": [3, 3],
         "pads": [1, 0, 0, 1]}),
    # picking
    Case("Gather", (X, np.array([[2, -1], [0, 1]])), {"axis": 1}),
    Case("GatherElements", ((2, 3), np.array([[2, -1], [0, 1]])), {"axis": 1}),
    Case("GatherND", (X, np.array([[0, 2], [1, -1]]))),
    Case("GatherND", (X, np.array([[2], [1]])), {"batch_dims": 1}),
    Case("ScatterElements", ((2, 4), np.array([[2, -1], [0, 1]]), (2, 2)), {"axis": 1}),
    *[Case("ScatterElements", (apart(2, 4), np.array([[2, 2], [0, 1]]), apart(2, 2, shift=0.1)),
           {"axis": 1, "reduction": how}, opset=18) for how in ("add", "mul", "max", "min")],
    Case("Scatter", ((2, 4), np.array([[2, 3], [0, 1]]), (2, 2)), {"axis": 1}, opset=9),
    Case("ScatterND", ((4, 3), np.array([[2], [0]]), (2, 3))),
    *[Case("ScatterND", (apart(4, 3), np.array([[2], [2]]), apart(2, 3, shift=0.1)),
           {"reduction": how}, opset=18) for how in ("add", "mul", "max", "min")],
    Case("OneHot", (ints(1, -1, 2), np.int64(3), (2,)), {"axis": 0}),
    # along an axis
    *[Case(f"Reduce{name}",
           (positive(*X) if name.startswith("Log") else apart(*X), ints(0, -1)),
           {"keepdims": 0}, opset=18, rtol=1e-5) for name in REDUCED],
    Case("ReduceSum", (X,), {"axes": [1]}, opset=11),
    Case("ReduceMean", (X,)),
    Case("ReduceL2", (X,), {"noop_with_empty_axes": 1}, opset=18, smooth=False),
    *[Case(op, (X,), {"axis": 1}) for op in ("Softmax", "LogSoftmax")],
    *[Case(op, (X,), {"axis": 1}, opset=11) for op in ("Softmax", "LogSoftmax")],
    Case("Hardmax", (X,), {"axis": 1}, smooth=False),
    Case("ArgMax", (np.array([[1, 3, 3], [2, 2, 0]], np.float32),), {"axis": 1}, smooth=False),
    Case("ArgMax", (np.array([[1, 3, 3], [2, 2, 0]], np.float32),),
         {"axis": 1, "select_last_index": 1, "keepdims": 0}, smooth=False),
    Case("ArgMin", (np.array([[1, 0, 3], [2, 2, 0]], np.uint8),), {"axis": 1}, smooth=False),
    Case("TopK", (apart(*X), ints(2)), {"axis": 1}, outputs=2),
    Case("TopK", (apart(*X), ints(2)), {"axis": 1, "largest": 0}, outputs=2, smooth=False),
    Case("CumSum", (X, np.int64(1)), {"exclusive": 1, "reverse": 1}),
    Case("CumSum", (X, np.int64(2))),
    # attention
    Case("Attention", ((2, 3, 8), (2, 3, 4), (2, 3, 6)),
         {"q_num_heads": 4, "kv_num_heads": 2, "is_causal": 1}, opset=23, rtol=1e-5),
    Case("Attention", ((2, 4, 3, 2), (2, 4, 3, 2), (2, 4, 3, 3), (3, 5), (2, 4, 2, 2),
         (2, 4, 2, 3)), {"scale": 0.7, "qk_matmul_output_mode": 1}, opset=23, outputs=4, rtol=1e-5),
    Case("Attention", ((2, 4, 3, 2), (2, 4, 3, 2), (2, 4, 3, 3), np.eye(3) > 0), {}, opset=23,
         rtol=1e-5),
    *[Case("Attention", ((2, 4, 3, 2), (2, 4, 3, 2), (2, 4, 3, 3), (3, 3)),
           {"softcap": 0.5, "qk_matmul_output_mode": mode}, opset=23, outputs=(0, 3), rtol=1e-5)
      for mode in (1, 2, 3)],
    Case("com.microsoft::Attention", ((2, 3, 4), (4, 24), (24,), np.array([3, 2], np.int32)),
         {"num_heads": 2}, rtol=1e-5),
    Case("com.microsoft::Attention", ((2, 3, 4), (4, 24), (24,)),
         {"num_heads": 2, "unidirectional": 1, "scale": 0.4}, rtol=1e-5),
    Case("com.microsoft::MultiHeadAttention",
         ((2, 3, 8), (2, 5, 8), (2, 5, 12), (28,), np.array([[1, 1, 1, 0, 1]] * 2, np.int32),
          (1, 2, 3, 5)), {"num_heads": 2}, rtol=1e-5),
    Case("com.microsoft::GroupQueryAttention",
         ((1, 3, 32), (1, 3, 16), (1, 3, 16), None, None, np.array([2], np.int32),
          np.array(3, np.int32)), {"num_heads": 4, "kv_num_heads": 2, "softcap": 0.8},
         outputs=3, smooth=False, rtol=1e-5),
    Case("com.microsoft::GroupQueryAttention",
         ((1, 3, 64), (1, 3, 32), (1, 3, 32), None, None, np.array([2], np.int32),
          np.array(3, np.int32), (4, 8), (4, 8)),
         {"num_heads": 4, "kv_num_heads": 2, "do_rotary": 1, "local_window_size": 2},
         outputs=3, smooth=False, rtol=1e-5),
    Case("RotaryEmbedding", ((2, 2, 3, 6), (5, 2), (5, 2), np.array([[0, 1, 2], [1, 3, 4]])),
         {"rotary_embedding_dim": 4}, opset=23),
    Case("RotaryEmbedding", ((2, 3, 8), (2, 3, 2), (2, 3, 2)), {"num_heads": 2, "interleaved": 1},
         opset=23),
    Case("com.microsoft::RotaryEmbedding", ((2, 3, 8), np.array([1]), (5, 2), (5, 2))),
    # quantised
    Case("QuantizeLinear", (X, np.float32(0.1), np.uint8(100)), smooth=False),
    Case("QuantizeLinear", (X, np.array([0.1, 0.02, 0.3], np.float32), np.zeros(3, np.int8)),
         {"axis": 1}, smooth=False),
    Case("DequantizeLinear", (np.array([[1, 200, 3]], np.uint8), (3,), np.array([1, 2, 3],
         np.uint8)), {"axis": 1}),
    Case("DynamicQuantizeLinear", (X,), outputs=3, smooth=False, rtol=1e-5),
    Case("com.microsoft::QuantizeLinear", (X, np.float32(0.1), np.int16(3)), smooth=False),
    Case("com.microsoft::DequantizeLinear", (np.array([1, 200, 3], np.uint16), np.float32(0.1),
         np.uint16(7)), smooth=False),
    Case("com.microsoft::MatMulNBits",
         ((2, 32), np.random.default_rng(1).integers(0, 256, (3, 2, 8), dtype=np.uint8), (6,)),
         {"K": 32, "N": 3, "bits": 4, "block_size": 16}, rtol=1e-5),
    # sources and sequences
    Case("Shape", (X,), {"start": 1}, smooth=False),
    Case("Size", (X,), smooth=False),
    Case("ConstantOfShape", (ints(2, 3),), smooth=False),
    Case("Range", (np.float32(1), np.float32(3), np.float32(0.5)), smooth=False),
    Case("EyeLike", (np.zeros((3, 4), np.float32),), {"k": -1}, smooth=False),
    Case("NonZero", (np.array([[1, 0], [2, 3]]),), smooth=False),
    Case("Unique", (np.array([3, 1, 3, 2]),), {"sorted": 0}, outputs=4, smooth=False),
    Case("Unique", (np.array([[3, 1], [3, 1], [2, 5]]),), {"axis": 0}, outputs=4, smooth=False),
    Case("NonMaxSuppression",
         (np.array([[[0, 0, 1, 1], [0, 0.1, 1, 1.1], [0, 2, 1, 3], [0, 2, 1, 3.2]]], np.float32),
          np.array([[[0.9, 0.8, 0.3, 0.7]]], np.float32), np.int64(3), np.float32(0.5),
          np.float32(0.1)), smooth=False),
]  # fmt: skip
