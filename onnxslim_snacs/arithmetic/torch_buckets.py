"""Rows and random projections of them cut at their quantiles, in torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from onnxslim_snacs.arithmetic.kernels import Buckets, FloatArray, Rows, Starts
from onnxslim_snacs.arithmetic.numpy_buckets import GRID, quantile_ranks
from onnxslim_snacs.arithmetic.torch_arrays import put, taken
from onnxslim_snacs.torch_graph.late import torch

if TYPE_CHECKING:
    from torch import Tensor


def quantile_buckets(device: str, values: Rows, levels: int) -> Buckets:
    """As `numpy_buckets.quantile_buckets`, number by number."""
    return taken(_buckets(put(values, device), levels))


def hash_groups(device: str, rows: Rows, weights: Rows, starts: Starts, levels: int) -> Buckets:
    """As `numpy_buckets.hash_groups`."""
    here, group = put(rows, device), _groups(starts, len(rows), device)
    mixing = put(weights, device)
    projected = torch.stack([_sums(here * w[:, None], group, len(starts)) for w in mixing])
    mix = _decorrelation(projected.swapaxes(0, 1))
    mixed = torch.einsum("qgn,gqr->rgn", projected.to(torch.float64), mix)
    return taken(_combined([_buckets(_snapped(v), levels) for v in mixed], levels))


def hash_outside(
    device: str, rows: Rows, weights: FloatArray, starts: Starts, levels: int
) -> Buckets:
    """As `numpy_buckets.hash_outside`."""
    here, group = put(rows, device), _groups(starts, len(rows), device)
    drawn = put(weights, device)
    projected = here.T.to(torch.float64) @ drawn
    mix = _decorrelation(projected.T[None])[0]
    mixed = (drawn @ mix).to(torch.float32)
    whole = (projected @ mix).to(torch.float32)
    digits = []
    for values, weight in zip(whole.T, mixed.T, strict=True):
        own = _sums(here * weight[:, None], group, len(starts))
        digits.append(_buckets(_snapped(values - own), levels))
    return taken(_combined(digits, levels))


def _buckets(values: Tensor, levels: int) -> Tensor:
    ranks = quantile_ranks(values.shape[1], levels)
    buckets = torch.zeros(values.shape, dtype=torch.uint8, device=values.device)
    if not ranks:
        return buckets
    cuts = values.sort(dim=1).values[:, ranks]
    for column in range(len(ranks)):
        buckets += values >= cuts[:, column, None]
    return buckets


def _groups(starts: Starts, channels: int, device: str) -> Tensor:
    """(channel,) the group of each."""
    sizes = np.diff(starts, append=channels)
    return put(np.repeat(np.arange(len(starts)), sizes), device)


def _sums(rows: Tensor, group: Tensor, groups: int) -> Tensor:
    """Sums over the rows of each group, axes (group, sample)."""
    if groups == len(rows):
        return rows
    return rows.new_zeros((groups, rows.shape[1])).index_add_(0, group, rows)


def _snapped(values: Tensor) -> Tensor:
    """Rounded to a grid far above rounding errors, as `numpy_buckets` says."""
    return (values * GRID).round()


def _combined(digits: list[Tensor], levels: int) -> Tensor:
    total = torch.zeros_like(digits[0])
    for digit in digits:
        total = total * levels + digit
    return total


def _decorrelation(projected: Tensor) -> Tensor:
    """As in `numpy_buckets`: (unit, projection, sample) -> (unit, projection, projection)."""
    values = projected.to(torch.float64)
    scale, vectors = torch.linalg.eigh(values @ values.mT / values.shape[2])
    floor = (1e-6 * scale[:, -1:]).clamp(min=1e-12)
    roots = 1.0 / torch.maximum(scale, floor).sqrt()
    maps: Tensor = (vectors * roots[:, None]) @ vectors.mT
    return maps
