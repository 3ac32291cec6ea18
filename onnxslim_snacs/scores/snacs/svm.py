"""The classifier of the release: support vectors with radial basis functions, class against class.

As scikit-learn's `SVC()` has it (libsvm, Chang and Lin 2011): raw features, kernel width 1 over the
number of features and their common variance, cost 1, second-order choice of the pair that moves
(Fan, Chen, Lin 2005).  All pairs of classes are solved side by side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

_COST = 1.0
#: Violation of the optimality conditions that is left; the release's setting.
_TOLERANCE = 1e-5
_STEPS = 100_000
_TINY = 1e-12
#: Kernel values that are computed at once, 32 MB.
_AT_ONCE = 1 << 22


@dataclass(frozen=True, slots=True)
class SupportVectors:
    """A fitted classifier.

    Attributes:
        rows: axes (sample, feature).
        width: of the kernel exp(-width |a - b|^2).
        weights: axes (sample, pair): multipliers with their signs.
        offset: axis (pair).
        first: axes (pair, class), 1 for the class for which a pair votes above 0.
        second: the same below.
    """

    rows: FloatArray
    width: float
    weights: FloatArray
    offset: FloatArray
    first: FloatArray
    second: FloatArray

    def predict(self, features: npt.NDArray[np.floating]) -> npt.NDArray[np.intp]:
        """The class with the most votes, the first of several, axes (...) of (..., feature)."""
        flat = features.reshape(-1, features.shape[-1]).astype(np.float64)
        step = max(1, _AT_ONCE // len(self.rows))
        found = []
        for start in range(0, len(flat), step):
            kernel = _kernel(flat[start : start + step], self.rows, self.width)
            above = (kernel @ self.weights + self.offset > 0).astype(np.float64)
            found.append((above @ self.first + (1.0 - above) @ self.second).argmax(axis=1))
        classes: npt.NDArray[np.intp] = np.concatenate(found).reshape(features.shape[:-1])
        return classes


def fit_support_vectors(
    features: npt.NDArray[np.floating], numbers: npt.NDArray[np.intp]
) -> SupportVectors:
    """Fit the classifier.

    Args:
        features: axes (sample, feature).
        numbers: classes, 0 ... and none left out, axis (sample).
    """
    rows = features.astype(np.float64)
    spread = float(rows.var())
    width = 1.0 / (rows.shape[1] * spread) if spread > 0 else 1.0
    count = int(numbers.max()) + 1
    ones, twos = np.triu_indices(count, 1)
    index, signs = _problems(numbers, ones, twos)
    kernel = _kernel(rows, rows, width)
    alpha, offset = _solve(kernel, index, signs)
    weights = np.zeros((len(rows), len(ones)))
    np.add.at(weights, (index, np.arange(len(ones))[:, None]), alpha * signs)
    return SupportVectors(rows, width, weights, offset, np.eye(count)[ones], np.eye(count)[twos])


def _problems(
    numbers: npt.NDArray[np.intp], ones: npt.NDArray[np.intp], twos: npt.NDArray[np.intp]
) -> tuple[npt.NDArray[np.intp], FloatArray]:
    """(pair, slot) samples of each pair and their signs; 0 for slots that are not needed."""
    order = np.argsort(numbers, kind="stable")
    sizes = np.bincount(numbers)
    starts = np.cumsum(sizes) - sizes
    slots = np.arange(int(np.sort(sizes)[-2:].sum()))
    a, b = sizes[ones][:, None], sizes[twos][:, None]
    is_one, is_two = slots < a, (slots >= a) & (slots < a + b)
    place = np.where(is_one, starts[ones][:, None] + slots, starts[twos][:, None] + slots - a)
    index = order[np.where(is_one | is_two, place, 0)]
    return index, is_one.astype(np.float64) - is_two.astype(np.float64)


def _solve(
    kernel: FloatArray, index: npt.NDArray[np.intp], signs: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Multipliers (pair, slot) and offsets (pair,) of all problems.

    With v_t = y_t - sum_s alpha_s y_s K_ts a problem is solved when no v of a sample that may go up
    exceeds one of a sample that may go down by more than the tolerance.
    """
    alpha, v = np.zeros(signs.shape), signs.copy()
    every = np.arange(len(signs))
    for _ in range(_STEPS):
        up = ((signs > 0) & (alpha < _COST)) | ((signs < 0) & (alpha > 0))
        low = ((signs > 0) & (alpha > 0)) | ((signs < 0) & (alpha < _COST))
        high = np.where(up, v, -np.inf)
        i = high.argmax(axis=1)
        top = high[every, i]
        bottom = np.where(low, v, np.inf).min(axis=1)
        open_ = top - bottom > _TOLERANCE
        if not open_.any():
            break
        row_i = kernel[index[every, i][:, None], index]
        gap = np.where(low, top[:, None] - v, -np.inf)
        curve = np.maximum(2.0 - 2.0 * row_i, _TINY)
        j = np.where(gap > 0, np.square(gap) / curve, -np.inf).argmax(axis=1)
        step = gap[every, j] / curve[every, j]
        step = np.minimum(step, _room(alpha, signs, i, up=True))
        step = np.minimum(step, _room(alpha, signs, j, up=False))
        step = np.where(open_ & np.isfinite(step), step, 0.0)
        alpha[every, i] += signs[every, i] * step
        alpha[every, j] -= signs[every, j] * step
        np.clip(alpha, 0.0, _COST, out=alpha)
        v -= step[:, None] * (row_i - kernel[index[every, j][:, None], index])
    free = (alpha > 0) & (alpha < _COST) & (signs != 0)
    count = free.sum(axis=1)
    middle = (top + bottom) / 2
    mean = np.where(free, v, 0.0).sum(axis=1) / np.maximum(count, 1)
    return alpha, np.where(count > 0, mean, middle)


def _room(
    alpha: FloatArray, signs: FloatArray, at: npt.NDArray[np.intp], *, up: bool
) -> FloatArray:
    """How far a multiplier may go before it meets its bounds, (pair,)."""
    every = np.arange(len(at))
    value, sign = alpha[every, at], signs[every, at]
    grows = (sign > 0) if up else (sign < 0)
    return np.where(grows, _COST - value, value)


def _kernel(a: FloatArray, b: FloatArray, width: float) -> FloatArray:
    """Give exp(-width |a - b|^2), axes (row of a, row of b)."""
    distance = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1) - 2.0 * (a @ b.T)
    kernel: FloatArray = np.exp(-width * np.maximum(distance, 0.0))
    return kernel
