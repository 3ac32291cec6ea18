"""The scaling functions phi of the ACMI score (method 3.4).

Each form has a part that depends on the hash cell (activations) and a part that depends on the
weights only, which leaves the integral and multiplies the finished information.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onnxslim_snacs.errors import UsageError
from onnxslim_snacs.scores.snacs.hashing import split_levels


@dataclass(frozen=True, slots=True)
class Phi:
    """One form of phi.

    Attributes:
        cell: part per hash cell: "one", "act", "act_sq" or "e_act".
        weight: part per connection: "one", "weight", "weight_sq" or "exp_weight".
    """

    cell: str
    weight: str


PHI_FORMS: dict[str, Phi] = {
    "one": Phi("one", "one"),
    "weight": Phi("one", "weight"),
    "weight_sq": Phi("one", "weight_sq"),
    "exp_weight": Phi("one", "exp_weight"),
    "act": Phi("act", "one"),
    "act_sq": Phi("act_sq", "one"),
    "e_act": Phi("e_act", "one"),
    "act_weight": Phi("act", "weight"),
    "act_sq_weight_sq": Phi("act_sq", "weight_sq"),
    "e_act_exp_weight": Phi("e_act", "exp_weight"),
}


def phi_form(name: str) -> Phi:
    """Look a form of phi up.

    Args:
        name: a key of `PHI_FORMS`.

    Returns:
        The form.

    Raises:
        UsageError: no form has this name.
    """
    if name not in PHI_FORMS:
        raise UsageError(f"phi must be one of {', '.join(PHI_FORMS)}; got {name!r}")
    return PHI_FORMS[name]


def scale_weights(weights: Sequence[npt.ArrayLike]) -> list[npt.NDArray[np.float64]]:
    """Scale the magnitudes of all layers to [0, 1] together, one value per connection.

    The scale is taken over the conv and linear weights only, on |w| (method 3.4).

    Args:
        weights: a weight of each layer, axes (child, parent, kernel ...).

    Returns:
        Mean scaled magnitude over the kernel for each layer, axes (child, parent).
    """
    return _scaled([np.abs(np.asarray(weight, dtype=np.float64)) for weight in weights])


def scale_weights_signed(weights: Sequence[npt.ArrayLike]) -> list[npt.NDArray[np.float64]]:
    """Scale signed weights to [0, 1] by the global minimum and maximum, as the release does.

    The most negative weight becomes 0: as-released reference only (method 3.4).

    Args:
        weights: a weight of each layer, axes (child, parent, kernel ...).

    Returns:
        Mean scaled weight over the kernel for each layer, axes (child, parent).
    """
    return _scaled([np.asarray(weight, dtype=np.float64) for weight in weights])


def weight_factor(form: str, weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Give the factor of each connection.

    Args:
        form: the weight part of a `Phi`.
        weights: scaled weights in [0, 1], axes (child, parent).

    Returns:
        Factors, axes (child, parent).
    """
    if form == "one":
        return np.ones_like(weights)
    if form == "weight":
        return weights
    if form == "weight_sq":
        return np.square(weights)
    return np.asarray(np.exp(-np.square(weights) / 2.0))


def cell_factors(
    form: str, buckets: int, z_buckets: int, z_dimensions: int
) -> npt.NDArray[np.float32] | None:
    """Give the factor of each hash cell from the norms of the integer bucket vectors.

    The release takes ||h_X|| ||h_Y|| ||h_Z|| of floor hashes.  Our buckets are quantiles: bucket b
    of B stands for the centred integer 2b - (B - 1), and norms are divided by their largest value
    so that phi stays in [0, 1] (own choice).

    Args:
        form: the cell part of a `Phi`.
        buckets: buckets of X and of Y.
        z_buckets: upper bound on the buckets of Z.
        z_dimensions: number of channels in Z.

    Returns:
        Factors with axes (x bucket, y bucket, z bucket), or None for "one".
    """
    if form == "one":
        return None
    own = _centred(buckets)
    product = own[:, None, None] * own[None, :, None] * _z_norms(z_buckets, z_dimensions)
    if form == "act":
        return product.astype(np.float32)
    if form == "act_sq":
        return np.square(product).astype(np.float32)
    return np.exp(-np.square(product) / 2.0).astype(np.float32)


def _scaled(arrays: list[npt.NDArray[np.float64]]) -> list[npt.NDArray[np.float64]]:
    """Scale by the minimum and maximum over all layers, then average over the kernel."""
    filled = [array for array in arrays if array.size]
    low = min((float(array.min()) for array in filled), default=0.0)
    high = max((float(array.max()) for array in filled), default=1.0)
    width = high - low if high > low else 1.0
    return [((array - low) / width).reshape(*array.shape[:2], -1).mean(axis=2) for array in arrays]


def _centred(buckets: int) -> npt.NDArray[np.float64]:
    """Give |2b - (B - 1)| / (B - 1) for every bucket; 1 where there is a single bucket."""
    if buckets == 1:
        return np.ones(1)
    distance: npt.NDArray[np.float64] = np.abs(2.0 * np.arange(buckets) - (buckets - 1))
    return distance / (buckets - 1)


def _z_norms(buckets: int, dimensions: int) -> npt.NDArray[np.float64]:
    """Give the scaled norm of the bucket vector behind every combined Z bucket."""
    if dimensions == 0 or buckets == 1:
        return np.ones(1)
    count, levels = split_levels(buckets, dimensions)
    numbers = np.arange(levels**count)
    digits = np.stack([numbers // levels**place % levels for place in range(count)])
    norms: npt.NDArray[np.float64] = np.sqrt(np.square(_centred(levels)[digits]).mean(axis=0))
    return norms
