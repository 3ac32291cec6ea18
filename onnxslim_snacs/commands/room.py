"""Whether a run has the memory that it will certainly take, asked before its long stages."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from onnxslim_snacs.activations.run import batch_size
from onnxslim_snacs.activations.samples import Samples
from onnxslim_snacs.config import CompressConfig, Ratio
from onnxslim_snacs.decide.rank import refits, score_context
from onnxslim_snacs.errors import LimitExceeded
from onnxslim_snacs.layers.consumers import moments_layers
from onnxslim_snacs.layers.drawn import Reading
from onnxslim_snacs.layers.grams import moments_bytes
from onnxslim_snacs.model.bounds import memory_bound
from onnxslim_snacs.model.tensors import stored_bytes
from onnxslim_snacs.plan.work import Work

_STATUS = Path("/proc/self/status")


def require_room(work: Work, config: CompressConfig, samples: Samples) -> None:
    """Refuse what `--max-memory` cannot hold, before it has taken any time.

    Args:
        work: the model.
        config: what was asked for.
        samples: that there are.

    Raises:
        LimitExceeded: what the run takes at the least is more than it may take.
    """
    bound = memory_bound()
    if bound is None or not work.analysis.facts.ran:
        return
    taken, least = taken_now(), least_memory(work, config, samples)
    if taken + least > bound:
        raise LimitExceeded(
            f"this run takes at least {(taken + least) / 2**20:.0f} MiB: {taken / 2**20:.0f} for "
            f"the program and the model, {least / 2**20:.0f} for its activations, its copy and "
            f"what is known of its layers; it may take {bound / 2**20:.0f} MiB (see --max-memory; "
            "--ratio with --criterion l1 needs the least)"
        )


def least_memory(work: Work, config: CompressConfig, samples: Samples) -> int:
    """Bytes that a run takes at the least beside what it has taken already.

    That is a copy of the weights; and where it decides by second moments, those, and the
    activations of a sample that are looked at together.
    """
    analysis = work.analysis
    weights = sum(map(stored_bytes, analysis.graph.graph.initializer))
    decides = not isinstance(config.goal, Ratio) and config.measures_curves
    if not decides or not refits(config.recover, score_context(work, samples.scoring)):
        batch_size(analysis.facts, samples.scoring, analysis.graph.outputs)
        return weights
    layers = moments_layers(analysis)
    readings = [Reading(layer, tail.total or layer.out) for _, layer, tail in layers]
    tensors = dict.fromkeys(n for r in readings for n in (r.layer.data, r.target))
    batch_size(analysis.facts, samples.scoring, list(tensors))
    return weights + moments_bytes(analysis, readings)


def taken_now() -> int:
    """Bytes of data that this process has; 0 where nobody tells."""
    with suppress(OSError):
        said = re.search(r"VmData:\s+(\d+) kB", _STATUS.read_text())
        return 1024 * int(said[1]) if said else 0
    return 0
