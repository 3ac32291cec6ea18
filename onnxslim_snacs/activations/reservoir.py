"""A uniform choice among any number of samples, in constant memory.

Every sample's number is hashed to a key, and those with the smallest keys are kept (bottom-k
sampling).  So the choice depends neither on the order of the samples nor on how they are cut into
batches, and the choice from a union is the choice from the two choices.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

_K = TypeVar("_K", bound=Hashable)


def row_keys(index: NDArray[np.int64], seed: int) -> NDArray[np.uint64]:
    """(row,) keys that look random: the finaliser of SplitMix64 (Steele, Lea and Flood, 2014).

    Args:
        index: (row,) numbers of the samples.
        seed: another seed makes another choice.
    """
    offset = (seed + 1) * 0x9E3779B97F4A7C15 % 2**64
    z = (index.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) ^ np.uint64(offset)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def smallest(keys: NDArray[np.uint64], cap: int) -> NDArray[np.int64]:
    """(at most `cap`,) positions of the smallest keys, ascending."""
    if len(keys) <= cap:
        return np.arange(len(keys))
    return np.sort(np.argpartition(keys, cap - 1)[:cap])


@dataclass
class Reservoir(Generic[_K]):
    """Rows of the samples with the smallest keys.

    Attributes:
        cap: how many to keep at the most.
        seed: of the choice.
        index: (row,) numbers of the samples that are kept, in no order.
        labels: (row,) their classes; None as long as none are known.
        buffers: what the rows are of -> (cap, channel), filled up to the number of samples.
    """

    cap: int
    seed: int
    index: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    labels: NDArray[np.int64] | None = None
    buffers: dict[_K, NDArray[np.float32]] = field(default_factory=dict)

    def add(
        self,
        index: NDArray[np.int64],
        rows: Mapping[_K, NDArray[Any]],
        labels: NDArray[np.int64] | None = None,
    ) -> None:
        """Offer samples.

        Args:
            index: (sample,) their numbers.
            rows: what the rows are of -> (sample, channel).
            labels: (sample,) their classes, if known; all samples have them or none.
        """
        held = len(self.index)
        union = np.concatenate([self.index, index])
        chosen = smallest(row_keys(union, self.seed), self.cap)
        coming = chosen[chosen >= held] - held
        leaving = np.setdiff1d(np.arange(held), chosen, assume_unique=True)
        slots = np.concatenate([leaving, np.arange(held, len(chosen))])
        self.index = _placed(self.index, slots, index[coming], len(chosen))
        if labels is not None:
            before = np.empty(0, np.int64) if self.labels is None else self.labels
            self.labels = _placed(before, slots, labels[coming], len(chosen))
        for key, values in rows.items():
            if key not in self.buffers:
                # pages that are never written to cost nothing
                self.buffers[key] = np.empty((self.cap, values.shape[1]), np.float32)
            self.buffers[key][slots] = values[coming]

    def sorted_rows(
        self,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64] | None, dict[_K, NDArray[np.float32]]]:
        """(row,) numbers, (row,) classes and (row, channel) rows of what is kept; empties it."""
        order = np.argsort(self.index)
        labels = None if self.labels is None else self.labels[order]
        rows = {key: self.buffers.pop(key)[order] for key in list(self.buffers)}
        return self.index[order], labels, rows


def _placed(
    values: NDArray[np.int64], slots: NDArray[np.int64], new: NDArray[np.int64], length: int
) -> NDArray[np.int64]:
    result = np.resize(values, length) if len(values) else np.empty(length, np.int64)
    result[slots] = new
    return result
