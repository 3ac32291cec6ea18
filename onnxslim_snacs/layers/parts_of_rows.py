"""Means and covariances of rows that come in parts, each part about its own mean.

With n_b rows, mean m_b and products C_b about it in part b, the products of all N rows about their
mean M are the sum of C_b and of n_b (m_b - M)(m_b - M)^T (Chan, Golub and LeVeque 1983).  Products
are taken in single precision and summed in double precision; nothing is lost where a feature hardly
varies.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from onnxslim_snacs.arithmetic.current import arithmetic
from onnxslim_snacs.layers.moments import FloatArray, Rows

#: Rows of a matrix of products that are kept together, from their diagonal on: it is symmetric.
STRIP = 128


@dataclass(frozen=True, slots=True)
class Multiplied:
    """Some rows, multiplied out.

    Attributes:
        rows: how many.
        mean: (features,).
        products: the upper triangle of (features, features) about the mean, in strips of rows that
            begin at their diagonal.
    """

    rows: int
    mean: FloatArray
    products: tuple[Rows, ...]


def part_of(rows: Rows) -> Multiplied:
    """Multiply out (rows, features), of which there has to be one."""
    mean, products = arithmetic().about_mean(rows)
    strips = (products[start:stop, start:].copy() for start, stop in _strips(len(mean)))
    return Multiplied(len(rows), mean, tuple(strips))


@dataclass(slots=True)
class Parts:
    """The sum of parts.

    Attributes:
        rows: of each.
        means: of each, (features,).
        products: (features, features), of which the strips are filled.
    """

    rows: list[int] = field(default_factory=list)
    means: list[FloatArray] = field(default_factory=list)
    products: FloatArray | None = None

    def add(self, part: Multiplied) -> None:
        """Take in a part."""
        self.rows.append(part.rows)
        self.means.append(part.mean)
        features = len(part.mean)
        if self.products is None:
            self.products = np.zeros((features, features))
        for (start, stop), strip in zip(_strips(features), part.products, strict=True):
            self.products[start:stop, start:] += strip

    def finish(self) -> tuple[FloatArray, FloatArray] | None:
        """Mean (features,) and covariance (features, features); None without rows.

        The sum is given away.
        """
        products, self.products = self.products, None
        if products is None:
            return None
        for start, stop in _strips(len(products)):
            products[stop:, start:stop] = products[start:stop, stop:].T
        rows = np.array(self.rows, dtype=np.float64)
        means = np.stack(self.means)
        mean = rows @ means / rows.sum()
        between = np.sqrt(rows)[:, None] * (means - mean)
        products += between.T @ between
        products /= rows.sum()
        return mean, products


def _strips(features: int) -> Iterator[tuple[int, int]]:
    return ((start, min(start + STRIP, features)) for start in range(0, features, STRIP))
