"""Runs that begin in the middle say what runs from the beginning say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from onnxslim_snacs.activations.open_data import open_source
from onnxslim_snacs.activations.restarts import Restarts, open_restarts
from onnxslim_snacs.config import DataConfig
from onnxslim_snacs.ir.keep import KeepMap, keep_map
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.load import load_model
from onnxslim_snacs.model.session import SessionConfig, create_session
from onnxslim_snacs.ops.analyse import Analysis, analyse
from onnxslim_snacs.passes.prune import prune
from tests.harness import Fixture, fixtures

DIGITS = Path(__file__).parents[2] / "models" / "digits_resnet.onnx"
BRANCHES = [f for f in fixtures() if f.title.startswith(("conv:", "concat:", "matmul:"))]


def opened(analysis: Analysis, samples: int = 6) -> Restarts:
    source = open_source(DataConfig(samples=samples), analysis.graph, seed=0)
    return open_restarts(analysis, SessionConfig(), tuple(source.batches()))


def halves(analysis: Analysis) -> list[KeepMap]:
    """Every group alone without the first half of its units."""
    found = []
    for group in analysis.ir.groups:
        if group.units > 1:
            stays = np.arange(group.units) >= group.units // 2
            found.append(keep_map(analysis.ir, {group.id: stays}))
    return found


def test_parts_agree_with_the_whole_and_with_the_cut_model() -> None:
    analysis = analyse(load_model(DIGITS))
    runs = opened(analysis)
    assert len(runs.parts) > 2
    assert all(part.crossing[0] for part in runs.parts[1:])
    whole = replace(runs, parts=runs.parts[:1])
    name = analysis.graph.inputs[0]
    used = set()
    for keep in halves(analysis):
        changed = [p for axis, p in runs.model.places.items() if keep.index(axis) is not None]
        used.add([part.start for part in runs.parts if part.start <= min(changed)][-1])
        (got,), (expected,) = runs.run(0, keep), whole.run(0, keep)
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)
        session = create_session(prune(analysis, keep), SessionConfig())
        cut = session.run(None, {name: runs.batches[0].inputs[name]})[0]
        np.testing.assert_allclose(got, cut, rtol=1e-4, atol=1e-4)
        assert not np.allclose(got, runs.reference[0][0], rtol=1e-3, atol=1e-3)
    assert len(used) > 2


@pytest.mark.parametrize("fixture", BRANCHES, ids=[f.title for f in BRANCHES])
def test_parts_of_any_graph(fixture: Fixture) -> None:
    analysis = analyse(ModelGraph(fixture.model), allow_inexact=fixture.allow_inexact)
    runs = opened(analysis, samples=2)
    whole = replace(runs, parts=runs.parts[:1])
    for keep in [KeepMap({}), *halves(analysis)]:
        for got, expected in zip(runs.run(0, keep), whole.run(0, keep), strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)
