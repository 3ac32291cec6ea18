"""Every operator that torch runs is held to the same contract."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.reading import read_facts
from onnxslim_snacs.model.session import SessionConfig, create_session
from onnxslim_snacs.model.stored import every_node
from onnxslim_snacs.ops import OPERATORS as RULES
from onnxslim_snacs.ops.node import op_key
from onnxslim_snacs.torch_graph.network import open_network, run
from onnxslim_snacs.torch_graph.operators import OPERATORS
from tests.harness import Fixture, fixtures
from tests.torch_graph.bodies import WHOLE
from tests.torch_graph.cases import CASES, Case

FIXTURES = fixtures()
#: Numbers that are drawn: no two runs need to be alike.
RANDOM = {
    "Bernoulli",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
}
#: Stored values are no operators for torch.
STORED = {"Constant"}


def operators(fixture: Fixture) -> set[str]:
    return {op_key(node) for node in every_node(fixture.model)}


def compare(wanted: Any, got: torch.Tensor, rtol: float) -> None:
    wanted = np.asarray(wanted)
    assert tuple(got.shape) == wanted.shape
    a, b = wanted.astype(np.float64), got.detach().numpy().astype(np.float64)
    scale = np.abs(a).max(initial=0.0) or 1.0
    np.testing.assert_allclose(b / scale, a / scale, rtol=0, atol=rtol)


@pytest.mark.parametrize(
    "fixture", [f for f in FIXTURES if not operators(f) & RANDOM], ids=lambda f: f.title
)
def test_fixtures_of_the_rules_equal_onnx_runtime(fixture: Fixture) -> None:
    graph = ModelGraph(fixture.model)
    rng = np.random.default_rng(0)
    feeds = {
        name: rng.standard_normal(v.shape).astype(v.dtype) if v.dtype.kind == "f" else v
        for name, v in read_facts(graph, None).feeds[0].items()
    }
    wanted = create_session(fixture.model, SessionConfig(level=0)).run(None, feeds)
    outputs = run(open_network(graph), feeds).outputs
    for name, value in zip(graph.outputs, wanted, strict=True):
        compare(value, outputs[name], 1e-5)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.title)
def test_outputs_equal_onnx_runtime(case: Case) -> None:
    feeds = case.feeds()
    model = case.model()
    session = create_session(model, SessionConfig(level=0))
    wanted = session.run(None, feeds)
    outputs = run(case.network(), feeds).outputs
    for (_, got), value in zip(outputs.items(), wanted, strict=True):
        compare(value, got, case.rtol)


@pytest.mark.parametrize("case", [c for c in CASES if c.smooth], ids=lambda c: c.title)
def test_gradients_equal_finite_differences(case: Case) -> None:
    network = case.network("float64")
    feeds = {k: torch.from_numpy(np.asarray(v)) for k, v in case.feeds().items()}
    feeds = {k: v.double() if v.is_floating_point() else v for k, v in feeds.items()}
    floats = {name: feeds[name].requires_grad_() for name in sorted(case.drawn)}

    def outputs(*values: torch.Tensor) -> list[torch.Tensor]:
        made = run(network, {**feeds, **dict(zip(floats, values, strict=True))}).outputs
        return [v for v in made.values() if v.requires_grad]

    assert outputs(*floats.values())
    torch.autograd.gradcheck(outputs, tuple(floats.values()), atol=1e-6)


@pytest.mark.parametrize("op", sorted(set(OPERATORS) | (set(RULES) - STORED)))
def test_every_operator_runs_and_has_a_case(op: str) -> None:
    assert op in OPERATORS
    in_bodies = {op_key(node) for whole in WHOLE for node in every_node(whole.model())}
    in_cases = {case.op for case in CASES} | in_bodies
    assert op in in_cases or any(op in operators(f) for f in FIXTURES)
