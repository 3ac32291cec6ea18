"""What goes along with a pass over the samples that somebody else makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from onnxslim_snacs.ops.analyse import Analysis


class Rider(Protocol):
    """Looks at activations while a model runs for another purpose: it runs once for both."""

    @property
    def tensors(self) -> Sequence[str]:
        """The tensors that it looks at, inputs of the model among them."""

    @property
    def samples(self) -> int:
        """How many samples it wants to see, of runs that lie evenly among all."""

    @property
    def anew(self) -> Callable[[Analysis], Rider]:
        """What makes it in another process, of the same model."""

    def begin(self, size: int) -> None:
        """Forget what it has seen; runs of `size` samples follow."""

    def look(self, number: int, values: Mapping[str, Any]) -> Any:
        """What there is to keep of run `number`, by it alone, whatever else has been seen.

        Args:
            number: of the run, from 0.
            values: tensor -> value, of what it looks at at the least; tensors of torch where that
                computes (`run.execute_staying`).
        """

    def take(self, seen: Any) -> None:
        """Take in what `look` has kept of a run; runs come in their order."""
