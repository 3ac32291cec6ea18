"""How many threads torch computes with: results depend on it, and it is one number for all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from onnxslim_snacs.torch_graph.late import torch


@contextmanager
def torch_threads(number: int) -> Iterator[None]:
    """Let torch compute with so many threads, and as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
