"""G4: the single-operator models of the onnx package, alone and between two layers.

Alone they have no weights, so nothing in them can go.  Between a layer that makes one axis of their
input and layers that sum over one axis of each output, every operator and every attribute lies on
the path of channels that could go: either they pass and the cut is exact, or they are pinned.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, ValueInfoProto, helper, numpy_helper

from onnxslim_snacs.errors import InputRefused
from onnxslim_snacs.ir.keep import keep_map
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.ops.analyse import analyse
from onnxslim_snacs.passes.prune import prune
from onnxslim_snacs.proof.prove import prove
from tests.harness import random_keep

#: The newest operator set that every ONNX Runtime since 1.24 has.
RUNTIME = 23
LETTERS = "abdefghij"
Arrays = list[NDArray[Any]]


@dataclass(frozen=True)
class OperatorCase:
    """A single-operator model with inputs for it."""

    name: str
    model: ModelProto
    inputs: Arrays


@lru_cache(maxsize=1)
def operator_cases() -> list[OperatorCase]:
    """All node tests of the onnx package."""
    from onnx.backend.test.case.node import collect_testcases

    cases = ((case, case.model) for case in collect_testcases(""))
    return [OperatorCase(c.name, model, _arrays(c)) for c, model in cases if model is not None]


def _arrays(case: Any) -> Arrays:
    found = case.data_sets[0][0] if case.data_sets else []
    return [value for value in found if isinstance(value, np.ndarray)]


def between_layers(case: OperatorCase, seed: int) -> ModelProto | None:
    """The model between a layer that makes one of its inputs and layers over its outputs.

    Returns:
        The model, or None where no input or no output is anything to put a layer on.
    """
    rng = np.random.default_rng(seed)
    graph = case.model.graph
    if not graph.input or len(case.inputs) != len(graph.input):
        return None
    place = next((k for k, value in enumerate(case.inputs) if _may_be_made(value)), None)
    if place is None:
        return None
    data = case.inputs[place]
    axes = [k for k, extent in enumerate(data.shape) if extent > 1]
    model = ModelProto()
    model.CopyFrom(case.model)
    del model.graph.input[:], model.graph.value_info[:], model.graph.output[:]
    if not _lowered(model):
        return None
    axis = int(rng.choice(axes))
    before = _producer(rng, model, graph.input[place].name, data, axis)
    for info, value in zip(graph.input, case.inputs, strict=True):
        if info.name and info.name != graph.input[place].name:
            model.graph.initializer.append(numpy_helper.from_array(value, info.name))
    after = [node for info in graph.output for node in _head(rng, model, info)]
    if not after:
        return None
    nodes = [*before, *graph.node, *after]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def _may_be_made(value: NDArray[Any]) -> bool:
    """Whether a layer can make such an input."""
    return (
        value.dtype == np.float32 and value.ndim <= len(LETTERS) and max(value.shape, default=1) > 1
    )


def _lowered(model: ModelProto) -> bool:
    """Declare an operator set that ONNX Runtime has, if the operators are that old."""
    for entry in model.opset_import:
        if entry.domain in ("", "ai.onnx"):
            wanted = min(entry.version, RUNTIME)
            schemas = [
                onnx.defs.get_schema(n.op_type, entry.version, n.domain) for n in model.graph.node
            ]
            if entry.version < 12 or any(schema.since_version > wanted for schema in schemas):
                return False
            entry.version = wanted
    return True


def _producer(
    rng: np.random.Generator, model: ModelProto, name: str, data: NDArray[Any], axis: int
) -> list[onnx.NodeProto]:
    """A layer whose output channels are axis `axis` of the operator's first input.

    Its input is all ones and its weight such that the operator sees what its test shows it.
    """
    letters = LETTERS[: data.ndim]
    shape = [3 if k == axis else extent for k, extent in enumerate(data.shape)]
    mixed = letters.replace(letters[axis], "z")
    weight = rng.standard_normal((3, data.shape[axis])).astype(np.float32)
    model.graph.input.append(helper.make_tensor_value_info("given", TensorProto.FLOAT, shape))
    model.graph.initializer.append(numpy_helper.from_array(weight, "made_by"))
    model.graph.initializer.append(numpy_helper.from_array(data, "around"))
    equation = f"{mixed},z{letters[axis]}->{letters}"
    return [
        helper.make_node("Einsum", ["given", "made_by"], ["made"], equation=equation),
        helper.make_node("Add", ["made", "around"], [name]),
    ]


def _head(
    rng: np.random.Generator, model: ModelProto, info: ValueInfoProto
) -> Iterator[onnx.NodeProto]:
    """A layer that sums over one axis of an output, or the output itself."""
    dims = [d.dim_value for d in info.type.tensor_type.shape.dim]
    axes = [k for k, extent in enumerate(dims) if extent > 1]
    kind = info.type.tensor_type.elem_type
    if kind != TensorProto.FLOAT or not axes or len(dims) > len(LETTERS) or not all(dims):
        model.graph.output.append(info)
        return
    axis = int(rng.choice(axes))
    letters, out = LETTERS[: len(dims)], f"{info.name}_summed"
    weight = rng.standard_normal((dims[axis], 2)).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array(weight, f"{info.name}_weight"))
    shape = [2 if k == axis else extent for k, extent in enumerate(dims)]
    model.graph.output.append(helper.make_tensor_value_info(out, TensorProto.FLOAT, shape))
    right = letters.replace(letters[axis], "z")
    equation = f"{letters},{letters[axis]}z->{right}"
    inputs = [info.name, f"{info.name}_weight"]
    yield helper.make_node("Einsum", inputs, [out], equation=equation)


def cut_and_prove(model: ModelProto, seed: int) -> bool:
    """Whether something could go; raises if the analysis fails or the cut is wrong."""
    try:
        analysis = analyse(ModelGraph(model))
    except InputRefused:  # ONNX Runtime cannot run it, and says so
        return False
    same = prune(analysis, keep_map(analysis.ir, {}))
    assert same.SerializeToString() == model.SerializeToString(), "P4"
    if not analysis.ir.groups:
        return False
    keep = random_keep(analysis, 0.5, seed)
    proof = prove(analysis, keep, prune(analysis, keep))
    assert proof.passed or proof.refused, proof.failure
    return True
