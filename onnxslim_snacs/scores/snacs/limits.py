"""The operating limit of a producer -> consumer pair (method 3.8).

The pooled output of a convolution or linear layer is linear in the pooled input patches, so the
outputs without the weakest connections follow from one matrix product per step of the sweep; the
network runs no further time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onnxslim_snacs.scores.snacs.classifier import fit_rbf_ridge
from onnxslim_snacs.scores.snacs.svm import fit_support_vectors

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

SHARES: FloatArray = np.arange(1, 97, 5) / 100.0
#: Share of the span between worst and best accuracy that may be lost (method 3.8).
TOLERATED = 0.7
_FOLDS = 2
_CLASSES_PER_FOLD = 2
_MOST_CLASSES = 32
_CELLS = 1 << 21  # numbers of one product of the sweep, 8 MB in float32


@dataclass(frozen=True, slots=True)
class PooledLayer:
    """What the sweep needs of one producer -> consumer pair.

    Attributes:
        patches: pooled input patches, axes (sample, parent, kernel position); float32 or float64.
        weights: axes (child, parent, kernel position).
        bias: axis (child), or None.
    """

    patches: npt.NDArray[np.floating]
    weights: npt.NDArray[np.floating]
    bias: npt.NDArray[np.floating] | None = None


@dataclass(frozen=True, slots=True)
class OperatingLimit:
    """Upper share of connections that may be removed from a layer pair.

    Attributes:
        gamma: the limit, 0 to 1.
        shares: removed shares of the sweep, axis (step).
        scores: accuracy, or 1 - relative error without labels, at each share, axis (step).
    """

    gamma: float
    shares: FloatArray
    scores: FloatArray


Rule = Callable[[FloatArray, FloatArray], float]
Removal = Callable[[FloatArray, float], BoolArray]
Activation = Callable[[FloatArray], FloatArray]
#: Intact outputs, cut outputs a few steps at a time, class numbers, seed -> accuracy, axis (step).
Accuracy = Callable[[FloatArray, Iterable[FloatArray], npt.NDArray[np.intp], int], FloatArray]


def first_crossing(shares: FloatArray, scores: FloatArray) -> float:
    """Give the last share before the scores first fall below max - 0.7 (max - min).

    Args:
        shares: axis (step), ascending, 0 to 1.
        scores: accuracy at each share, axis (step).
    """
    below = np.flatnonzero(scores < _line(scores))
    last = below[0] if below.size else len(scores)
    return float(shares[last - 1]) if last else 0.0


def last_above(shares: FloatArray, scores: FloatArray) -> float:
    """Give the largest share whose score is on or above the line, as the release does.

    Args:
        shares: axis (step), ascending, 0 to 1.
        scores: accuracy at each share, axis (step).
    """
    return float(shares[np.flatnonzero(scores >= _line(scores))[-1]])


def removed_lowest(rho: FloatArray, share: float) -> BoolArray:
    """Mark the floor(share * connections) lowest scores; of equal ones the first by index.

    Args:
        rho: axes (child, parent).
        share: 0 to 1.

    Returns:
        Mask of the removed connections, axes (child, parent).
    """
    mask = np.zeros(rho.size, dtype=np.bool_)
    mask[np.argsort(rho, axis=None, kind="stable")[: int(share * rho.size + 1e-9)]] = True
    return mask.reshape(rho.shape)


def removed_at_cutoff(rho: FloatArray, share: float) -> BoolArray:
    """Mark as the release does: all scores <= the round(share * U)-th of U distinct scores.

    Args:
        rho: axes (child, parent).
        share: 0 to 1.

    Returns:
        Mask of the removed connections, axes (child, parent).
    """
    distinct = np.unique(rho)
    cutoff = distinct[min(round(share * len(distinct)), len(distinct) - 1)]
    mask: BoolArray = rho <= cutoff
    return mask


def unchanged(outputs: FloatArray) -> FloatArray:
    """Take pooled pre-activations, axes (sample, child), as they are."""
    return outputs


def rectified(outputs: FloatArray) -> FloatArray:
    """Clamp pooled outputs, axes (sample, child), at 0, as the release does to classify them."""
    return np.maximum(outputs, 0.0)


def operating_limit(
    layer: PooledLayer,
    rho: FloatArray,
    labels: npt.ArrayLike | None = None,
    *,
    shares: FloatArray = SHARES,
    rule: Rule = first_crossing,
    removal: Removal = removed_lowest,
    activation: Activation = unchanged,
    accuracy: Accuracy | None = None,
    seed: int = 0,
) -> OperatingLimit:
    """Sweep the removed share of connections and find where the layer stops working.

    With labels a classifier is fitted on the intact outputs of one half of the rows and judged on
    the cut outputs of the other half, and the other way round.  Without, or where a half would
    lack classes to tell apart, the score is 1 - |cut - intact| / |intact - mean|.

    Args:
        layer: patches and weights; at most about 2,048 rows are sensible.
        rho: connectivity, axes (child, parent).
        labels: class of each row (the original network's argmax), axis (sample), or None.
        shares: shares to remove, increasing, axis (step).
        rule: reads the limit off the sweep; `last_above` is the released one.
        removal: which connections go; `removed_at_cutoff` is the released one.
        activation: applied to the outputs; `rectified` is the released one.
        accuracy: how well the classes can be told; None for `cross_fitted`, `released_accuracy` is
            the released one.
        seed: seed of folds and landmarks.

    Returns:
        The limit and the sweep.
    """
    whole = np.zeros((1, 1, rho.shape[1]), dtype=np.bool_)
    intact = activation(next(_sweep(layer, whole))[:, 0])
    cut = (activation(out) for out in _sweep(layer, np.stack([removal(rho, s) for s in shares])))
    numbers = None if labels is None else np.unique(np.asarray(labels), return_inverse=True)[1]
    if numbers is None or not _can_classify(numbers):
        scores = _fidelity(intact, cut)
    else:
        scores = (accuracy or cross_fitted)(intact, cut, numbers, seed)
    return OperatingLimit(rule(shares, scores), shares, scores)


def _line(scores: FloatArray) -> float:
    """Give the lowest score that still counts as working."""
    high, low = float(scores.max()), float(scores.min())
    return high - TOLERATED * (high - low)


def _sweep(layer: PooledLayer, removed: BoolArray) -> Iterator[FloatArray]:
    """Give the outputs of a few steps at a time, axes (sample, step, child).

    Args:
        layer: patches and weights.
        removed: what goes at each step, axes (step, child or 1, parent).
    """
    samples, (steps, _, parents) = len(layer.patches), removed.shape
    children, taps = len(layer.weights), layer.weights.shape[2]
    patches = layer.patches.reshape(samples, -1)  # (sample, parent x kernel)
    bias = 0.0 if layer.bias is None else layer.bias.astype(patches.dtype)
    at_once = max(1, _CELLS // (children * max(parents * taps, samples)))
    for start in range(0, steps, at_once):
        keep = ~removed[start : start + at_once, :, :, None]
        kept = (layer.weights * keep).astype(patches.dtype).reshape(-1, patches.shape[1])
        yield (patches @ kept.T).reshape(samples, -1, children) + bias


def _fidelity(intact: FloatArray, cut: Iterable[FloatArray]) -> FloatArray:
    """Give 1 - relative error of the cut outputs, axis (step)."""
    size = max(float(np.linalg.norm(intact - intact.mean(axis=0))), 1e-30)
    errors = [np.linalg.norm(out - intact[:, None], axis=(0, 2)) for out in cut]
    scores: FloatArray = 1.0 - np.concatenate(errors).astype(np.float64) / size
    return scores


def _can_classify(numbers: npt.NDArray[np.intp]) -> bool:
    """Tell whether there are two classes and rows enough to halve them."""
    counts = np.bincount(numbers)
    return int(np.count_nonzero(counts >= _FOLDS)) >= _CLASSES_PER_FOLD


def released_accuracy(
    intact: FloatArray, cut: Iterable[FloatArray], labels: npt.NDArray[np.intp], seed: int
) -> FloatArray:
    """As the release does: support vectors on raw features, judged on what they were fitted to.

    Of more than `_MOST_CLASSES` classes the most frequent ones are told apart (own choice: pairs
    of classes are solved one by one).

    Args:
        intact: pooled outputs, axes (sample, child).
        cut: the same without connections, pieces with axes (sample, step, child).
        labels: class numbers, axis (sample).
        seed: not used: nothing is drawn.

    Returns:
        Accuracy at each share, axis (step).
    """
    counts = np.bincount(labels)
    chosen = np.sort(np.argsort(-counts, kind="stable")[:_MOST_CLASSES])
    chosen = chosen[counts[chosen] > 0]
    rows = np.isin(labels, chosen)
    numbers = np.searchsorted(chosen, labels[rows])
    model = fit_support_vectors(intact[rows], numbers)
    hits = [(model.predict(out[rows]) == numbers[:, None]).mean(axis=0) for out in cut]
    return np.concatenate(hits)


def cross_fitted(
    intact: FloatArray, cut: Iterable[FloatArray], labels: npt.NDArray[np.intp], seed: int
) -> FloatArray:
    """Give the held-out accuracy at each share, each half told apart by what fits the other.

    Args:
        intact: pooled outputs, axes (sample, child).
        cut: the same without connections, pieces with axes (sample, step, child).
        labels: class numbers, axis (sample).
        seed: for the halves and the features of the kernel.

    Returns:
        Accuracy at each share, axis (step).
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(labels))
    # dealing out within classes keeps every class in both halves
    dealt = order[np.argsort(labels[order], kind="stable")]
    fold = np.empty(len(labels), dtype=np.intp)
    fold[dealt] = np.arange(len(labels)) % _FOLDS
    models = [
        fit_rbf_ridge(intact[fold != held], labels[fold != held], rng) for held in range(_FOLDS)
    ]
    hits = []
    for out in cut:
        told = [models[held].predict(out[fold == held]) for held in range(_FOLDS)]
        right = [t == labels[fold == held, None] for held, t in enumerate(told)]
        hits.append(np.concatenate(right).sum(axis=0))
    return np.concatenate(hits) / len(labels)
