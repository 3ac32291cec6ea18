"""How far a training is: by its steps, or by the time that they took."""

from __future__ import annotations

import math

from onnxslim_snacs.config import FinetuneConfig
from onnxslim_snacs.training.checkpoint import Progressed

#: Examinations of a training, and the least number of steps between two.
EXAMINATIONS, LEAST_STEPS = 40, 10


def share_done(config: FinetuneConfig, state: Progressed) -> float:
    """How much of the training is done."""
    if config.steps is not None:
        return state.step / config.steps
    return state.seconds / (60.0 * config.minutes)


def rate_at(share: float, warmup: float) -> float:
    """The factor of the learning rate: a line up to 1, then half a cosine down to 0."""
    if share < warmup:
        return (share + 1e-3) / (warmup + 1e-3)
    return 0.5 * (1.0 + math.cos(math.pi * (share - warmup) / (1.0 - warmup)))


def interval(config: FinetuneConfig) -> int | None:
    """Steps between examinations; None where time decides."""
    return None if config.steps is None else max(LEAST_STEPS, config.steps // EXAMINATIONS)


def is_due(config: FinetuneConfig, state: Progressed, every: int | None) -> bool:
    """Whether it is time to look at the student."""
    if every is not None:
        return state.step % every == 0
    return share_done(config, state) >= (len(state.curve) + 1) / EXAMINATIONS
