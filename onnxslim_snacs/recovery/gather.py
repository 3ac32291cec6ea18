"""Collect the rows of a layer's regression from two runs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from onnxslim_snacs.ir.keep import KeepMap
from onnxslim_snacs.recovery.bilinear import mixing
from onnxslim_snacs.recovery.kernel import FEATURES
from onnxslim_snacs.recovery.kernel import ROWS as KERNEL_ROWS
from onnxslim_snacs.recovery.layers import restrict
from onnxslim_snacs.recovery.moments import Rows
from onnxslim_snacs.recovery.regression import Regression
from onnxslim_snacs.recovery.rows import layer_rows, target_rows
from onnxslim_snacs.recovery.tasks import Task
from onnxslim_snacs.recovery.walk import Walk

#: Rows of a regression, drawn from all output positions of all samples: least, for each feature,
#: and most.
ROWS = (1 << 15, 128, 1 << 16)
#: Numbers that its features may hold.
NUMBERS = 1 << 27
#: One batch in so many is not fitted to, but judged by.
HELD_OUT = 5

Part = tuple[Rows, Rows, Rows]


def gather(
    task: Task, keep: KeepMap, original: Walk, present: Walk, rng: np.random.Generator
) -> Regression:
    """The regression of one layer.

    Args:
        task: the layer.
        keep: what the plan keeps.
        original: a run of the original, in which the target is alive.
        present: a run of the cut model, in which what the task reads is alive.
        rng: for the choice of rows.
    """
    blocks = task.now.weight.shape
    features = blocks[0] * blocks[1] if task.wide else task.layer.outputs
    least, each, most = ROWS
    rows = min(most, max(least, each * blocks[1]), NUMBERS // features)
    if task.wide and blocks[1] > FEATURES:
        rows = KERNEL_ROWS
    cap = max(1, rows // original.batches)
    sorted_parts: tuple[list[Part], list[Part]] = ([], [])
    for number, part in enumerate(_parts(task, keep, original, present, rng, cap)):
        if original.batches >= HELD_OUT:
            sorted_parts[number % HELD_OUT == HELD_OUT - 1].append(part)
            continue
        few = part[0].shape[1] - max(1, part[0].shape[1] // HELD_OUT)
        sorted_parts[0].append(_rows_of(part, slice(None, few)))
        sorted_parts[1].append(_rows_of(part, slice(few, None)))
    x, t, base = zip(*sorted_parts[0], *sorted_parts[1], strict=True)
    return Regression(
        np.concatenate(x, axis=1),
        np.concatenate(t, axis=1),
        base[0]
        if base[0].shape[1] == 1 and task.tail.other is None
        else np.concatenate(base, axis=1),
        sum(part[0].shape[1] for part in sorted_parts[0]),
        task.tail.low,
        task.tail.high,
    )


def _rows_of(part: Part, rows: slice) -> Part:
    x, t, base = part
    return x[:, rows], t[:, rows], base if base.shape[1] == 1 else base[:, rows]


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
        mix = mixing(task.partner, original, present).astype(np.float32)
    outputs = iter(()) if task.wide else present.peek(layer.out)
    for number in range(original.batches):
        wanted = np.asarray(original.live[task.target][number])
        wanted = wanted if mix is not None else restrict(wanted, task.target, keep)
        positions = wanted.size // wanted.shape[layer.out_dim]
        chosen = np.sort(rng.permutation(positions)[:cap])
        t = target_rows(wanted, layer.out_dim, groups, chosen)
        base = shift
        if mix is not None:
            t = t @ mix - shift
        elif tail.other is None:
            t *= scale
        else:
            other = np.broadcast_to(present.live[tail.other][number], wanted.shape)
            base = shift + target_rows(other, layer.out_dim, groups, chosen)
            t -= base
        if task.wide:
            data = np.asarray(present.live[layer.data][number])
            x = layer_rows(layer, present.node(layer.out), data, wanted.shape, chosen)
        else:
            x = target_rows(next(outputs), layer.out_dim, groups, chosen)
        yield x, t, base
