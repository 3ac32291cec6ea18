"""Properties of every cut, each as a function that raises if a sample does not have it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto

from onnxslim_snacs.decide.allocation import Constraints, by_quantile, staggered, uniform
from onnxslim_snacs.ir.keep import KeepMap, keep_map
from onnxslim_snacs.ir.types import Axis, BoolArray
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.session import SessionConfig, create_session
from onnxslim_snacs.ops.analyse import Analysis, analyse
from onnxslim_snacs.passes import prune as prune_pass
from onnxslim_snacs.plan.cost import cost_model
from onnxslim_snacs.proof.difference import relative_difference
from onnxslim_snacs.proof.oracle import masked_original
from tests.harness import assert_same_interface
from tests.properties.double import run_in_double
from tests.properties.generator import Feeds, Sample
from tests.properties.oracle import gathered, stored

LEVELS = (0, 1, 2, 3)
#: P2: 15 times the largest deviation that was measured at level 0.
CLOSE = 1e-5
#: What differs by more has to agree to this in double precision (measured: 2e-14) ...
EXACT = 1e-9
#: ... and by no more than so many times the rounding error of the original alone.
NOISE = 10.0
RATIOS = (0.2, 0.5, 0.8)


@dataclass(frozen=True)
class Cut:
    """A sample with a random cut of all its groups.

    Attributes:
        sample: the model.
        analysis: its dependency IR.
        masks: group id -> which units stay.
        allow_inexact: whether normalisations lose channels too.
    """

    sample: Sample
    analysis: Analysis
    masks: dict[str, BoolArray]
    allow_inexact: bool = False

    @cached_property
    def keep(self) -> KeepMap:
        return keep_map(self.analysis.ir, self.masks)

    @cached_property
    def pruned(self) -> ModelProto:
        return prune_pass.prune(self.analysis, self.keep)

    @cached_property
    def feeds(self) -> Feeds:
        return self.sample.feeds()

    @cached_property
    def results(self) -> dict[int, list[NDArray[np.float32]]]:
        """What the cut model answers at each level, filled when asked for."""
        return {}

    def answers(self, level: int) -> list[NDArray[np.float32]]:
        if level not in self.results:
            self.results[level] = run(self.pruned, self.feeds, level)
        return self.results[level]


def cut(sample: Sample, *, allow_inexact: bool = False) -> Cut:
    """Analyse a model and draw what goes: a share of every group, of some none at all."""
    analysis = analyse(ModelGraph(sample.model), allow_inexact=allow_inexact)
    assert analysis.facts.ran, analysis.facts.note
    rng = np.random.default_rng([sample.seed, 11])
    ratio = RATIOS[int(rng.integers(len(RATIOS)))]
    masks = {}
    for group in analysis.ir.groups:
        gone = min(group.units - 1, max(1, round(ratio * group.units)))
        stays = np.ones(group.units, dtype=bool)
        if rng.random() < 0.85:
            stays[rng.permutation(group.units)[:gone]] = False
        masks[group.id] = stays
    return Cut(sample, analysis, masks, allow_inexact)


def run(model: ModelProto, feeds: Feeds, level: int) -> list[NDArray[np.float32]]:
    session = create_session(model, SessionConfig(level=level))
    return [np.asarray(o) for o in session.run(None, feeds)]


def p1_bit_equal(c: Cut) -> None:
    """Bit-equal to the masked original at every level, whatever is merged or reordered."""
    masked = masked_original(c.analysis, c.keep)
    for level in LEVELS:
        wanted = run(masked, c.feeds, level)
        for a, b in zip(wanted, c.answers(level), strict=True):
            np.testing.assert_array_equal(a, b, err_msg=f"level {level}")


def p2_close(c: Cut) -> None:
    """The same in float: 1e-5 of the largest output at level 0, rtol 1e-3 at all optimisations."""
    masked = masked_original(c.analysis, c.keep)
    assert_close(c, masked)
    for a, b in zip(run(masked, c.feeds, 3), c.answers(3), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4, err_msg="level 3")


def p3_gather(c: Cut) -> None:
    """Equal to the original in which kept slots are picked in front of every product."""
    shapes = {n: c.analysis.facts.samples(n)[0] for n in tensors(c.sample.model)}
    oracle = gathered(c.sample.model, c.keep, shapes)
    if not c.sample.integer:
        assert_close(c, oracle)
        return
    for a, b in zip(run(oracle, c.feeds, 0), c.answers(0), strict=True):
        np.testing.assert_array_equal(a, b)


def assert_close(c: Cut, wanted: ModelProto) -> None:
    """The cut model answers like another at level 0, but for the rounding of float32.

    A normalisation of what is nearly constant amplifies rounding without a bound.  Where the two
    lie further apart than usual, a second opinion is asked for that knows no such noise: in double
    precision they must agree, and the original alone must be as far from its own answer in double
    precision as the two are from each other.
    """
    answers = run(wanted, c.feeds, 0)
    difference = furthest(answers, c.answers(0))
    if difference <= CLOSE:
        return
    exact = run_in_double(wanted, c.feeds)
    left = furthest(exact, run_in_double(c.pruned, c.feeds))
    assert left <= EXACT, f"level 0: {difference:.3g}, in double precision still {left:.3g}"
    noise = furthest(exact, [np.asarray(a, np.float64) for a in answers])
    assert difference <= NOISE * noise, f"level 0: {difference:.3g}, rounding makes {noise:.3g}"


def furthest(wanted: Sequence[NDArray[Any]], got: Sequence[NDArray[Any]]) -> float:
    """The largest relative difference of all outputs."""
    return max(relative_difference(a, b) for a, b in zip(wanted, got, strict=True))


def p4_nothing_cut(c: Cut) -> None:
    """Where nothing goes, not a byte changes."""
    whole = {group.id: np.ones(group.units, dtype=bool) for group in c.analysis.ir.groups}
    same = prune_pass.prune(c.analysis, keep_map(c.analysis.ir, whole))
    assert same.SerializeToString() == c.sample.model.SerializeToString()


def p5_fixed_point(c: Cut) -> None:
    """A second run that cuts nothing leaves the result as it is."""
    again = analyse(ModelGraph(c.pruned), allow_inexact=c.allow_inexact)
    assert again.facts.ran, again.facts.note
    same = prune_pass.prune(again, keep_map(again.ir, {}))
    assert same.SerializeToString() == c.pruned.SerializeToString()


def p6_valid(c: Cut) -> None:
    """Checker, strict shape inference and every level accept it; the interface is unchanged."""
    onnx.checker.check_model(c.pruned, full_check=True)
    onnx.shape_inference.infer_shapes(c.pruned, check_type=True, strict_mode=True, data_prop=True)
    for level in LEVELS:
        if level not in c.results:
            create_session(c.pruned, SessionConfig(level=level))
    assert_same_interface(c.sample.model, c.pruned)
    assert c.pruned.doc_string == c.sample.model.doc_string


def p7_bookkeeping(c: Cut) -> None:
    """What the report says is what the file holds; no weight is anything but a slice."""
    before, after = stored(c.sample.model), stored(c.pruned)
    for group in c.analysis.ir.groups:
        assert len(c.masks[group.id]) == group.units
    for axis, index in c.keep.kept.items():
        if axis.tensor in before and axis.tensor in after:
            gone = before[axis.tensor].shape[axis.dim] - after[axis.tensor].shape[axis.dim]
            assert len(index) + gone == before[axis.tensor].shape[axis.dim], axis
    told = cost_model(c.analysis).cost(c.keep)
    weights = (a for a in after.values() if a.dtype.kind == "f" or a.dtype.itemsize == 1)
    real = sum(a.size for a in weights if a.ndim)
    assert told.params == real, f"{told.params} parameters reported, {real} in the file"
    for name, array in after.items():
        source = c.analysis.copies.get(name, name)
        if array.dtype.kind != "f" and array.dtype.itemsize > 1:
            continue  # shapes, bounds, indices
        assert source in before or array.size == 1, f"{name}: the original has no such weight"
        if source in before:
            wanted = before[source]
            for dim in range(wanted.ndim):
                kept = c.keep.index(Axis(name, dim))
                wanted = wanted if kept is None else np.take(wanted, kept, axis=dim)
            np.testing.assert_array_equal(array, wanted, err_msg=name)


def p8_monotone(c: Cut) -> None:
    """Who removes more keeps no unit that goes otherwise; no group is ever empty."""
    groups = c.analysis.ir.groups
    if not groups:
        return
    rng = np.random.default_rng(c.sample.seed)
    scores = {g.id: rng.random(g.units) for g in groups}
    for allocate in (uniform, by_quantile, staggered):
        last = {g.id: np.ones(g.units, dtype=bool) for g in groups}
        for ratio in (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0):
            kept = allocate(groups, scores, ratio, Constraints())
            for g in groups:
                assert kept[g.id].any(), f"{g.id} is empty at {ratio}"
                assert not (kept[g.id] & ~last[g.id]).any(), f"{g.id} keeps more at {ratio}"
            last = kept


Check = Callable[[Cut], None]


def tensors(model: ModelProto) -> list[str]:
    """Every tensor of a model."""
    names = [v.name for v in model.graph.input]
    names += [t.name for t in model.graph.initializer]
    return names + [o for node in model.graph.node for o in node.output if o]
