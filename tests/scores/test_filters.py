"""Criteria on what makes a unit (FPGM, Network Slimming), and how parts become one number."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from onnxslim_snacs.errors import UsageError
from onnxslim_snacs.model.session import SessionConfig
from onnxslim_snacs.scores import CRITERIA
from onnxslim_snacs.scores.criterion import ScoreContext, ScoreResult, with_options
from onnxslim_snacs.scores.parts import Part, together
from tests.harness import model_from_text, read

HEAD = '<ir_version: 8, opset_import: ["" : 17]>\n'
#: Three filters of two weights.
FILTERS = (
    HEAD
    + """net (float[N,2] x) => (float[N,2] y)
<float[3,2] a = {1, 0,  0, 1,  1, 1}, float[3,2] c = {1, 1,  1, 1,  1, 1}>
{
  s = Gemm<transB = 1>(x, a)
  y = MatMul(s, c)
}"""
)
#: Units on two batch norms, the second behind another layer.
SCALED = (
    HEAD
    + """net (float[N,2,1,1] x, float[3,2,1,1] w_a, float[3,3,1,1] w_b, float[2,3,1,1] w_c)
  => (float[N,2,1,1] y)
<float[3] g = {-3, 1, 2}, float[3] h = {1, 1, 4}, float[3] zero = {0, 0, 0}, float[3] one = {1, 1, 1}>
{
  a = Conv(x, w_a)
  m = BatchNormalization(a, g, zero, zero, one)
  b = Conv(m, w_b)
  n = BatchNormalization(b, h, zero, zero, one)
  s = Add(m, n)
  y = Conv(s, w_c)
}"""  # noqa: E501
)


def score(name: str, text: str, **options: object) -> ScoreResult:
    analysis = read(model_from_text(text))
    criterion = with_options(CRITERIA[name], options)
    return criterion.score(ScoreContext(analysis, cast(Any, None), SessionConfig()))


def values(name: str, text: str, **options: object) -> np.ndarray[Any, np.dtype[np.float64]]:
    (found,) = score(name, text, **options).scores.values()
    return found


def test_the_geometric_median_goes_first_where_norms_keep_it() -> None:
    """|f1 - f2| = sqrt 2, the third is 1 from both: 2.4142, 2.4142, 2."""
    assert values("fpgm", FILTERS, normalise="none") == pytest.approx([2.4142, 2.4142, 2], abs=1e-4)
    assert values("l1", FILTERS, normalise="none") == pytest.approx([1, 1, 2])
    assert values("l2", FILTERS, normalise="none") == pytest.approx([1, 1, 1.4142], abs=1e-4)


def test_distances_are_those_of_signed_filters() -> None:
    """(1, 0), (-1, 0), (0, 2): distances 2, sqrt 5, sqrt 5; of absolute values they differ."""
    text = FILTERS.replace(
        "1, 0,  0, 1,  1, 1}, float[3,2] c", "1, 0,  -1, 0,  0, 2}, float[3,2] c"
    )
    found = values("fpgm", text, normalise="none")
    assert found == pytest.approx([4.2361, 4.2361, 4.4721], abs=1e-4)


def test_distances_of_convolutions_are_those_of_scipy() -> None:
    text = (
        HEAD
        + """net (float[N,3,4,4] x, float[9,3,3,3] w_a, float[2,9,1,1] w_b) => (float[N,2,2,2] y) {
  a = Conv(x, w_a)
  y = Conv(a, w_b)
}"""
    )
    analysis = read(model_from_text(text))
    filters = analysis.graph.array("w_a").reshape(9, -1).astype(np.float64)
    found = values("fpgm", text, normalise="none")
    assert found == pytest.approx(cdist(filters, filters).sum(axis=1))


def test_scales_of_batch_norms_by_hand() -> None:
    """|gamma|: (3, 1, 2) and (1, 1, 4); their mean, sum, largest, and the first."""
    assert values("bn_gamma", SCALED) == pytest.approx([2, 1, 3])
    assert values("bn_gamma", SCALED, reduce="sum") == pytest.approx([4, 2, 6])
    assert values("bn_gamma", SCALED, reduce="max") == pytest.approx([3, 1, 4])
    assert values("bn_gamma", SCALED, reduce="first") == pytest.approx([3, 1, 2])
    relative = values("bn_gamma", SCALED, reduce="sum", normalise="mean")
    assert relative == pytest.approx([1.5 + 0.5, 0.5 + 0.5, 1 + 2])


def test_folded_normalisations_are_told_of() -> None:
    result = score("bn_gamma", FILTERS)
    (group,) = result.scores
    assert result.notes == {"ordered by their norms": [group]}
    assert "folded into the layers before" in result.warnings[0]
    assert result.scores[group] == pytest.approx([0.75, 0.75, 1.5])


@pytest.mark.parametrize(
    ("normalise", "wanted"),
    [
        ("none", [1, 3, 0]),
        ("mean", [0.75, 2.25, 0]),
        ("sum", [0.25, 0.75, 0]),
        ("max", [1 / 3, 1, 0]),
        ("l2", [1 / np.sqrt(10), 3 / np.sqrt(10), 0]),
        ("standard", (np.array([1, 3, 0]) - 4 / 3) / np.sqrt(14 / 9)),
        ("lamp", [1 / 4, 1, 0]),
        ("output", [0.5, 1.5, 0]),
    ],
)
def test_parts_are_scaled_before_they_are_reduced(normalise: str, wanted: Any) -> None:
    part = Part(np.array([1.0, 3.0, 0.0]), output=2.0)
    assert together([part], "sum", normalise) == pytest.approx(wanted)
    assert together([part, part], "sum", normalise) == pytest.approx(2 * np.asarray(wanted))


def test_reductions() -> None:
    parts = [Part(np.array([1.0, 4.0])), Part(np.array([3.0, 2.0]))]
    found = {how: together(parts, how, "none").tolist() for how in ("mean", "min", "product")}
    assert found == {"mean": [2, 3], "min": [1, 2], "product": [3, 8]}


def test_words_that_no_option_knows_are_refused() -> None:
    with pytest.raises(UsageError, match="expected one of sum, mean, max, min, product, first"):
        with_options(CRITERIA["fpgm"], {"reduce": "median"})
    with pytest.raises(UsageError, match="expected at least 1"):
        with_options(CRITERIA["hrank"], {"images": 0})
    with pytest.raises(UsageError, match="not negative"):
        with_options(CRITERIA["obs"], {"ridge": -1})
