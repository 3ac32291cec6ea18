"""How many of the samples are different ones: copies of a sample tell no more than the sample."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np

from onnxslim_snacs.activations.sources import Batch, CalibrationSource
from onnxslim_snacs.errors import InputRefused, foreign

#: Samples that are looked at; a random choice, if there are more.
MOST = 1024
#: Fewer different samples than this, or than half of all, are worth a word.
_FEW = 8


def count_distinct(source: CalibrationSource, most: int = MOST) -> tuple[int, int]:
    """(samples that were looked at, how many of them are different).

    Args:
        source: the samples.
        most: how many to look at.
    """
    part = source.part(0, most)
    seen = {digest for batch in part.batches() for digest in _digests(batch)}
    return part.samples, len(seen)


def _digests(batch: Batch) -> list[bytes]:
    """A digest of all inputs for each sample."""
    if batch.size == 1:  # which may have no dimension for samples
        rows = [[np.ascontiguousarray(value) for value in batch.inputs.values()]]
    else:
        turned = [np.moveaxis(v, batch.axes.get(n, 0), 0) for n, v in batch.inputs.items()]
        rows = [[np.ascontiguousarray(v[k]) for v in turned] for k in range(batch.size)]
    return [_digest(row) for row in rows]


def _digest(values: list[np.ndarray[tuple[int, ...], np.dtype[np.generic]]]) -> bytes:
    digest = blake2b(digest_size=16)
    for value in values:
        digest.update(str(value.tolist()).encode() if value.dtype.hasobject else value.data)
    return digest.digest()


def require_different(source: CalibrationSource) -> str | None:
    """Refuse samples that are all the same; what there is to say of few different ones.

    Raises:
        InputRefused: there are several samples, and all are the same.
    """
    if source.is_random:
        return None
    samples, different = count_distinct(source)
    if different == 1 and samples > 1:
        raise InputRefused(
            f"{foreign(source.name)}: all of {samples} samples are the same, so that they say no "
            "more than one does: give different ones"
        )
    if different < _FEW or 2 * different < samples:
        return (
            f"{foreign(source.name)}: only {different} of {samples} samples are different, and "
            "what is measured on them says little: a few hundred different ones are enough"
        )
    return None
