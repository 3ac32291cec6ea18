"""Parents fitted to each other through one inverse, in torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from onnxslim_snacs.arithmetic.kernels import Fitted, FloatArray, Starts
from onnxslim_snacs.arithmetic.shrunk import floor_of, shrinkage
from onnxslim_snacs.arithmetic.torch_arrays import put, taken
from onnxslim_snacs.torch_graph.late import torch

if TYPE_CHECKING:
    from torch import Tensor


def fitted(device: str, rows: FloatArray, starts: Starts | None, ridge: float | None) -> Fitted:
    """As `numpy_fits.fitted`."""
    here = put(rows, device)
    invert = _through_parents if here.shape[0] <= here.shape[1] else _through_samples
    inverse = invert(here, ridge)
    whole, diagonal = inverse.whole, inverse.diagonal
    if starts is None or len(starts) == len(rows):
        return Fitted(taken(whole), taken(diagonal), taken(whole / diagonal[:, None]))
    left = torch.empty_like(whole)
    for start, stop in pairwise([*starts.tolist(), len(rows)]):
        group = slice(start, stop)
        left[group] = torch.linalg.solve(inverse.block(group), whole[group])
    return Fitted(taken(whole), taken(diagonal), taken(left))


@dataclass(frozen=True, slots=True)
class _TorchInverse:
    """As in `numpy_fits`."""

    whole: Tensor
    diagonal: Tensor
    block: Callable[[slice], Tensor]


def _through_parents(rows: Tensor, ridge: float | None) -> _TorchInverse:
    """From the matrix over pairs of parents."""
    correlation = rows @ rows.T / rows.shape[1]
    own = taken(correlation.diagonal())
    share = _share(correlation, own, rows.shape[1]) if ridge is None else ridge
    floor = put(floor_of(own, share), str(rows.device))
    inverse = torch.linalg.inv((1.0 - share) * correlation + torch.diag(floor))
    return _TorchInverse(inverse @ rows, inverse.diagonal(), lambda group: inverse[group, group])


def _through_samples(rows: Tensor, ridge: float | None) -> _TorchInverse:
    """From the matrix over pairs of samples: (D + U U')^-1 = D^-1 - F F'."""
    samples = rows.shape[1]
    products = rows.T @ rows / samples
    own = taken(rows.square().mean(dim=1))
    share = _share(products, own, samples) if ridge is None else ridge
    floor = put(floor_of(own, share), str(rows.device))
    half = ((1.0 - share) / samples) ** 0.5
    scaled = half * rows / floor[:, None]
    one = torch.eye(samples, dtype=rows.dtype, device=rows.device)
    factor = torch.linalg.cholesky(one + half * (rows.T @ scaled))
    f = torch.linalg.solve_triangular(factor, scaled.T, upper=False).T

    def block(group: slice) -> Tensor:
        inner: Tensor = torch.diag(1.0 / floor[group]) - f[group] @ f[group].T
        return inner

    whole = rows / floor[:, None] - f @ (f.T @ rows)
    return _TorchInverse(whole, 1.0 / floor - f.square().sum(dim=1), block)


def _share(products: Tensor, own: FloatArray, samples: int) -> float:
    return shrinkage(float(products.square().sum()), own, samples)
