"""The copy that passes work on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from onnx import ModelProto, NodeProto

from onnxslim_snacs.ir.keep import KeepMap
from onnxslim_snacs.model.graph import captured
from onnxslim_snacs.ops.analyse import Analysis


@dataclass(slots=True)
class Draft:
    """A model on its way to being cut.

    Attributes:
        analysis: the original, which no pass changes.
        keep: what stays.
        model: the copy.
        before: position of a node -> nodes that are to stand in front of it.
        instead: position of a node -> nodes that are to take its place.
        replaced: (position of a node, position of an input) whose operand has been put right.
        suspects: tensors that have lost a reader.
    """

    analysis: Analysis
    keep: KeepMap
    model: ModelProto
    before: dict[int, list[NodeProto]] = field(default_factory=dict)
    instead: dict[int, list[NodeProto]] = field(default_factory=dict)
    replaced: set[tuple[int, int]] = field(default_factory=set)
    suspects: set[str] = field(default_factory=set)

    def uses(self, tensor: str) -> int:
        """How many times the original reads a tensor."""
        readers = self.analysis.graph.consumers.get(tensor, ())
        nodes = self.analysis.graph.nodes
        count = sum(Counter((*nodes[r].input, *captured(nodes[r])))[tensor] for r in readers)
        return count + list(self.analysis.graph.outputs).count(tensor)


#: What every pass is: it changes the draft's model, and nothing else that others see.
Pass = Callable[[Draft], None]


def open_draft(analysis: Analysis, keep: KeepMap) -> Draft:
    """A draft with a copy of the model."""
    model = ModelProto()
    model.CopyFrom(analysis.graph.proto)
    return Draft(analysis, keep, model)
