"""How sessions are opened and run, with a stand-in where no card is at hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest

from onnxslim_snacs.activations.run import execute, open_session
from onnxslim_snacs.errors import InputRefused, UsageError
from onnxslim_snacs.model.session import SessionConfig, create_session, resolve_provider
from tests.harness import model_from_text
from tests.runtime import CPU, CUDA, Opened, Runtime, stand_in

TEXT = """<ir_version: 8, opset_import: ["" : 17]>
net (float[N,3] x, float[3,4] w_a) => (float[N,4] y) { y = MatMul(x, w_a) }"""
X = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.fixture
def with_card(monkeypatch: pytest.MonkeyPatch) -> Runtime:
    return stand_in(monkeypatch, cuda=True)


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Runtime:
    return stand_in(monkeypatch, cuda=False)


def test_auto_takes_the_card_where_there_is_one(with_card: Runtime) -> None:
    found = [resolve_provider(wanted) for wanted in ("auto", "cuda", "cpu")]
    assert found == ["cuda", "cuda", "cpu"]


def test_auto_takes_the_processor_where_there_is_none(without: Runtime) -> None:
    assert [resolve_provider(wanted) for wanted in ("auto", "cpu")] == ["cpu", "cpu"]
    with pytest.raises(UsageError, match=r"no CUDA provider; install onnxslim-snacs\[gpu\]"):
        resolve_provider("cuda")
    with pytest.raises(UsageError, match="tpu: expected auto, cpu or cuda"):
        resolve_provider("tpu")


def test_the_card_comes_first_and_the_processor_does_the_rest(with_card: Runtime) -> None:
    """ONNX Runtime gives each node to the first provider that has it."""
    model = model_from_text(TEXT)
    create_session(model, SessionConfig("cuda"))
    create_session(model, SessionConfig("cpu"))
    assert [opened.providers for opened in with_card.opened] == [[CUDA, CPU], [CPU]]


def test_on_the_card_inputs_are_bound_there_and_results_come_back(with_card: Runtime) -> None:
    model = model_from_text(TEXT)
    (found,) = execute(open_session(model, SessionConfig("cuda")), ["y"], {"x": X})
    (wanted,) = execute(open_session(model, SessionConfig("cpu")), ["y"], {"x": X})
    bound = [opened.bound for opened in with_card.opened]
    assert bound == [{"x": "cuda:0", "y": "cpu"}, {}]
    assert np.array_equal(found, wanted)


def opening(runtime: Runtime, config: SessionConfig) -> Opened:
    create_session(model_from_text(TEXT), config)
    return runtime.opened[-1]


@pytest.mark.parametrize("config", [SessionConfig(), SessionConfig(threads=3, level=1)])
def test_threads_and_level(without: Runtime, config: SessionConfig) -> None:
    opened = opening(without, config)
    assert (opened.threads, opened.level) == (config.threads, config.level)
    assert opened.options.inter_op_num_threads == 1
    assert opened.options.execution_mode == onnxruntime.ExecutionMode.ORT_SEQUENTIAL


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_every_level(without: Runtime, level: int) -> None:
    assert opening(without, SessionConfig(level=level)).level == level


@pytest.mark.parametrize(("asked", "told"), [(None, False), (True, False), (False, True)])
def test_small_models_keep_their_packed_weights(
    without: Runtime, asked: bool | None, told: bool
) -> None:
    opened = opening(without, SessionConfig(prepack=asked))
    assert has(opened.options, "session.disable_prepacking") == told


def test_order_and_memory(without: Runtime) -> None:
    plain = opening(without, SessionConfig()).options
    other = opening(without, SessionConfig(order="priority", plan_memory=False)).options
    assert (plain.enable_mem_pattern, other.enable_mem_pattern) == (True, False)
    orders = onnxruntime.ExecutionOrder
    assert (plain.execution_order, other.execution_order) == (
        orders.DEFAULT,
        orders.PRIORITY_BASED,
    )


def test_what_is_watched_is_an_output_behind_those_of_the_model(without: Runtime) -> None:
    text = TEXT.replace("y = MatMul(x, w_a)", "h = MatMul(x, w_a)  y = Relu(h)")
    opened = create_session(model_from_text(text), SessionConfig(), watched=["h"])
    assert [output.name for output in opened.get_outputs()] == ["y", "h"]


def test_what_onnx_runtime_raises_is_a_refusal(without: Runtime) -> None:
    model = model_from_text(TEXT)
    model.graph.node[0].op_type = "Unheard"
    with pytest.raises(InputRefused, match="cannot load the model"):
        open_session(model, SessionConfig())
    session = open_session(model_from_text(TEXT), SessionConfig())
    with pytest.raises(InputRefused, match="fails on the samples"):
        execute(session, ["y"], {"x": X[:, :2]})


def has(options: Any, key: str) -> bool:
    try:
        return bool(options.get_session_config_entry(key) == "1")
    except RuntimeError:
        return False
