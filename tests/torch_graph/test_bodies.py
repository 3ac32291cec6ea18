"""Control flow and sequences: outputs and gradients of whole models."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto

from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.session import SessionConfig, create_session
from onnxslim_snacs.torch_graph.network import open_network, run
from tests.torch_graph.bodies import WHOLE, Whole
from tests.torch_graph.test_contract import compare


def feeds_of(model: ModelProto, *, flag: bool) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(1)
    found: dict[str, NDArray[Any]] = {}
    for info in model.graph.input:
        kind = info.type.tensor_type
        shape = [d.dim_value for d in kind.shape.dim]
        is_bool = kind.elem_type == TensorProto.BOOL
        found[info.name] = (
            np.array(flag) if is_bool else rng.standard_normal(shape).astype(np.float32)
        )
    return found


@pytest.mark.parametrize("flag", [True, False])
@pytest.mark.parametrize("whole", WHOLE, ids=lambda w: w.title)
def test_outputs_and_gradients(whole: Whole, flag: bool) -> None:
    model = whole.model()
    feeds = feeds_of(model, flag=flag)
    graph = ModelGraph(model)
    wanted = create_session(model, SessionConfig(level=0)).run(None, feeds)
    outputs = run(open_network(graph), feeds).outputs
    for name, value in zip(graph.outputs, wanted, strict=True):
        compare(value, outputs[name], 1e-6)
    network = open_network(graph, precision="float64")
    floats = {k: torch.from_numpy(v).double() for k, v in feeds.items() if v.dtype.kind == "f"}
    drawn = {**floats, **network.parameters}

    def made(*values: torch.Tensor) -> list[torch.Tensor]:
        given = dict(zip(drawn, values, strict=True))
        inputs: dict[str, Any] = {**feeds, **{name: given[name] for name in floats}}
        weights = {name: given[name] for name in network.parameters}
        found = run(network, inputs, values=weights).outputs.values()
        return [v for v in found if v.requires_grad]

    leaves = tuple(v.detach().requires_grad_() for v in drawn.values())
    torch.autograd.gradcheck(made, leaves)


def test_only_the_branch_that_is_taken_gets_gradients() -> None:
    graph = ModelGraph(WHOLE[0].model())
    network = open_network(graph)
    assert network.trained == ("w_a", "scale")
    for flag, reached in ((True, False), (False, True)):
        feeds = feeds_of(graph.proto, flag=flag)
        (output,) = run(network, feeds).outputs.values()
        weight, scale = torch.autograd.grad(
            output, list(network.parameters.values()), allow_unused=True
        )
        assert weight is not None
        assert (scale is not None) is reached
