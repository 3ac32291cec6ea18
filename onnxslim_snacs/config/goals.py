"""The goals that a run may have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from onnxslim_snacs.config.checks import MAX_DROP


@dataclass(frozen=True, slots=True)
class Ratio:
    """Remove the share `share` of the units of every group."""

    share: float


@dataclass(frozen=True, slots=True)
class Budget:
    """Keep no more than these shares of the original's costs.

    Attributes:
        shares: params, macs, bytes or latency -> share to keep; all have to hold at once.
        allow_slower: with a share for latency, write a model even if it is not faster.
    """

    shares: Mapping[str, float]
    allow_slower: bool = False

    @property
    def counted(self) -> Mapping[str, float]:
        """The budgets that are counted and not measured."""
        return {name: share for name, share in self.shares.items() if name != "latency"}


@dataclass(frozen=True, slots=True)
class Drop:
    """Remove what can go at a drop of at most `most`."""

    most: float = MAX_DROP


#: What a run is to reach.
Goal = Ratio | Budget | Drop
