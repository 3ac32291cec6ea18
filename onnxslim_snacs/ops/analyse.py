"""From a model to its dependency IR: every node states its facts, the graph adds its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from onnx import TensorProto

from onnxslim_snacs.errors import foreign
from onnxslim_snacs.ir.build import DependencyGraph, Stated, build_graph
from onnxslim_snacs.ir.types import Axis, Fact, Pin
from onnxslim_snacs.model.facts import ModelFacts, Sizes, read_facts
from onnxslim_snacs.model.functions import inlined
from onnxslim_snacs.model.graph import ModelGraph, captured
from onnxslim_snacs.model.share import separate
from onnxslim_snacs.ops import OPERATORS
from onnxslim_snacs.ops.chains import Chain, find_chains, propagate
from onnxslim_snacs.ops.loops import closed_loops
from onnxslim_snacs.ops.node import OpNode
from onnxslim_snacs.ops.periods import find_periods


@dataclass(frozen=True, slots=True)
class Analysis:
    """A model with everything that is known of it before any data is seen.

    Attributes:
        graph: the model, with a vector of its own for every reader of a shared one.
        facts: shapes and values.
        nodes: its nodes as the rules see them.
        ir: the dependency IR.
        chains: movement nodes that are treated together.
        copies: the copies of shared vectors -> their originals.
        given: the model as it was given, if it has local functions; `graph` is without them.
    """

    graph: ModelGraph
    facts: ModelFacts
    nodes: tuple[OpNode, ...]
    ir: DependencyGraph
    chains: tuple[Chain, ...] = ()
    copies: Mapping[str, str] = field(default_factory=dict)
    given: ModelGraph | None = None

    @property
    def is_half(self) -> bool:
        """Whether any weight has less than single precision."""
        return any(
            t.data_type in (TensorProto.FLOAT16, TensorProto.BFLOAT16)
            for t in self.graph.graph.initializer
        )


def analyse(
    graph: ModelGraph,
    *,
    allow_inexact: bool = False,
    input_shapes: Sizes | None = None,
) -> Analysis:
    """Build the dependency IR of a model.

    Args:
        graph: the model.
        allow_inexact: let normalisations lose channels, which changes what they compute.
        input_shapes: sizes for inputs whose dynamic dimensions cannot be guessed.
    """
    given, graph = graph, inlined(graph)
    has_functions = graph is not given
    graph, copies = separate(graph)
    facts = read_facts(graph, input_shapes)
    nodes = tuple(
        OpNode(
            key=str(k),
            proto=proto,
            facts=facts,
            opset=graph.opsets.get("" if proto.domain == "ai.onnx" else proto.domain, 1),
            allow_inexact=allow_inexact,
        )
        for k, proto in enumerate(graph.nodes)
    )
    loops = closed_loops(graph, nodes)
    nodes = tuple(
        replace(node, fed_back=loops[k]) if k in loops else node for k, node in enumerate(nodes)
    )
    chains = find_chains(graph, nodes)
    stated = [*graph_facts(graph, facts), *node_facts(nodes, chains)]

    def extent_of(axis: Axis) -> int | None:
        shape = facts.shape(axis.tensor)
        return shape[axis.dim] if shape is not None else None

    periods = find_periods(graph, nodes, stated, extent_of)
    ir = build_graph(stated, extent_of, facts.is_weight, periods)
    return Analysis(graph, facts, nodes, ir, chains, copies, given if has_functions else None)


def graph_facts(graph: ModelGraph, facts: ModelFacts) -> Iterator[Stated]:
    """What the outside world sees of the graph stays as it is."""
    for names, reason in ((graph.inputs, "graph input"), (graph.outputs, "graph output")):
        for name in names:
            for pin in pin_all(facts, [name], reason):
                yield Stated(-1, foreign(name), "graph", pin)


def node_facts(nodes: Iterable[OpNode], chains: Iterable[Chain] = ()) -> Iterator[Stated]:
    """The facts that each node's rule states, or the chain to which it belongs."""
    last = {max(chain.nodes): chain for chain in chains}
    inside = {position for chain in last.values() for position in chain.nodes}
    for number, node in enumerate(nodes):
        if number in last:
            facts: Iterable[Fact] = propagate(last[number])
        else:
            facts = () if number in inside else _facts_of(node)
        for fact in facts:
            yield Stated(number, foreign(node.name), node.op, fact)


def _facts_of(node: OpNode) -> Iterable[Fact]:
    rule = OPERATORS.get(node.op)
    around = [n for n in (*node.inputs, *node.outputs, *captured(node.proto)) if n]
    if rule is None:
        return pin_all(node.facts, around, f"operator {node.op} has no rule")
    unknown = [n for n in (*node.inputs, *node.outputs) if n and node.facts.shape(n) is None]
    if unknown:
        reason = f"the shape of {foreign(unknown[0])} is not known"
        return pin_all(node.facts, around, reason)
    return rule.propagate(node)


def pin_all(facts: ModelFacts, tensors: Iterable[str], reason: str) -> Iterator[Pin]:
    """Pins on every axis of every given tensor."""
    for tensor in tensors:
        shape = facts.shape(tensor)
        for dim in range(len(shape) if shape is not None else 0):
            yield Pin(Axis(tensor, dim), reason)
