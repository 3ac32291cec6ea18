"""How far a correlation matrix is drawn to the identity before it is inverted."""

from __future__ import annotations

import numpy as np

from onnxslim_snacs.arithmetic.kernels import FloatArray


def floor_of(own: FloatArray, share: float) -> FloatArray:
    """(parent,) what is added to the diagonal.

    A constant parent has an empty row: it keeps slope 0, and the inverse must exist.
    """
    return np.where(own > 0, share, 1.0) + 1e-10


def shrinkage(square: float, own: FloatArray, samples: int) -> float:
    """Give the oracle-approximating shrinkage towards a multiple of the identity.

    Args:
        square: sum of the squares of the correlation matrix.
        own: its diagonal.
        samples: from which it comes.
    """
    parents = len(own)
    trace = float(own.sum()) ** 2
    below = (samples + 1.0 - 2.0 / parents) * (square - trace / parents)
    if below <= 0:
        return 1.0 if parents > 1 else 0.0
    return min(1.0, ((1.0 - 2.0 / parents) * square + trace) / below)
