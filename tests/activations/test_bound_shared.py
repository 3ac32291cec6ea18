"""Inputs and outputs in bound buffers give what a plain run gives, on every real model."""

from __future__ import annotations

import pytest

from onnxslim_snacs.activations.open_data import open_source
from onnxslim_snacs.activations.run import execute_bound, open_session
from onnxslim_snacs.config import DataConfig
from onnxslim_snacs.model.load import load_model
from onnxslim_snacs.model.reading import read_facts
from onnxslim_snacs.model.session import SessionConfig
from tests.conftest import SHARED

pytestmark = pytest.mark.shared
MODELS = sorted(path.stem for path in (SHARED / "models").glob("*.onnx"))


@pytest.mark.parametrize("name", MODELS)
def test_bound_buffers_give_what_a_plain_run_gives(name: str) -> None:
    """Byte for byte: the same session, the same inputs."""
    graph = load_model(SHARED / "models" / f"{name}.onnx")
    source = open_source(DataConfig(samples=1), graph, facts=read_facts(graph))
    session = open_session(graph.proto, SessionConfig(), graph.base_dir)
    batch = next(source.batches(1))
    names = [output.name for output in session.get_outputs()]
    plain = session.run(names, dict(batch.inputs))
    bound = execute_bound(session, names, batch.inputs, "cpu")
    assert names
    for a, b in zip(plain, bound, strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        assert a.size > 0
        assert a.tobytes() == b.tobytes()
