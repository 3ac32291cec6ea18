"""What goes along with a pass over the samples that somebody else makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from numpy.typing import NDArray


class Rider(Protocol):
    """Looks at activations while a model runs for another purpose: it runs once for both."""

    @property
    def tensors(self) -> Sequence[str]:
        """The tensors that it looks at, inputs of the model among them."""

    @property
    def samples(self) -> int:
        """How many samples it wants to see, the first ones."""

    def begin(self, size: int) -> None:
        """Forget what it has seen; runs of `size` samples follow."""

    def take(self, values: Mapping[str, NDArray[Any]]) -> None:
        """Look at one run: tensor -> value, of what it looks at at the least."""
