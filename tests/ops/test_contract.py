"""Every registered operator rule is held to the same contract."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim_snacs.ir.keep import KeepMap, keep_map, kept_extents
from onnxslim_snacs.model.graph import subgraphs
from onnxslim_snacs.ops import OPERATORS
from onnxslim_snacs.ops.node import op_key
from onnxslim_snacs.ops.products import no_products
from onnxslim_snacs.ops.trained import trained_inputs
from onnxslim_snacs.passes.prune import prune
from onnxslim_snacs.plan.cost import cost_model
from onnxslim_snacs.report.by_group import group_reports
from tests.harness import Fixture, assert_exact, fixtures, random_keep, random_kept, read

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


@pytest.mark.parametrize("fixture", [f for f in ALL if f.groups], ids=lambda f: f.title)
@pytest.mark.parametrize("ratio", [0.01, 0.5, 0.9])
def test_the_plan_costs_what_the_cut_model_costs(fixture: Fixture, ratio: float) -> None:
    analysis = read(fixture.model, allow_inexact=fixture.allow_inexact)
    keep = random_keep(analysis, ratio, 1)
    cut = read(prune(analysis, keep), allow_inexact=fixture.allow_inexact)
    assert cost_model(analysis).cost(keep) == cost_model(cut).cost(KeepMap({}))
    extents = kept_extents(analysis.ir, random_kept(analysis, ratio, 1))
    assert extents.kept == {axis: len(slots) for axis, slots in keep.kept.items()}
    assert cost_model(analysis).of("macs", extents) == cost_model(analysis).of("macs", keep)


@pytest.mark.parametrize("fixture", ALL, ids=lambda f: f.title)
def test_who_sums_over_a_weight_counts_its_products_and_owns_it(fixture: Fixture) -> None:
    analysis = read(fixture.model, allow_inexact=fixture.allow_inexact)
    for position, sink in analysis.ir.sinks:
        node = analysis.nodes[position]
        summed = {sink.axis.tensor, sink.weight.tensor if sink.weight else ""}
        trained = {name for name in summed if analysis.facts.is_weight(name)}
        if sink.weight is not None:
            assert list(OPERATORS[node.op].macs(node)), f"{node.op} counts no products"
            assert trained <= set(trained_inputs(node.proto)), f"{node.op} does not own {trained}"


@pytest.mark.parametrize("fixture", [f for f in ALL if "macs" in f.options], ids=lambda f: f.title)
def test_products_are_as_stated(fixture: Fixture) -> None:
    costs = cost_model(read(fixture.model, allow_inexact=fixture.allow_inexact))
    assert costs.cost(KeepMap({})).macs == int(fixture.options["macs"])


@pytest.mark.parametrize("op", sorted(k for k, r in OPERATORS.items() if r.macs is not no_products))
def test_every_count_of_products_has_a_number_to_be_held_to(op: str) -> None:
    stated = (f.model.graph.node for f in ALL if "macs" in f.options)
    assert op in {op_key(node) for nodes in stated for node in nodes}


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
