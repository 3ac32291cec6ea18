"""Training by a teacher (method 6.3): AdamW on the distance of answers; the best average is kept.

The loss is the squared difference of the answers over their variance, the mean over the outputs
(Ba and Caruana 2014), or the cross-entropy of labels, or the sum of both; with `features` that of
what the two have at the ends of their blocks as well.  The rate rises for the
first steps and falls by a cosine; gradients are cut to a length; statistics of normalisations stay
until the end, where they are taken anew if that does better.  What is examined and kept is a moving
average of the weights.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from onnxslim_snacs.activations.inputs import ranks_classes
from onnxslim_snacs.activations.sources import Batch, CalibrationSource
from onnxslim_snacs.config import FinetuneConfig
from onnxslim_snacs.errors import UsageError
from onnxslim_snacs.progress import Progress
from onnxslim_snacs.torch_graph.answers import answer_tensors, chosen
from onnxslim_snacs.torch_graph.late import functional, torch
from onnxslim_snacs.torch_graph.network import Network, run
from onnxslim_snacs.training.augment import Mixed, augmented
from onnxslim_snacs.training.batch_statistics import statistics_anew
from onnxslim_snacs.training.checkpoint import Progressed, load_checkpoint, save_checkpoint
from onnxslim_snacs.training.fading import PERIOD, Fading
from onnxslim_snacs.training.features import feature_distance
from onnxslim_snacs.training.optimizer import cut_gradients, open_optimizer
from onnxslim_snacs.training.pace import interval, is_due, rate_at, share_done
from onnxslim_snacs.training.teacher import (
    Examiner,
    Standing,
    Teacher,
    paired,
)

if TYPE_CHECKING:
    from torch import Tensor

STOPPED = "stopped by the user"


@dataclass(frozen=True, slots=True)
class Trained:
    """What training has made.

    Attributes:
        best: the best weights by key; empty if none was better than the start.
        start: how the model stood before.
        end: how the best one stands.
        steps: that were done.
        seconds: that they took.
        stopped: why training ended before its time, "" if it did not.
        curve: (step, error, agreement) of each examination.
        anew: whether statistics of normalisations taken anew have done better, and are among the
            weights.
    """

    best: Mapping[str, Tensor]
    start: Standing
    end: Standing
    steps: int
    seconds: float
    stopped: str
    curve: tuple[tuple[int, float, float | None], ...]
    anew: bool = False


@dataclass(frozen=True)
class Course:
    """A training that is about to begin.

    Attributes:
        network: the student; its trained values are changed.
        teacher: answers.
        examiner: looks at the student every now and then.
        source: samples to train on.
        config: how.
        checkpoint: where to write down how it stands, and under which identity; None: nowhere.
        resume: whether to go on from there.
        stop: asked after each step whether to come to an end.
        progress: told (stage, done, total).
        fading: units that are to become zero.
    """

    network: Network
    teacher: Teacher
    examiner: Examiner
    source: CalibrationSource
    config: FinetuneConfig
    checkpoint: tuple[Path, str] | None
    resume: bool
    stop: Callable[[], bool]
    progress: Progress
    fading: Fading | None = None


def train(course: Course) -> Trained:
    """Train until the time is over, or somebody stops it.

    Raises:
        UsageError: labels are asked for, and there are none.
        InputRefused: torch cannot run the model on the samples, or the checkpoint is another's.
    """
    config, weights = course.config, course.network.parameters
    start = course.examiner.examine(course.network)
    optimizer = open_optimizer(course.network, config)
    state = _begin(course, weights, optimizer)
    end, stopped = start, ""
    if state.best:
        end = course.examiner.examine(course.network, state.best)
    every = interval(config)
    began = time.monotonic() - state.seconds
    while share_done(config, state) < 1.0:
        loss = _step(course, optimizer, state)
        state.seconds = time.monotonic() - began
        if not math.isfinite(loss):
            stopped = "the loss is no number any more"
            break
        if is_due(config, state, every):
            end = _examine(course, state, start, end)
            _note(course, state, weights, optimizer)
        _tell(course, state, loss)
        if course.stop():
            stopped = STOPPED
            break
    if not state.curve or state.curve[-1][0] != state.step:
        if stopped == STOPPED:
            # the look that follows is one that an uninterrupted training would not take
            _note(course, state, weights, optimizer)
        end = _examine(course, state, start, end)
    if course.fading is not None and not state.best:
        state.best = {key: value.clone() for key, value in state.average.items()}
    best, end, anew = (state.best, end, False) if stopped else _with_statistics(course, state, end)
    curve = tuple(state.curve)
    return Trained(
        best=best,
        start=start,
        end=end,
        steps=state.step,
        seconds=state.seconds,
        stopped=stopped,
        curve=curve,
        anew=anew,
    )


def _with_statistics(
    course: Course, state: Progressed, end: Standing
) -> tuple[Mapping[str, Tensor], Standing, bool]:
    """The best weights, with statistics of normalisations taken anew if these do better."""
    network, loss = course.network, course.config.loss
    if not state.best:
        return state.best, end, False
    anew = statistics_anew(network, state.best, course.source, course.config.batch)
    if not anew:
        return state.best, end, False
    changed = {**state.best, **anew}
    now = course.examiner.examine(network, changed)
    better = now.may_replace(end, loss)
    return (changed, now, True) if better else (state.best, end, False)


def _begin(
    course: Course, weights: Mapping[str, Tensor], optimizer: torch.optim.AdamW
) -> Progressed:
    """The first state, or the one of the checkpoint."""
    if course.resume and course.checkpoint is not None:
        path, identity = course.checkpoint
        state = load_checkpoint(path, identity)
        with torch.no_grad():
            for key, value in weights.items():
                value.copy_(state.weights[key])
        optimizer.load_state_dict(state.optimizer)
        return state
    copies = {key: value.detach().clone() for key, value in weights.items()}
    return Progressed(0, 0.0, {}, copies)


def _step(course: Course, optimizer: torch.optim.AdamW, state: Progressed) -> float:
    """One batch; the loss."""
    config = course.config
    factor = rate_at(share_done(config, state), config.warmup)
    for group in optimizer.param_groups:
        group["lr"] = config.rate * factor * group["scale"]
    batch = batch_at(course.source, state.step, config.batch, config.seed)
    rng = np.random.default_rng([config.seed, state.step, 1])
    changed = augmented(batch.inputs, course.source.specs, config.augment, rng)
    loss = _loss(course, batch, changed)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    cut_gradients(optimizer, config.clip)
    weights = course.network.parameters
    before = course.fading.rows(weights) if course.fading else {}
    optimizer.step()
    state.step += 1
    # young averages forget faster, for they begin with what was there before
    keep = min(config.average, (1 + state.step) / (10 + state.step))
    with torch.no_grad():
        for key, value in weights.items():
            state.average[key].lerp_(value, 1 - keep)
        if course.fading is not None:
            share = share_done(config, state)
            course.fading.fade(weights, before, config.rate * factor, share, state.average)
    return float(loss.detach())


def batch_at(source: CalibrationSource, step: int, size: int, seed: int) -> Batch:
    """The samples of a step: every epoch goes through all of them in an order of its own."""
    size = min(source.fixed_batch or size, source.samples)
    epoch, place = divmod(step, max(1, source.samples // size))
    order = np.random.default_rng([seed, epoch]).permutation(source.samples)
    rows = source.order[order[place * size : (place + 1) * size]]
    return next(iter(replace(source, order=rows).batches(size)))


def _loss(course: Course, batch: Batch, changed: Mixed) -> Tensor:
    config = course.config
    names, features = answer_tensors(course.network.graph), course.teacher.features
    seen = run(course.network, changed.inputs, watched=(*names.values(), *features)).watched
    answers = chosen(seen, names)
    parts = []
    told, shown = course.teacher.lesson(changed.inputs)
    if config.features:
        distance = feature_distance(seen, shown, batch.size)
        parts.extend([] if distance is None else [config.features * distance])
    if config.loss != "labels":
        pairs = paired(answers, told, batch.size)
        spreads = [course.examiner.spread[output] for output in answers]
        distances = [
            (a - b).square().mean() / scale for (a, b), scale in zip(pairs, spreads, strict=True)
        ]
        parts.append(torch.stack(distances).mean())
    if config.loss != "distil":
        parts.append(_cross_entropy(answers, batch, changed))
    return torch.stack(parts).sum()


def _cross_entropy(answers: Mapping[str, Tensor], batch: Batch, changed: Mixed) -> Tensor:
    """Of the labels; of a mixed sample, of both by their shares."""
    ranked = [y for y in answers.values() if ranks_classes(y.shape)]
    if batch.labels is None or not ranked:
        raise UsageError("--labels: the data hold no labels, or no output ranks classes")
    scores = ranked[0].flatten(1)[: batch.size]
    labels: NDArray[Any] = batch.labels
    share = torch.from_numpy(changed.share[: batch.size]).to(scores)
    own, other = (
        functional.cross_entropy(scores, torch.from_numpy(side).to(scores.device), reduction="none")
        for side in (labels, labels[np.minimum(changed.other[: batch.size], len(labels) - 1)])
    )
    mixed: Tensor = ((1 - share) * own + share * other).mean()
    return mixed


def _examine(course: Course, state: Progressed, start: Standing, end: Standing) -> Standing:
    """Look at the average, and keep it if nothing has got worse and it is the best so far."""
    now = course.examiner.examine(course.network, state.average)
    state.curve.append((state.step, now.error, now.agreement))
    loss = course.config.loss
    if course.fading is not None:
        # what came in is larger: it is no measure, and before all have come to zero nothing is
        if share_done(course.config, state) < PERIOD:
            return now
    elif not now.may_replace(start, loss):
        return end
    if now.value(loss) >= state.best_value:
        return end
    state.best_value = now.value(loss)
    state.best = {key: value.clone() for key, value in state.average.items()}
    return now


def _note(
    course: Course,
    state: Progressed,
    weights: Mapping[str, Tensor],
    optimizer: torch.optim.AdamW,
) -> None:
    """Write down how training stands."""
    if course.checkpoint is None:
        return
    now = {key: value.detach() for key, value in weights.items()}
    state = replace(state, weights=now, optimizer=optimizer.state_dict())
    save_checkpoint(*course.checkpoint, state)


def _tell(course: Course, state: Progressed, loss: float) -> None:
    said = f"finetune: loss {loss:.4f}"
    if state.curve:
        _, error, agreement = state.curve[-1]
        said += f", held out {error:.4f}"
        said += "" if agreement is None else f", agreement {100 * agreement:.1f} %"
    done = min(1.0, share_done(course.config, state))
    course.progress(said, round(1000 * done), 1000)
