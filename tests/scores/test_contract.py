"""What every criterion owes: the registry is gone through, so that a new one is held to it, too.

Scores are one finite number for every unit of every group, repeat with the seed, follow the units
when these change places, and are least for a unit whose readers do not look at it.  A criterion
that cannot give the last of these says why in `LOOKS_ELSEWHERE`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper

from onnxslim_snacs.activations.open_data import open_source
from onnxslim_snacs.config import DataConfig
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.session import SessionConfig
from onnxslim_snacs.ops.analyse import analyse
from onnxslim_snacs.scores import CRITERIA
from onnxslim_snacs.scores.criterion import Criterion, ScoreContext
from tests.harness import model_from_text

#: Criteria that by their definition do not look at what reads a unit, and cannot know that nobody
#: does.
LOOKS_ELSEWHERE = {
    "l1": "the norm of the filters that make a unit, whatever reads it (Li et al. 2017, 3.1)",
    "l2": "the norm of the filters that make a unit, whatever reads it",
    "fpgm": "the distances between filters that make units, whatever reads them (He et al. 2019)",
    "bn_gamma": "the scale behind a unit, whatever reads it (Liu et al. 2017, 3)",
    "hrank": "the ranks of a unit's own maps, whatever reads them (Lin et al. 2020, eq. 5)",
    "chip": "the maps of a layer among each other, whatever reads them (Sui et al. 2021, eq. 3)",
    "mint": "the activations of two layers: without a connection the estimate is noise, with "
    "no weight to tell so (Ganesh et al. 2020)",
    "hesso": "the norm of a unit's weights counts without a gradient (Chen et al. 2023)",
    "grasp": "a unit that is not read counts 0, for it changes nothing, and one that stands in the "
    "gradient's way counts less than that (Wang et al. 2020, eq. 8)",
    "random": "looks at nothing",
}

HEAD = '<ir_version: 8, opset_import: ["" : 17]>\n'
#: Two groups one after the other.
CHAIN = (
    HEAD
    + """net (float[N,6] x, float[6,8] w_a, float[8] w_c, float[8,7] w_b, float[7,4] w_d)
  => (float[N,4] y) {
  a = MatMul(x, w_a)  c = Add(a, w_c)  r = Relu(c)  b = MatMul(r, w_b)  s = Relu(b)
  y = MatMul(s, w_d)
}"""
)
#: A residual stream of six units with a projection in a branch of five, and a flattened end.
STREAM = (
    HEAD
    + """net (float[N,3,4,4] x, float[6,3,1,1] w_a, float[6] w_s, float[6] w_b, float[6] w_m,
     float[5,6,3,3] w_c, float[6,5,1,1] w_d, float[96,4] w_e) => (float[N,4] y)
  <float[6] v = {1.0, 0.5, 2.0, 1.5, 0.7, 1.0}> {
  a = Conv(x, w_a)
  n = BatchNormalization(a, w_s, w_b, w_m, v)
  r = Relu(n)
  c = Conv<pads = [1,1,1,1]>(r, w_c)
  t = Sigmoid(c)
  d = Conv(t, w_d)
  s = Add(d, r)
  f = Flatten(s)
  y = MatMul(f, w_e)
}"""
)
MODELS = {"chain": CHAIN, "stream": STREAM}
#: Of each group of each model: a weight that makes or reads its units, its axis, and whether it
#: reads; what is written as axis 0 of (units, 16) are 16 rows for a unit.
Place = tuple[str, int, bool]
PLACES: dict[str, list[list[Place]]] = {
    "chain": [
        [("w_a", 1, False), ("w_c", 0, False), ("w_b", 0, True)],
        [("w_b", 1, False), ("w_d", 0, True)],
    ],
    "stream": [
        [
            *((name, 0, False) for name in ("w_a", "w_s", "w_b", "w_m", "v", "w_d")),
            ("w_c", 1, True),
            ("w_e", 0, True),
        ],
        [("w_c", 0, False), ("w_d", 1, True)],
    ],
}
Scores = dict[str, NDArray[np.float64]]
EVERY = pytest.mark.parametrize("criterion", CRITERIA.values(), ids=lambda c: c.name)
MODEL = pytest.mark.parametrize("name", MODELS)


def samples(model: ModelProto) -> dict[str, NDArray[Any]]:
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim][1:]
    drawn = np.random.default_rng(3).standard_normal((400, *shape)).astype(np.float32)
    return {"x": drawn, "labels": np.arange(400) % 4}


def scores(criterion: Criterion, model: ModelProto, folder: Path, seed: int = 0) -> Scores:
    path = folder / "x.npz"
    if not path.exists():
        np.savez(path, **samples(model))  # type: ignore[arg-type]
    analysis = analyse(ModelGraph(model))
    source = open_source(DataConfig(str(path)), analysis.graph)
    result = criterion.score(ScoreContext(analysis, source, SessionConfig(), seed))
    return dict(result.scores)


def changed(model: ModelProto, name: str, group: int, change: Any, *, readers: bool) -> ModelProto:
    """The model with the units of a group, along the axes of its weights, changed.

    Args:
        model: the model.
        name: of it.
        group: number of the group.
        change: array with the units first -> another.
        readers: only what reads the units.
    """
    result = ModelProto()
    result.CopyFrom(model)
    stored = {tensor.name: tensor for tensor in result.graph.initializer}
    units = stored["w_a"].dims[1 if name == "chain" else 0] if group == 0 else None
    for tensor, axis, reads in PLACES[name][group]:
        if readers and not reads:
            continue
        array = np.moveaxis(numpy_helper.to_array(stored[tensor]), axis, 0)
        rows = array.shape[0] // (units or array.shape[0])
        blocks = array.reshape(-1, rows, *array.shape[1:])
        whole = np.moveaxis(change(blocks).reshape(array.shape), 0, axis)
        stored[tensor].CopyFrom(numpy_helper.from_array(np.ascontiguousarray(whole), tensor))
    return result


@MODEL
@EVERY
def test_one_finite_number_for_every_unit(criterion: Criterion, name: str, tmp_path: Path) -> None:
    model = model_from_text(MODELS[name], integers=False)
    found = scores(criterion, model, tmp_path)
    groups = analyse(ModelGraph(model)).ir.groups
    assert {g.id: (g.units,) for g in groups} == {g: v.shape for g, v in found.items()}
    assert len(groups) == 2
    assert all(v.dtype == np.float64 and np.isfinite(v).all() for v in found.values())
    assert all(len(set(v.tolist())) > 1 for v in found.values())  # an order, and no constant


@MODEL
@EVERY
def test_the_same_seed_gives_the_same_scores(
    criterion: Criterion, name: str, tmp_path: Path
) -> None:
    model = model_from_text(MODELS[name], integers=False)
    first, again = (scores(criterion, model, tmp_path, seed=7) for _ in range(2))
    assert {g: v.tolist() for g, v in first.items()} == {g: v.tolist() for g, v in again.items()}


@MODEL
@EVERY
def test_permuted_units_have_permuted_scores(
    criterion: Criterion, name: str, tmp_path: Path
) -> None:
    """Exactly, or as nearly as two seeds are where something is drawn."""
    model = model_from_text(MODELS[name], integers=False)
    seeds = [scores(criterion, model, tmp_path, seed=k) for k in range(6)]
    for number, group in enumerate(seeds[0]):
        drawn = np.stack([found[group] for found in seeds])
        order = np.random.default_rng(number).permutation(drawn.shape[1])
        turned = changed(model, name, number, lambda a, order=order: a[order], readers=False)
        found = scores(criterion, turned, tmp_path)[group]
        spread = drawn.std(axis=0).max()
        if criterion.needs:  # else there is nothing that could follow the units
            assert spread < drawn.mean(axis=0).std() / 2
        allowed = 4 * spread + 1e-4 * np.abs(drawn).max()
        assert np.abs(found - drawn[0][order]).max() <= allowed


@MODEL
@pytest.mark.parametrize(
    "criterion",
    [c for c in CRITERIA.values() if c.name not in LOOKS_ELSEWHERE],
    ids=lambda c: c.name,
)
def test_a_unit_that_nobody_reads_ranks_last(
    criterion: Criterion, name: str, tmp_path: Path
) -> None:
    model = model_from_text(MODELS[name], integers=False)
    whole = scores(criterion, model, tmp_path)
    for number, group in enumerate(whole):
        unit = int(np.argmax(whole[group]))  # the one that counts most while it is read
        cut = changed(model, name, number, lambda a, u=unit: without(a, u), readers=True)
        found = scores(criterion, cut, tmp_path)[group]
        assert found[unit] == found.min() < np.delete(found, unit).min(), group


def without(array: NDArray[Any], unit: int) -> NDArray[Any]:
    result = array.copy()
    result[unit] = 0
    return result


def test_exceptions_are_criteria_and_have_reasons() -> None:
    assert set(LOOKS_ELSEWHERE) <= set(CRITERIA)
