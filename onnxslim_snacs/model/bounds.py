"""Bounds within which an untrusted model is worked on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What a model may ask for before any library sees it.

    Attributes:
        nodes: nodes of the file, bodies of control flow included.
        function_nodes: nodes that the calls of local functions expand to.  ONNX Runtime and shape
            inference expand every call, so that 2.5 kB of functions can ask for 2^39 nodes; their
            time at 20,000 is a few seconds.
        elements: elements of one tensor that the graph makes out of its shape alone (an input with
            fixed dimensions, ConstantOfShape, Expand).
    """

    nodes: int = 150_000
    function_nodes: int = 20_000
    elements: int = 2**31


DEFAULT_LIMITS = Limits()
