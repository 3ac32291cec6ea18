"""A reader whose units go one after the other, in numpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from onnxslim_snacs.arithmetic.kernels import FloatArray
from onnxslim_snacs.ir.types import BoolArray, IntArray

#: Share of a reader's features that may be gone before its matrices are made smaller.
GONE = 0.125


@dataclass(slots=True)
class NumpyReader:
    """A reader while its channels go: a block Cholesky factorisation of H^-1 that costs pivot.

    With F the rows of the factor that the features gone have left behind, the inverse of those left
    is start - F' F, of which only the blocks of single units and the columns of those that go are
    ever formed: a third of the work of keeping all of it.

    Attributes:
        start: (all features, all features) the inverse before anything has gone.
        places: (features,) of those that are left, and of some that are gone, in `start`.
        factor: (all features, features) F, of which the first `used` rows are there.
        used: how many features have gone.
        own: (units, features of a unit, features of a unit) each unit's block of the inverse.
        weight: (features, outputs) re-fitted, relative to the spread of the output.
        blocks: (units, features of a unit) places among `places`.
        here: (features,) whether each is left.
    """

    start: FloatArray
    places: IntArray
    factor: FloatArray
    used: int
    own: FloatArray
    weight: FloatArray
    blocks: IntArray
    here: BoolArray

    def costs(self, units: IntArray) -> FloatArray:
        """(units,) rise of the squared error when each unit alone goes next."""
        weight = self.weight[self.blocks[units]]
        squares, own = weight @ weight.transpose(0, 2, 1), self.own[units]
        found: FloatArray = np.trace(np.linalg.solve(own, squares), axis1=1, axis2=2)
        return found

    def take(self, units: IntArray) -> None:
        """Remove units, (units,) their positions, and re-fit what reads the others."""
        gone = self.blocks[units].reshape(-1)
        features = len(self.places)
        done = self.factor[: self.used]
        across = self.start[self.places[:, None], self.places[gone]] - done.T @ done[:, gone]
        solved = np.linalg.solve(_root(across[gone]), np.hstack([across.T, self.weight[gone]]))
        rows = solved[:, :features]
        self.weight -= rows.T @ solved[:, features:]
        parts = rows.T[self.blocks]
        self.own -= parts @ parts.transpose(0, 2, 1)
        self.factor[self.used : self.used + len(gone)] = rows
        self.used += len(gone)
        self.here[gone] = False
        if np.count_nonzero(self.here) <= (1 - GONE) * features:
            self._shrink()

    def _shrink(self) -> None:
        """Leave out the features that are gone."""
        left = np.flatnonzero(self.here)
        places = np.cumsum(self.here) - 1  # of features that are gone nobody asks any more
        self.places = self.places[left]
        rows = np.empty((len(self.factor), len(left)))
        np.take(self.factor[: self.used], left, axis=1, out=rows[: self.used])
        self.factor = rows
        self.weight = self.weight[left]
        self.blocks = places[self.blocks]
        self.here = np.ones(len(left), dtype=bool)


def open_reader(damped: FloatArray, weight: FloatArray, blocks: IntArray) -> NumpyReader:
    """A reader before anything has gone.

    Args:
        damped: (features, features) covariance of what it reads, with a ridge.
        weight: (features, outputs).
        blocks: (units, features of a unit) which features each unit is.
    """
    features = len(damped)
    start = _inverse(damped)
    return NumpyReader(
        start=start,
        places=np.arange(features),
        factor=np.empty((features, features)),
        used=0,
        own=start[blocks[:, :, None], blocks[:, None, :]],
        weight=np.array(weight),
        blocks=blocks,
        here=np.ones(features, dtype=bool),
    )


def _root(block: FloatArray) -> FloatArray:
    """R with R R' = block; rounding may have left eigenvalues that are not positive."""
    try:
        return np.asarray(np.linalg.cholesky(block), dtype=np.float64)
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(block)
        return np.asarray(vectors * np.sqrt(np.maximum(values, 1e-12 * values[-1])))


def _inverse(matrix: FloatArray) -> FloatArray:
    """(n, n) the inverse of a positive definite matrix, by Cholesky; by LU where that fails."""
    from scipy.linalg.lapack import dpotrf, dpotri

    factor, failed = dpotrf(matrix, lower=True)  # zeros above the diagonal stay where they are
    half, singular = (factor, failed) if failed else dpotri(factor, lower=True, overwrite_c=True)
    if failed or singular:
        return np.asarray(np.linalg.inv(matrix), dtype=np.float64)
    whole: FloatArray = half + np.tril(half, -1).T
    return whole
