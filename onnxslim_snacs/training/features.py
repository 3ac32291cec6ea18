"""Where blocks end in both models, and how far a student is from its teacher there.

A block ends in a sum of two values that the model computes; what has lost channels there cannot be
compared.  Distances are over the variance of the teacher's values in the batch, so that all blocks
count alike (Romero et al., arXiv 1412.6550, without maps in between: names and channels agree).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.torch_graph.late import torch

if TYPE_CHECKING:
    from torch import Tensor


def block_ends(student: ModelGraph, teacher: ModelGraph) -> tuple[str, ...]:
    """Names of the sums that both models write."""
    theirs = set(_sums(teacher))
    return tuple(name for name in _sums(student) if name in theirs)


def _sums(graph: ModelGraph) -> list[str]:
    """Sums of two different values, neither of which is stored."""
    fixed = {n.output[0] for n in graph.nodes if n.op_type == "Constant"} | set(graph.initializers)
    return [
        node.output[0]
        for node in graph.nodes
        if node.op_type in ("Add", "Sum")
        and not node.domain
        and len(node.input) == 2
        and len(set(node.input) - fixed) == 2
    ]


def feature_distance(
    student: Mapping[str, Any], teacher: Mapping[str, NDArray[Any]], size: int
) -> Tensor | None:
    """The mean squared distance over the variance, over all block ends with the same channels.

    Args:
        student: block end -> what the student has there.
        teacher: the same of the teacher, in single precision.
        size: samples in the batch that count.

    Returns:
        None if nothing can be compared.
    """
    parts = []
    for name, wanted in teacher.items():
        mine = student[name]
        if not isinstance(mine, torch.Tensor) or tuple(mine.shape) != wanted.shape or not mine.ndim:
            continue
        theirs = torch.from_numpy(wanted).to(mine)
        count = size if len(mine) > size else len(mine)
        variance = theirs[:count].var().clamp(min=1e-12)
        parts.append((mine[:count] - theirs[:count]).square().mean() / variance)
    return torch.stack(parts).mean() if parts else None
