"""What gradients are taken of: the error against labels, or without labels, random signs.

For answers y of any shape and random signs v, the gradient of v'y has v'J as its value and the
diagonal of J'J as its mean square: the Fisher information of answers with noise of one size, which
needs no labels.  Labels that the model gives itself say little, for it is nearly always sure of
them, and the divergence from its own answers has no gradient at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from onnxslim_snacs.activations.inputs import ranks_classes
from onnxslim_snacs.activations.sources import Batch
from onnxslim_snacs.errors import UsageError
from onnxslim_snacs.scores.criterion import Option, ScoreContext
from onnxslim_snacs.scores.unit_gates import Losses
from onnxslim_snacs.torch_graph.late import functional, torch

if TYPE_CHECKING:
    from torch import Tensor

LOSSES = ("auto", "labels", "signs")


def _read_loss(text: str) -> str:
    if text not in LOSSES:
        raise ValueError(f"expected one of {', '.join(LOSSES)}")
    return text


def _read_draws(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError("expected at least 1")
    return number


LOSS = Option("loss", _read_loss, "labels, signs, or auto: labels where there are some")
DRAWS = Option("draws", _read_draws, "random signs that are drawn for each sample")


@dataclass(slots=True)
class Signs:
    """Sums of the answers under random signs.

    Attributes:
        seed: of the signs.
        draws: how many.
        shared: draw the same signs for all samples, so that gradients of several may be summed.
        spread: output -> its standard deviation in the first batch: outputs count alike.
        drawn: batches so far.
    """

    seed: int = 0
    draws: int = 2
    shared: bool = False
    spread: dict[str, float] = field(default_factory=dict)
    drawn: int = 0

    def __call__(self, outputs: Mapping[str, Tensor], batch: Batch) -> Sequence[Tensor]:
        """One loss for each draw."""
        number = 0 if self.shared else self.drawn
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + number)
        self.drawn += 1
        losses = []
        for _ in range(self.draws):
            parts = [self._signed(name, y, generator) for name, y in outputs.items()]
            losses.append(torch.stack(parts).sum())
        return losses

    def _signed(self, name: str, y: Tensor, generator: torch.Generator) -> Tensor:
        if name not in self.spread:
            self.spread[name] = float(y.detach().std(correction=0)) or 1.0
        shape = y.shape[1:] if self.shared and y.ndim else y.shape
        signs = torch.randint(0, 2, shape, generator=generator) * 2 - 1
        return (y * signs.to(y)).sum() / self.spread[name]


def cross_entropy(outputs: Mapping[str, Tensor], batch: Batch) -> Sequence[Tensor]:
    """The cross-entropy of the labels, summed over samples.

    Raises:
        UsageError: no output ranks classes, or there are no labels.
    """
    ranked = [y for y in outputs.values() if ranks_classes(y.shape)]
    if not ranked or batch.labels is None:
        raise UsageError(
            "--option loss=labels: the data hold no labels, or no output ranks classes"
        )
    scores = ranked[0].flatten(1)[: batch.size]
    labels = torch.from_numpy(batch.labels).to(scores.device)
    return [functional.cross_entropy(scores, labels, reduction="sum")]


def choose_losses(
    context: ScoreContext, loss: str, *, draws: int, shared: bool = False
) -> tuple[str, Losses]:
    """(its name, the loss): of labels where there are some, unless the user says otherwise.

    Args:
        context: the model and its samples.
        loss: auto, labels or signs.
        draws: of signs.
        shared: whether all samples get the same signs.
    """
    has = context.source.has_labels and context.source.classes is not None
    if loss == "labels" or (loss == "auto" and has):
        return "labels", cross_entropy
    return "signs", Signs(context.seed, draws, shared)
