"""Cells of hashed samples, counted for many pairs at once, in torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from onnxslim_snacs.arithmetic.kernels import Buckets, FloatArray, Placed, Rows
from onnxslim_snacs.arithmetic.torch_arrays import put, taken
from onnxslim_snacs.torch_graph.late import torch

if TYPE_CHECKING:
    from torch import Tensor

#: Cells of one block in single precision: 2 MB, about the cache of a core; 256 MB on a card.
_BLOCK_CELLS = {"cpu": 1 << 19, "cuda": 1 << 26}
_TINY = 1e-12  # keeps the 0/0 of cells without mass at 0


def counter(
    device: str, indicators: Rows, kinds: int, edges_only: bool, cell_weights: Rows | None
) -> Callable[[Buckets, Buckets], FloatArray]:
    """As `numpy_cells.counter`; the indicators stay on the device."""
    every = put(indicators, device)
    phi = None if cell_weights is None else put(cell_weights, device)
    samples, columns = every.shape
    plain = phi is None and not edges_only

    def count(y: Buckets, z: Buckets) -> FloatArray:
        y_here, z_here = put(y, device), put(z, device)
        parents, y_kinds = len(y), int(y.max()) + 1
        total = every.new_zeros((columns // kinds, parents), dtype=torch.float64)
        step = max(1, _BLOCK_CELLS[device] // (kinds * y_kinds * parents)) * kinds
        for bucket in range(int(z.max()) + 1):
            member = z_here == bucket
            rows = member.any(dim=0).nonzero()[:, 0]
            side, y_counts = _parent_side(y_here[:, rows], member[:, rows], y_kinds)
            y_shares = y_counts / y_counts.sum(dim=0).clamp(min=1.0)  # P(y | z)
            child_side = every[rows].T
            weights = None if phi is None else phi[:kinds, :y_kinds, bucket]
            for start in range(0, columns, step):
                shares = child_side[start : start + step] @ side.T  # P(x | y, z)
                shares = shares.reshape(-1, kinds, y_kinds, parents)
                expected = torch.einsum("cijp,jp->cip", shares, y_shares).clamp(min=_TINY)
                children = slice(start // kinds, (start + step) // kinds)
                if plain:
                    total[children] += _overlap(shares, expected, y_counts)
                else:
                    total[children] += _distance(shares, expected, y_counts, edges_only, weights)
        information = total / (2.0 * samples)
        return taken((1.0 - 4.0 * information).clamp(min=0.0) if plain else information)

    return count


def _parent_side(chosen: Tensor, member: Tensor, kinds: int) -> tuple[Tensor, Tensor]:
    """Indicators over their counts, (y bucket x parent, sample), and counts (y bucket, parent)."""
    side = torch.cat([((chosen == kind) & member).to(torch.float32) for kind in range(kinds)])
    counts = side.sum(dim=1, keepdim=True)
    return side / counts.clamp(min=1.0), counts.reshape(kinds, len(chosen))


def _overlap(shares: Tensor, expected: Tensor, y_counts: Tensor) -> Tensor:
    """As in `numpy_cells`."""
    within = shares / (shares + expected[:, :, None])
    sums = torch.einsum("cijp,jp->cip", within, y_counts)
    return (sums * expected).sum(dim=1)


def _distance(
    shares: Tensor, expected: Tensor, y_counts: Tensor, edges_only: bool, weights: Tensor | None
) -> Tensor:
    """As in `numpy_cells`."""
    terms = (shares - expected[:, :, None]).square() / (shares + expected[:, :, None])
    if edges_only:
        terms = terms * (shares > 0)
    if weights is not None:
        terms = terms * weights[:, :, None]
    return torch.einsum("cijp,jp->cp", terms, y_counts)


def overlaps(device: str, left: Rows, own: Rows, cuts: Rows) -> Callable[[Placed], FloatArray]:
    """As `numpy_cells.overlaps`; remainders stay on the device."""
    left_here, own_here, edges = (put(a, device) for a in (left, own, cuts))

    def overlap(pairs: Placed) -> FloatArray:
        among, scale, share = (put(a, device) for a in (pairs.among, pairs.scale, pairs.share))
        u = left_here[among] * scale[:, :, None]
        u += share[:, :, None] * own_here[pairs.parents][:, None]
        return taken(_of_cells(u, put(pairs.places, device), edges))

    return overlap


def _of_cells(u: Tensor, places: Tensor, cuts: Tensor) -> Tensor:
    """As in `numpy_cells`."""
    parents, children, samples = u.shape
    kinds = len(cuts) + 1
    codes = torch.bucketize(u, cuts, right=True)  # how many cuts are no larger
    pairs = torch.arange(parents * children, device=u.device).reshape(parents, children, 1)
    cells = codes * kinds + places[:, None] + pairs * kinds**2
    counts = torch.bincount(cells.reshape(-1), minlength=parents * children * kinds**2)
    n = counts.reshape(parents, children, kinds, kinds).to(torch.float64)
    expected = n.sum(dim=3, keepdim=True) * (n.sum(dim=2, keepdim=True) / samples)
    overlap = (expected * n / (n + expected).clamp(min=_TINY)).sum(dim=(2, 3))
    return (1.0 - 2.0 * overlap / samples).clamp(min=0.0)
