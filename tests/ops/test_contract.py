"""Every registered operator rule is held to the same contract."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim_snacs.ir.keep import keep_map
from onnxslim_snacs.model.graph import subgraphs
from onnxslim_snacs.ops import OPERATORS
from onnxslim_snacs.ops.node import op_key
from onnxslim_snacs.passes.prune import prune
from onnxslim_snacs.plan.cost import cost_model
from onnxslim_snacs.report.by_group import group_reports
from tests.harness import Fixture, assert_exact, fixtures, random_keep, read

ALL = fixtures()


def tolerance(fixture: Fixture) -> float:
    """None, unless the operators leave the integers, as all statistics do."""
    return float(fixture.options.get("rtol", 1e-5 if fixture.allow_inexact else 0.0))


@pytest.mark.parametrize("fixture", ALL, ids=lambda f: f.title)
def test_groups_are_as_stated(fixture: Fixture) -> None:
    analysis = read(fixture.model, allow_inexact=fixture.allow_inexact)
    assert analysis.facts.ran, analysis.facts.note
    assert [group.units for group in analysis.ir.groups] == list(fixture.groups)


@pytest.mark.parametrize("fixture", [f for f in ALL if f.groups], ids=lambda f: f.title)
@pytest.mark.parametrize("ratio", [0.01, 0.5, 0.9])
def test_cut_equals_masked_original(fixture: Fixture, ratio: float) -> None:
    analysis = read(fixture.model, allow_inexact=fixture.allow_inexact)
    rtol = tolerance(fixture)
    for seed in (1, 2):
        assert_exact(analysis, random_keep(analysis, ratio, seed), seed, rtol=rtol)


@pytest.mark.parametrize("fixture", [f for f in ALL if f.groups], ids=lambda f: f.title)
def test_each_group_alone_is_exact(fixture: Fixture) -> None:
    analysis = read(fixture.model, allow_inexact=fixture.allow_inexact)
    rtol = tolerance(fixture)
    for group in analysis.ir.groups:
        if group.units > 1:
            mask = np.arange(group.units) % 2 == 0
            assert_exact(analysis, keep_map(analysis.ir, {group.id: mask}), levels=(0,), rtol=rtol)


@pytest.mark.parametrize("fixture", [f for f in ALL if f.groups], ids=lambda f: f.title)
def test_the_report_counts_what_was_decided(fixture: Fixture) -> None:
    analysis = read(fixture.model, allow_inexact=fixture.allow_inexact)
    rng = np.random.default_rng(3)
    kept = {g.id: np.arange(g.units) < max(1, g.units // 2) for g in analysis.ir.groups}
    kept = {name: rng.permutation(stays) for name, stays in kept.items()}
    reports = group_reports(analysis, cost_model(analysis), keep_map(analysis.ir, kept))
    counts = {report.id: report.kept for report in reports}
    assert counts == {name: int(stays.sum()) for name, stays in kept.items()}


@pytest.mark.parametrize("fixture", ALL, ids=lambda f: f.title)
def test_nothing_cut_is_nothing_changed(fixture: Fixture) -> None:
    analysis = read(fixture.model)
    pruned = prune(analysis, keep_map(analysis.ir, {}))
    assert pruned.SerializeToString() == fixture.model.SerializeToString()


@pytest.mark.parametrize("op", sorted(OPERATORS))
def test_every_rule_has_a_fixture(op: str) -> None:
    covered: set[str] = set()
    for fixture in ALL:
        pending = [fixture.model.graph]
        while pending:
            graph = pending.pop()
            covered.update(op_key(node) for node in graph.node)
            pending.extend(body for node in graph.node for body in subgraphs(node))
    assert op in covered
