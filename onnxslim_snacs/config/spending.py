"""How much work a run is given: rows of regressions, and samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RowCount:
    """How many rows a regression takes.

    Attributes:
        each: for each of its features.
        least: at the least.
        most: at the most.
    """

    each: int
    least: int
    most: int

    def of(self, features: int) -> int:
        """Rows for so many features."""
        return min(self.most, max(self.least, self.each * features))


@dataclass(frozen=True, slots=True)
class Spending:
    """What a run may spend.

    Attributes:
        moments: rows of the second moments of what a layer reads, by which it is decided.
        refit: rows of the regression of a layer in the model that will be written.
        samples: that recovery looks at, at the most.
    """

    moments: RowCount
    refit: RowCount
    samples: int


#: What `--effort` may be.  Agreement on unseen images and CPU seconds of each are in
#: `benchmarks/speed/README.md`.  With 2^14 rows of second moments instead of 2^16, ResNet-20 at
#: half of its multiply-accumulates agreed on 92.1 instead of 92.9 % (three seeds).
EFFORTS: Mapping[str, Spending] = {
    "fast": Spending(RowCount(16, 1 << 13, 1 << 16), RowCount(16, 1 << 13, 1 << 15), 512),
    "normal": Spending(RowCount(16, 1 << 16, 1 << 16), RowCount(32, 1 << 15, 1 << 16), 1024),
}
NORMAL = EFFORTS["normal"]
