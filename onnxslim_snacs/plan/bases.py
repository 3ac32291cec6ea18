"""The basis into which a residual stream was turned, as plain data.

It is a part of the plan, and not computed again from samples when the plan is replayed: another
library finds other eigenvectors, and `verify` has no samples.  Beside the weights it is small.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnxslim_snacs.config.fields import check_fields
from onnxslim_snacs.errors import UsageError, foreign

_STORED = np.dtype("<f4")


@dataclass(frozen=True, slots=True)
class StreamBasis:
    """The basis of one stream.

    Attributes:
        group: id of the stream's group in the model as it was before, where normalisations may
            lose channels.
        width: channels of the stream.
        values: base64 of (width, width) numbers, single precision, little-endian, row by row;
            column k is the new channel k in terms of the old ones.
    """

    group: str
    width: int
    values: str

    def __post_init__(self) -> None:
        """Hold the values against their types, and the numbers against the width."""
        check_fields(self)
        try:
            found = len(base64.b64decode(self.values, validate=True))
        except ValueError as error:
            raise UsageError(f"StreamBasis.values: no base64 ({error})") from None
        if self.width < 1 or found != self.width**2 * _STORED.itemsize:
            raise UsageError(
                f"StreamBasis.values: got {found} bytes for group {foreign(self.group)}, expected "
                f"{self.width} x {self.width} numbers of {_STORED.itemsize}"
            )
        if not np.isfinite(self.matrix()).all():
            raise UsageError("StreamBasis.values: expected finite numbers")

    def matrix(self) -> NDArray[np.float64]:
        """The numbers, (width, width)."""
        stored = np.frombuffer(base64.b64decode(self.values), _STORED)
        return stored.reshape(self.width, self.width).astype(np.float64)


def stream_basis(group: str, matrix: NDArray[np.float64]) -> StreamBasis:
    """A basis (width, width) as it is stored, rounded to single precision."""
    values = base64.b64encode(matrix.astype(_STORED).tobytes()).decode("ascii")
    return StreamBasis(group, len(matrix), values)
