"""Sessions that are asked for shapes instead of activations, and which node it was that failed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, ValueInfoProto, helper

from onnxslim_snacs.model.graph import ModelGraph, captured
from onnxslim_snacs.model.patience import patience
from onnxslim_snacs.model.session import Session, SessionConfig, create_session, said
from onnxslim_snacs.model.shell import shell
from onnxslim_snacs.model.tensors import stored_bytes
from onnxslim_snacs.model.values import shape_of

_SMALL = 4096
#: Operators that write no tensors, or may: what a body hands on is what it makes of it.
_HANDLES = ("Sequence", "Optional", "SplitToSequence", "ZipMap", "Loop", "Scan", "If")
_SEQUENCE = "seq(tensor("
#: Operators whose second input spells out numbers.
_SPELLED = ("Reshape", "Split", "Expand")


def not_tensors(graph: ModelGraph) -> frozenset[str]:
    """What is no tensor (sequences, optional values, maps), of what nodes write.

    Args:
        graph: the model.
    """
    return frozenset(name for name, kind in handed(graph).items() if not kind.startswith("tensor("))


def handed(graph: ModelGraph) -> dict[str, str]:
    """The types of what a model is fed and of what its nodes write, if some are no tensors.

    ONNX Runtime is asked, for static inference stops at operators that ONNX does not know.

    Args:
        graph: the model.

    Returns:
        Name -> type as ONNX Runtime writes it ("seq(tensor(float))"); {} if all are tensors.
    """
    handled = any(node.op_type.startswith(_HANDLES) for node in graph.nodes)
    fed = any(info.type.WhichOneof("value") != "tensor_type" for info in graph.graph.input)
    if not handled and not fed and not graph.proto.functions:
        return {}
    made = [name for node in graph.nodes for name in node.output if name]
    watched = [name for name in made if name not in graph.outputs]
    config = SessionConfig(level=0, plan_memory=False)
    session = create_session(graph.proto, config, graph.base_dir, watched)
    ends = (*session.get_inputs(), *session.get_outputs())
    kinds = {end.name: end.type for end in ends}
    return {name: kinds[name] for name in (*graph.inputs, *made)}


def sequences_of(graph: ModelGraph) -> frozenset[str]:
    """What is a sequence of tensors, of what a model is fed and of what its nodes write."""
    return frozenset(name for name, kind in handed(graph).items() if kind.startswith(_SEQUENCE))


@dataclass(frozen=True)
class ProbeSession:
    """A session that answers with the shape of every tensor and the value of constant ones.

    Attributes:
        session: ONNX Runtime's session.
        shaped: tensors asked for their shape only.
        valued: tensors asked for their value.
        sequences: sequences of tensors, which are read as a whole for the shapes of those.
        stored: values that are known.
        weights: bytes of the model's weights.
    """

    session: Session
    shaped: tuple[str, ...]
    valued: tuple[str, ...]
    stored: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    weights: int = 0
    sequences: tuple[str, ...] = ()

    def probe(
        self, feeds: Mapping[str, NDArray[Any]]
    ) -> tuple[dict[str, tuple[int, ...]], dict[str, NDArray[Any]]]:
        """Run once; (tensor -> shape, tensor -> value)."""
        outputs = [_shape_name(name) for name in self.shaped]
        with patience(self.weights):
            told = self.session.run([*outputs, *self.valued, *self.sequences], dict(feeds))
        cut, last = len(outputs), len(outputs) + len(self.valued)
        results, held = told[:last], dict(zip(self.sequences, told[last:], strict=True))
        shapes = {
            name: tuple(int(d) for d in result)
            for name, result in zip(self.shaped, results[:cut], strict=True)
        }
        values = {n: np.asarray(v) for n, v in zip(self.valued, results[cut:], strict=True)}
        whole = {**held, **values, **feeds}
        known = {name: shape_of(value) for name, value in whole.items()}
        shapes.update({name: shape for name, shape in known.items() if shape is not None})
        small = {name: value for name, value in values.items() if value.size <= _SMALL}
        return shapes, small | dict(self.stored)


def _shape_name(tensor: str) -> str:
    return f"{tensor}\0shape"


def probe_session(graph: ModelGraph, valued: frozenset[str], threads: int) -> ProbeSession:
    """Instrument a model so that it reports shapes instead of activations.

    Args:
        graph: the model.
        valued: tensors that follow from shapes and constants alone: their value is reported.
        threads: threads within an operator.
    """
    light = ModelProto()
    light.CopyFrom(graph.proto)
    for node, name in zip(light.graph.node, node_names(graph), strict=True):
        node.name = name
    kinds = handed(graph)
    others = {name for name, kind in kinds.items() if not kind.startswith("tensor(")}
    sequences = [n for n, kind in kinds.items() if kind.startswith(_SEQUENCE)]
    asked = [name for name in valued if name not in graph.initializers and name not in others]
    made = [name for node in graph.nodes for name in node.output if name]
    told = (*graph.inputs, *(n for n in made if n not in valued))
    shaped = tuple(name for name in dict.fromkeys(told) if name not in others)
    watched = tuple(name for name in sequences if name not in graph.inputs)
    light.graph.node.extend(
        helper.make_node("Shape", [name], [_shape_name(name)]) for name in shaped
    )
    del light.graph.output[:]
    light.graph.output.extend(
        ValueInfoProto(name=name) for name in (*map(_shape_name, shaped), *sorted(asked), *watched)
    )
    config = SessionConfig(threads=threads, level=0, plan_memory=False)
    weights = weight_bytes(graph)
    with patience(weights):
        session = create_session(light, config, graph.base_dir)
    return ProbeSession(session, shaped, tuple(sorted(asked)), weights=weights, sequences=watched)


def weight_bytes(graph: ModelGraph) -> int:
    """Bytes of all that is stored as initializers, wherever it lies."""
    return sum(stored_bytes(tensor) for tensor in graph.initializers.values())


def node_names(graph: ModelGraph) -> list[str]:
    """A name for every node: its own or that of its first output, no two alike."""
    taken: set[str] = set()
    names = []
    for position, node in enumerate(graph.nodes):
        name = node.name or next((name for name in node.output if name), "")
        if not name or name in taken:
            name = f"{name} #{position}"
        taken.add(name)
        names.append(name)
    return names


#: How ONNX Runtime says which node has failed; of nested ones the outermost comes first.
_FAILED = re.compile(r"while running \S+ node\. Name:'(.*?)' Status Message", re.DOTALL)


def failing_node(graph: ModelGraph, error: Exception) -> int | None:
    """The position of the node that failed in a probe; None if the error names none."""
    found = _FAILED.search(said(error))
    names = node_names(graph)
    return names.index(found[1]) if found and found[1] in names else None


def input_session(graph: ModelGraph, position: int, threads: int) -> ProbeSession:
    """A session over what lies before a node: it answers with the shapes of what the node reads.

    Where the second input is a vector of numbers (a shape, parts), its value is told, too.

    Args:
        graph: the model.
        position: the node.
        threads: threads within an operator.
    """
    node = graph.nodes[position]
    names = list(dict.fromkeys(name for name in node.input if name))
    spelled = node.input[1:2] if node.op_type in _SPELLED else []
    valued = [name for name in spelled if name and name not in graph.inputs]
    before = _before(graph, names)
    reads = {n for k in before for n in (*graph.nodes[k].input, *captured(graph.nodes[k]))}
    part = shell(graph.proto, "graph")
    part.graph.name = "before"
    part.graph.input.extend(v for v in graph.graph.input if v.name not in graph.initializers)
    part.graph.node.extend(graph.nodes[k] for k in sorted(before))
    part.graph.initializer.extend(
        t for name, t in graph.initializers.items() if name in reads or name in names
    )
    part.graph.node.extend(helper.make_node("Shape", [name], [_shape_name(name)]) for name in names)
    part.graph.output.extend(ValueInfoProto(name=_shape_name(name)) for name in names)
    stored = {name: graph.array(name) for name in valued if name in graph.initializers}
    made = [name for name in valued if name not in stored]
    part.graph.output.extend(ValueInfoProto(name=name) for name in made)
    config = SessionConfig(threads=threads, level=0, plan_memory=False)
    session = create_session(part, config, graph.base_dir)
    return ProbeSession(session, tuple(names), tuple(made), stored, weight_bytes(graph))


def _before(graph: ModelGraph, names: Iterable[str]) -> set[int]:
    """The nodes on which tensors depend."""
    found: set[int] = set()
    pending = [graph.producer[name] for name in names if name in graph.producer]
    while pending:
        position = pending.pop()
        if position not in found:
            found.add(position)
            node = graph.nodes[position]
            reads = (*node.input, *captured(node))
            pending.extend(graph.producer[name] for name in reads if name in graph.producer)
    return found
