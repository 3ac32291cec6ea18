"""Collect the rows of a layer's regression from two runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import inf, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxslim_snacs.ir.keep import KeepMap
from onnxslim_snacs.ir.types import Axis, IntArray
from onnxslim_snacs.layers.moments import Rows
from onnxslim_snacs.layers.rows import layer_rows, some_of, target_rows
from onnxslim_snacs.layers.walk import Walk
from onnxslim_snacs.model.bounds import working_memory
from onnxslim_snacs.recovery.bilinear import mixing
from onnxslim_snacs.recovery.effort import Effort
from onnxslim_snacs.recovery.kernel import FEATURES
from onnxslim_snacs.recovery.kernel import ROWS as KERNEL_ROWS
from onnxslim_snacs.recovery.regression import Regression
from onnxslim_snacs.recovery.tasks import Task

#: Numbers that the features of a regression may hold.
NUMBERS = 1 << 27
#: One batch in so many is not fitted to, but judged by.
HELD_OUT = 5

Part = tuple[Rows, Rows, Rows]


def gather(
    task: Task,
    keep: KeepMap,
    original: Walk,
    present: Walk,
    rng: np.random.Generator,
    effort: Effort,
) -> Regression | None:
    """The regression of one layer; None if the cut model has other rows than the original.

    Args:
        task: the layer.
        keep: what the plan keeps.
        original: a run of the original, in which the target is alive.
        present: a run of the cut model, in which what the task reads is alive.
        rng: for the choice of rows.
        effort: how many rows.
    """
    groups, features, _ = task.now.weight.shape
    numbers = groups * features if task.wide else task.layer.outputs
    rows = wanted_rows(features, effort) if task.wide else effort.rows.most
    cap = rows_of_batch(rows, numbers, original.batches)
    parts = _parts(task, keep, original, present, rng, cap)
    return joined(parts, original.batches, task.tail.low, task.tail.high)


def wanted_rows(features: int, effort: Effort) -> int:
    """How many rows a regression on so many features takes."""
    if features > FEATURES:
        return KERNEL_ROWS
    return effort.rows.of(features)


def rows_of_batch(rows: int, numbers: int, batches: int) -> int:
    """How many rows to take from each batch, of all output positions of its samples.

    Args:
        rows: that are wanted in all.
        numbers: that a row holds over all groups.
        batches: how many there are.
    """
    room = min(NUMBERS, working_memory() // 8)
    return max(1, -(-min(rows, room // numbers) // batches))


def joined(
    parts: Iterable[Part], batches: int, low: float = -inf, high: float = inf
) -> Regression | None:
    """The rows of all batches: every fifth batch, or the last rows of few ones, are held out.

    None where there are no rows, or none to fit to.
    """
    fitted: list[Part] = []
    held: list[Part] = []
    for number, part in enumerate(parts):
        if batches >= HELD_OUT:
            (held if number % HELD_OUT == HELD_OUT - 1 else fitted).append(part)
            continue
        few = part[0].shape[1] - max(1, part[0].shape[1] // HELD_OUT)
        fitted.append(_rows_of(part, slice(None, few)))
        held.append(_rows_of(part, slice(few, None)))
    if not fitted or not held:
        return None
    x, t, base = zip(*fitted, *held, strict=True)
    return Regression(
        np.concatenate(x, axis=1),
        np.concatenate(t, axis=1),
        base[0] if base[0] is base[-1] else np.concatenate(base, axis=1),
        sum(part[0].shape[1] for part in fitted),
        low,
        high,
    )


def _rows_of(part: Part, rows: slice) -> Part:
    x, t, base = part
    return x[:, rows], t[:, rows], base if len(base[0]) != len(x[0]) else base[:, rows]


def _parts(
    task: Task,
    keep: KeepMap,
    original: Walk,
    present: Walk,
    rng: np.random.Generator,
    cap: int,
) -> Iterator[Part]:
    """Features, targets and base of each batch."""
    layer, tail = task.layer, task.tail
    groups = task.now.weight.shape[0] if task.wide else layer.outputs
    scale, shift = (v.astype(np.float32).reshape(groups, 1, -1) for v in (tail.scale, tail.shift))
    mix = None
    if task.partner is not None:
        mix = mixing(task.partner, keep, original, present).astype(np.float32)
    # outputs of a partner are mixed, those of a layer are picked
    kept = None if mix is not None else keep.index(Axis(task.target, layer.out_dim))
    outputs = iter(()) if task.wide else present.peek(layer.out)
    for number in range(original.batches):
        wanted = np.asarray(original.live[task.target][number])
        wanted = keep.cut(task.target, wanted, layer.out_dim)
        shape = _with_extent(wanted.shape, layer.out_dim, kept)
        read = np.asarray(present.live[layer.data][number]) if task.wide else next(outputs)
        other = None if tail.other is None else np.asarray(present.live[tail.other][number])
        if not _corresponds(task, read, other, shape):
            continue
        positions = prod(shape) // shape[layer.out_dim]
        chosen = some_of(positions, cap, rng)
        t = target_rows(wanted, layer.out_dim, groups, chosen, kept)
        base = shift
        if mix is not None:
            t = t @ mix - shift
        elif other is None:
            t *= scale
        else:
            spread = np.broadcast_to(other, shape)
            base = shift + target_rows(spread, layer.out_dim, groups, chosen)
            t -= base
        if task.wide:
            x = layer_rows(layer, present.node(layer.out), read, shape, chosen)
        else:
            x = target_rows(read, layer.out_dim, groups, chosen)
        yield x, t, base


def _with_extent(shape: tuple[int, ...], dim: int, kept: IntArray | None) -> tuple[int, ...]:
    """The shape with as many slots of one dimension as are kept."""
    return shape if kept is None else (*shape[:dim], len(kept), *shape[dim + 1 :])


def _corresponds(
    task: Task, read: NDArray[Any], other: NDArray[Any] | None, wanted: tuple[int, ...]
) -> bool:
    """Whether the cut model has a row for each row of the original in this batch.

    It need not where a value that is computed says how many rows there are (detections, lengths).
    """
    layer = task.layer
    if other is not None and not _spreads(other.shape, wanted):
        return False
    if layer.kernel and task.wide:
        return bool(read.shape[0] == wanted[0])
    dim = layer.data_dim if task.wide else layer.out_dim
    return bool(read.size // read.shape[dim] == prod(wanted) // wanted[layer.out_dim])


def _spreads(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    pairs = zip(reversed(shape), reversed(to), strict=False)
    return len(shape) <= len(to) and all(have in (1, want) for have, want in pairs)
