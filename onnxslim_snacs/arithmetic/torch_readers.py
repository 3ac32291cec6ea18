"""A reader whose units go one after the other, in torch: its matrices stay on the device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from onnxslim_snacs.arithmetic.kernels import FloatArray
from onnxslim_snacs.arithmetic.numpy_readers import GONE
from onnxslim_snacs.arithmetic.torch_arrays import put, taken
from onnxslim_snacs.ir.types import IntArray
from onnxslim_snacs.torch_graph.late import torch

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(slots=True)
class TorchReader:
    """As `numpy_readers.NumpyReader`, attribute by attribute."""

    start: Tensor
    places: Tensor
    factor: Tensor
    used: int
    own: Tensor
    weight: Tensor
    blocks: Tensor
    here: Tensor

    def costs(self, units: IntArray) -> FloatArray:
        """(units,) rise of the squared error when each unit alone goes next."""
        chosen = self._units(units)
        weight = self.weight[self.blocks[chosen]]
        solved = torch.linalg.solve(self.own[chosen], weight @ weight.mT)
        return taken(solved.diagonal(dim1=1, dim2=2).sum(dim=1))

    def take(self, units: IntArray) -> None:
        """Remove units, (units,) their positions, and re-fit what reads the others."""
        gone = self.blocks[self._units(units)].reshape(-1)
        features = len(self.places)
        done = self.factor[: self.used]
        across = self.start[self.places[:, None], self.places[gone]] - done.T @ done[:, gone]
        right = torch.hstack([across.T, self.weight[gone]])
        solved = _through_root(across[gone], right)
        rows = solved[:, :features]
        self.weight -= rows.T @ solved[:, features:]
        parts = rows.T[self.blocks]
        self.own -= parts @ parts.mT
        self.factor[self.used : self.used + len(gone)] = rows
        self.used += len(gone)
        self.here[gone] = False
        if int(self.here.sum()) <= (1 - GONE) * features:
            self._shrink()

    def _shrink(self) -> None:
        """Leave out the features that are gone."""
        left = self.here.nonzero()[:, 0]
        places = self.here.cumsum(dim=0) - 1
        self.places = self.places[left]
        rows = self.factor.new_empty((len(self.factor), len(left)))
        rows[: self.used] = self.factor[: self.used, left]
        self.factor = rows
        self.weight = self.weight[left]
        self.blocks = places[self.blocks]
        self.here = torch.ones_like(left, dtype=torch.bool)

    def _units(self, units: IntArray) -> Tensor:
        return put(units, str(self.start.device))


def open_reader(
    device: str, damped: FloatArray, weight: FloatArray, blocks: IntArray
) -> TorchReader:
    """As `numpy_readers.open_reader`."""
    start, places = _inverse(put(damped, device)), put(blocks, device)
    features = len(start)
    every = torch.arange(features, device=device)
    return TorchReader(
        start=start,
        places=every,
        factor=start.new_empty((features, features)),
        used=0,
        own=start[places[:, :, None], places[:, None, :]],
        weight=put(weight, device).clone(),
        blocks=places,
        here=torch.ones_like(every, dtype=torch.bool),
    )


def _through_root(block: Tensor, right: Tensor) -> Tensor:
    """R^-1 right with R R' = block; rounding may have left eigenvalues that are not positive."""
    factor, failed = torch.linalg.cholesky_ex(block)
    if not failed:
        solved: Tensor = torch.linalg.solve_triangular(factor, right, upper=False)
        return solved
    values, vectors = torch.linalg.eigh(block)
    roots = values.clamp(min=1e-12 * float(values[-1])).sqrt()
    found: Tensor = torch.linalg.solve(vectors * roots, right)
    return found


def _inverse(matrix: Tensor) -> Tensor:
    """(n, n) the inverse of a positive definite matrix, by Cholesky; by LU where that fails."""
    factor, failed = torch.linalg.cholesky_ex(matrix)
    found: Tensor = torch.linalg.inv(matrix) if failed else torch.cholesky_inverse(factor)
    return found
