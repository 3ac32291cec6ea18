"""From a model to its dependency IR: every node states its facts, the graph adds its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from onnx import GraphProto, TensorProto

from onnxslim_snacs.errors import InternalError, ShapesDisagree, SnacsError, foreign
from onnxslim_snacs.ir.build import DependencyGraph, build_graph
from onnxslim_snacs.ir.keep import KeepMap
from onnxslim_snacs.ir.types import Axis
from onnxslim_snacs.model.body import Feeds, bodies_of, body_model, feeds_of_body, read_around
from onnxslim_snacs.model.edit import FREE_INITIALIZERS
from onnxslim_snacs.model.facts import Fed, ModelFacts, require_run
from onnxslim_snacs.model.fold import Fold, fold
from onnxslim_snacs.model.functions import inlined
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.reading import read_body_facts, read_facts
from onnxslim_snacs.model.sequences import without_sequences
from onnxslim_snacs.model.share import separate
from onnxslim_snacs.model.sizes import Sizes
from onnxslim_snacs.model.starts import Hint
from onnxslim_snacs.model.unroll import unrolled
from onnxslim_snacs.ops.chains import Chain, find_chains
from onnxslim_snacs.ops.computed import computed_weights
from onnxslim_snacs.ops.counts import count_facts
from onnxslim_snacs.ops.loops import closed_loops
from onnxslim_snacs.ops.node import MISFITS, OpNode
from onnxslim_snacs.ops.periods import find_periods
from onnxslim_snacs.ops.statements import graph_facts, node_facts
from onnxslim_snacs.ops.trained import check_trained
from onnxslim_snacs.ops.whole_graph import extent_in, with_bodies

#: Elements up to which a value that goes into a body may be known there.
_SMALL = 4096


@dataclass(frozen=True, slots=True)
class Body:
    """The body of a control-flow node, analysed as a model whose inputs are what it captures.

    Attributes:
        position: the node's position.
        attribute: the attribute that holds the body.
        analysis: the analysis.
    """

    position: int
    attribute: str
    analysis: Analysis


@dataclass(frozen=True, slots=True)
class Analysis:
    """A model with everything that is known of it before any data is seen.

    Attributes:
        graph: the model, with a vector of its own for every reader of a shared one.
        facts: shapes and values.
        nodes: its nodes as the rules see them.
        ir: the dependency IR; its groups and slots are those of the bodies as well, everything
            with the position of a node is of the graph alone.
        chains: movement nodes that are treated together.
        copies: the copies of shared vectors -> their originals.
        given: the model as it was given, if it has local functions; `graph` is without them.
        bodies: the bodies of control-flow nodes that could be analysed.
        folds: weights that the file computes and `graph` has stored.
        prefix: begins the keys of its nodes, "" unless it is a body itself.
    """

    graph: ModelGraph
    facts: ModelFacts
    nodes: tuple[OpNode, ...]
    ir: DependencyGraph
    chains: tuple[Chain, ...] = ()
    copies: Mapping[str, str] = field(default_factory=dict)
    given: ModelGraph | None = None
    bodies: tuple[Body, ...] = ()
    prefix: str = ""
    folds: tuple[Fold, ...] = ()

    def parts(self) -> Iterator[Analysis]:
        """This analysis and those of all bodies, whatever their depth."""
        yield self
        for body in self.bodies:
            yield from body.analysis.parts()

    def part_of(self, tensor: str) -> Analysis:
        """The part in which a tensor has a shape; the whole if none has."""
        return next((p for p in self.parts() if p.facts.shape(tensor) is not None), self)

    def loses(self, keep: KeepMap) -> bool:
        """Whether a cut takes anything from this part or its bodies."""
        graphs = (part.graph for part in self.parts())
        return any(keep.touches((*graph.made, *graph.inputs)) for graph in graphs)

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
    examples: Sequence[Hint] = (),
) -> Analysis:
    """Build the dependency IR of a model.

    Args:
        graph: the model.
        allow_inexact: let normalisations lose channels, which changes what they compute.
        input_shapes: sizes for inputs whose dynamic dimensions cannot be guessed.
        examples: shapes of samples, None for an extent that is free.

    Raises:
        InputRefused: trained numbers are infinite, or the model cannot be run.
    """
    given, graph = graph, inlined(graph)
    check_trained(graph, given.infinite)

    def read(graph: ModelGraph) -> ModelFacts:
        return read_facts(graph, input_shapes, examples=examples)

    found = _analyse(graph, read, "", allow_inexact)
    flat = unrolled(graph, found.facts)
    if flat is not graph:
        graph = flat
        found = _analyse(graph, read, "", allow_inexact)
    plain = without_sequences(graph, found.facts.value, found.facts.shape)
    if plain is not graph:
        graph = plain
        found = _analyse(graph, read, "", allow_inexact)
    weights = computed_weights(found.graph, found.facts, found.ir.stated)
    if weights:
        graph, folds = fold(graph, weights)
        found = _analyse(graph, read, "", allow_inexact)
        found = replace(found, folds=folds)
    return found if graph is given else replace(found, given=given)


def _analyse(
    graph: ModelGraph,
    read: Callable[[ModelGraph], ModelFacts],
    prefix: str,
    allow_inexact: bool,
    around: str = "graph",
) -> Analysis:
    graph, copies = separate(graph)
    facts = read(graph)
    try:
        return _stated(graph, facts, copies, prefix, allow_inexact, around)
    except ShapesDisagree as error:
        if facts.ran:
            require_run(graph, facts)
            raise InternalError(str(error)) from error
        raise
    except MISFITS as error:
        if facts.ran:
            require_run(graph, facts)
            raise
        reason = foreign(f"{type(error).__name__}: {error}")
        raise ShapesDisagree(
            f"the shapes that the model declares do not fit its operators ({reason}), and ONNX "
            f"Runtime cannot run it to find out the right ones: {facts.note}"
        ) from error


def _stated(
    graph: ModelGraph,
    facts: ModelFacts,
    copies: Mapping[str, str],
    prefix: str,
    allow_inexact: bool,
    around: str,
) -> Analysis:
    nodes = tuple(
        OpNode(
            key=f"{prefix}{k}",
            proto=proto,
            facts=facts,
            opset=graph.opsets.get("" if proto.domain == "ai.onnx" else proto.domain, 1),
            allow_inexact=allow_inexact,
        )
        for k, proto in enumerate(graph.nodes)
    )
    if not prefix:  # what leaves a body does not come in again with the next call
        loops = closed_loops(graph, nodes)
        nodes = tuple(replace(n, fed_back=loops.get(k, n.fed_back)) for k, n in enumerate(nodes))
    chains = find_chains(graph, nodes)
    stated = [
        *graph_facts(graph, facts, around),
        *node_facts(nodes, chains),
        *count_facts(graph, nodes),
    ]

    def extent_of(axis: Axis) -> int | None:
        return extent_in(axis, facts.shape(axis.tensor))

    periods = find_periods(graph, nodes, chains, stated, extent_of)
    bodies = _bodies(graph, facts, prefix, allow_inexact)
    ir = build_graph(stated, extent_of, facts.is_weight, periods)
    part = Analysis(
        graph=graph,
        facts=facts,
        nodes=nodes,
        ir=ir,
        chains=chains,
        copies=copies,
        given=None,
        bodies=bodies,
        prefix=prefix,
    )
    return replace(part, ir=with_bodies(part, stated)) if bodies else part


def _bodies(
    graph: ModelGraph, facts: ModelFacts, prefix: str, allow_inexact: bool
) -> tuple[Body, ...]:
    """The bodies that can be run on their own, whose names are theirs alone."""
    control = [k for k, node in enumerate(graph.nodes) if any(bodies_of(node))]
    if not control or not facts.ran or graph.proto.ir_version < FREE_INITIALIZERS:
        return ()
    if facts.changing.dims:  # inside, nobody could tell what changes
        return ()
    values = read_around(graph, facts.feeds)
    taken, found = set(graph.made), []
    for position in control:
        for attribute, body in bodies_of(graph.nodes[position]):
            part = _body(graph, facts, position, attribute, values, prefix, allow_inexact)
            if part is None:
                continue
            made = {name for p in part.parts() for name in p.graph.made}
            made.update(_formal(body))
            if not made & taken:
                found.append(Body(position, attribute, part))
                taken |= made
    return tuple(found)


def _is_feed(value: object) -> bool:
    """Whether a body can be fed: a tensor, or a sequence that holds some."""
    return isinstance(value, np.ndarray) or (isinstance(value, list) and bool(value))


def _formal(body: GraphProto) -> Iterator[str]:
    """The inputs that a body declares, and the bodies inside of it."""
    yield from (info.name for info in body.input)
    for node in body.node:
        for _, inner in bodies_of(node):
            yield from _formal(inner)


def _body(
    graph: ModelGraph,
    facts: ModelFacts,
    position: int,
    attribute: str,
    values: Sequence[Feeds],
    prefix: str,
    allow_inexact: bool,
) -> Analysis | None:
    """A body as a model; None if it cannot be run on its own, for it wants other sizes, say."""
    node = graph.nodes[position]
    body = dict(bodies_of(node))[attribute]
    feeds = tuple(feeds_of_body(node, attribute, one) for one in values)
    if not all(_is_feed(v) for one in feeds for v in one.values()):
        return None
    own = {info.name for info in body.input}
    whole = (n for n, v in feeds[0].items() if n not in own and not isinstance(v, list))
    small = [n for n in whole if max(f[n].size for f in feeds) <= _SMALL]
    fed = Fed(
        feeds,
        frozenset(n for n in small if facts.follows_from_shapes(n)),
        frozenset(n for n in small if facts.is_weight(n)),
    )
    model = ModelGraph(body_model(graph.proto, body, feeds[0]), graph.base_dir)
    try:
        return _analyse(
            model,
            lambda g: read_body_facts(g, fed),
            f"{prefix}{position}.{attribute}.",
            allow_inexact,
            f"body of {node.op_type}",
        )
    except SnacsError:
        return None
