"""Say whether the scores of a layer carry any signal (method 3.2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_LEVEL = 0.95
_NOTHING = 2e-6
_CHANCE = 1.0 - _LEVEL


@dataclass(frozen=True, slots=True)
class ConnectivityQuality:
    """What is known about the scores of one layer pair.

    Attributes:
        estimator: "residual", "hash" or "gaussian".
        samples: number of rows used.
        draws: seeded draws averaged; 1 for the others than hash.
        z_buckets: upper bound on the buckets of Z; 0 for the others.
        singleton_share: share of samples alone in their Z bucket, mean over parents and draws.
        information_mean: mean information of the pairs.
        null_mean: mean information of the pairs under the null.
        null_q95: 95 % quantile of the same; one draw, as the null has.
        share_above_null: share of pairs above `null_q95` in one draw; 0.05 is chance.
        carries_signal: share_above_null exceeds twice what chance gives, and chance by three
            standard errors, which matters for layers of few pairs.
    """

    estimator: str
    samples: int
    draws: int
    z_buckets: int
    singleton_share: float
    information_mean: float
    null_mean: float
    null_q95: float
    share_above_null: float
    carries_signal: bool


def against_null(
    observed: npt.NDArray[np.float64],
    null: npt.NDArray[np.float64],
) -> tuple[float, float, float, bool]:
    """Compare the information of pairs with that of pairs whose dependence was destroyed.

    Args:
        observed: information of one draw, axes (child, parent).
        null: the same under the null, axes (child, parent).

    Returns:
        (null mean, null 95 % quantile, share of pairs above it, whether that is more than chance).
    """
    # a dead child or parent gives 0 but for rounding: it says nothing about the others
    alive = null > _NOTHING
    if not alive.any():
        return 0.0, 0.0, 0.0, False
    line = float(np.quantile(null[alive], _LEVEL))
    share = float(np.mean(observed > line))
    # twice the variance: the line is estimated from as many pairs as it is applied to
    error = (2.0 * _CHANCE * _LEVEL / null.size) ** 0.5
    signal = share > _CHANCE + max(_CHANCE, 3.0 * error)
    return float(null[alive].mean()), line, share, signal


def quality_of_remainders(
    estimator: str,
    samples: int,
    information: npt.NDArray[np.float64],
    observed: npt.NDArray[np.float64],
    null: npt.NDArray[np.float64],
) -> ConnectivityQuality:
    """Quality where the other parents are taken out by a fit, and not by buckets of Z.

    Args:
        estimator: its name.
        samples: number of rows used.
        information: of all pairs, axes (child, parent).
        observed: of the children that the null has, axes (child, parent).
        null: the same under the null, axes (child, parent).
    """
    mean = float(information.mean())
    return ConnectivityQuality(estimator, samples, 1, 0, 0.0, mean, *against_null(observed, null))


def spread_over(count: int, most: int) -> npt.NDArray[np.intp]:
    """Choose at most `most` indices, evenly spread over `count`: ascending, axis (chosen)."""
    chosen = min(count, most)
    return np.arange(chosen, dtype=np.intp) * count // max(chosen, 1)
