"""What both arithmetics compute, and to what tolerance they agree.

Products of rows are taken in single precision and summed in double precision, equations are solved
in double precision, in both.  What differs is the order of sums: results of double precision agree
to 1e-8 of their size unless a matrix is singular, products in single precision to 1e-5; numbers of
buckets are the same but for values on the edge of two.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from onnxslim_snacs.ir.types import BoolArray, IntArray

FloatArray: TypeAlias = npt.NDArray[np.float64]
Rows: TypeAlias = npt.NDArray[np.float32]
Buckets: TypeAlias = npt.NDArray[np.uint8]  # (unit, sample)
Starts: TypeAlias = npt.NDArray[np.intp]

#: right (g, n, o) -> (A + ridge I)^-1 right, for the matrices (g, n, n) of some equations.
Solver = Callable[[FloatArray], FloatArray]


class RowSums(NamedTuple):
    """Sums over rows of features x and targets t, one block for each group.

    Attributes:
        x: (g, d) sum of x.
        t: (g, o) sum of t.
        xx: (g, d, d) sum of x x^T.
        xt: (g, d, o) sum of x t^T.
        tt: (g, o) sum of t^2, in double precision.
    """

    x: Rows
    t: Rows
    xx: Rows
    xt: Rows
    tt: FloatArray


@dataclass(frozen=True, slots=True)
class FlatAim:
    """What outputs have to come to in front of an activation that is flat somewhere.

    Attributes:
        t: (n, o) the targets, those in a flat part moved to its edge.
        low: (n or 1, o) the edge of the lower flat part.
        high: (n or 1, o) that of the upper one.
        below: (n, o) whether the target lies in the lower one; None without one.
        above: (n, o) likewise.
    """

    t: Rows
    low: Rows
    high: Rows
    below: BoolArray | None
    above: BoolArray | None


class Fit(NamedTuple):
    """A linear map of features to outputs.

    Attributes:
        weight: (d, o).
        bias: (o,).
    """

    weight: FloatArray
    bias: FloatArray


class Emptied(Protocol):
    """A reader while its units go, one after the other (`scores.refit`)."""

    def costs(self, units: IntArray) -> FloatArray:
        """(units,) trace(W_b' (H^-1_bb)^-1 W_b), the rise of the error as each alone goes next."""

    def take(self, units: IntArray) -> None:
        """Remove units, (units,) their positions, and re-fit what reads the others."""


class Fitted(NamedTuple):
    """What parents' inverse correlation P makes of them.

    Attributes:
        whole: P times the rows, axes (parent, sample).
        precision: the diagonal of P, (parent,).
        left: what the other parents leave of each, axes (parent, sample).
    """

    whole: FloatArray
    precision: FloatArray
    left: FloatArray


class Placed(NamedTuple):
    """Children and some parents whose remainders are compared, for `Arithmetic.overlaps`.

    Attributes:
        among: the children for each parent, axes (parent, child).
        scale: of what the parents leave of each of them, likewise.
        share: of the parent's remainder in each of them, likewise.
        parents: which parents.
        places: buckets of the parents' remainders, axes (parent, sample).
    """

    among: npt.NDArray[np.intp]
    scale: Rows
    share: Rows
    parents: slice
    places: Buckets


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """Functions that compute on one device.

    Attributes:
        name: numpy or torch.
        device: cpu or cuda.
        about_mean: rows (n, d) -> their mean (d,), and the products (d, d) of the rows about it.
        with_each_other: rows (n, d) -> their products (n, n).
        row_sums: rows x (g, n, d) and t (g, n, o), shifted -> their sums.
        root: a matrix (n, n), a floor for its eigenvalues -> lower L (n, n) with L L' the matrix.
        solver: symmetric matrices (g, n, n) without negative eigenvalues but those of rounding,
            ridges (g,) above zero -> how equations are solved with their sums.
        refined: features (n, d), their mean (d,), the aim, a fit to begin with, the solver of a
            step, how many steps -> the fit after majorisation (`recovery.clipped`).
        open_reader: a damped covariance (features, features), weights (features, outputs), blocks
            (units, features of a unit) -> the reader before anything has gone.
        fitted: rows (parent, sample), the first parent of each group or None, shrinkage or None ->
            every parent, or group of parents, fitted to the others (`scores.snacs.linear`).
        quantile_buckets: values (unit, sample), a number of levels -> every row cut at its own
            quantiles.
        hash_groups: rows (channel, sample), weights (projection, channel), the first channel of
            each group, levels -> each group of channels hashed, (group, sample).
        hash_outside: rows (channel, sample), weights (channel, projection), the first channel of
            each group, levels -> for each group, what is outside it hashed, (group, sample).
        counter: indicators (sample, child x bucket), buckets of a child, whether observed cells
            alone count, weights (x, y, z) of cells or None -> of y and z, axes (parent, sample),
            the information (child, parent) (`scores.snacs.counting`).
        overlaps: what parents leave of children (child, sample), the parents' remainders (parent,
            sample), cuts between the buckets of children -> of some pairs 1 - 2/N sum n e / (n + e)
            over their cells, axes (parent, child) (`scores.snacs.residual`).
    """

    name: str
    device: str
    about_mean: Callable[[Rows], tuple[FloatArray, Rows]]
    with_each_other: Callable[[Rows], Rows]
    row_sums: Callable[[Rows, Rows], RowSums]
    root: Callable[[FloatArray, float], FloatArray]
    solver: Callable[[FloatArray, FloatArray], Solver]
    refined: Callable[[Rows, FloatArray, FlatAim, Fit, Solver, int], Fit]
    open_reader: Callable[[FloatArray, FloatArray, IntArray], Emptied]
    fitted: Callable[[FloatArray, Starts | None, float | None], Fitted]
    quantile_buckets: Callable[[Rows, int], Buckets]
    hash_groups: Callable[[Rows, Rows, Starts, int], Buckets]
    hash_outside: Callable[[Rows, FloatArray, Starts, int], Buckets]
    counter: Callable[[Rows, int, bool, Rows | None], Callable[[Buckets, Buckets], FloatArray]]
    overlaps: Callable[[Rows, Rows, Rows], Callable[[Placed], FloatArray]]

    @property
    def title(self) -> str:
        """What a report says."""
        return self.name if self.name == "numpy" else f"{self.name} on {self.device}"
