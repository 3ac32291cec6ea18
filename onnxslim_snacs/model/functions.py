"""Model-local functions: how many nodes their calls stand for, and the graph without them."""

from __future__ import annotations

from collections import Counter
from graphlib import CycleError, TopologicalSorter

from onnx import FunctionProto, ModelProto, NodeProto

from onnxslim_snacs.errors import InputRefused, LimitExceeded, foreign
from onnxslim_snacs.model.bounds import DEFAULT_LIMITS, Limits
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.stored import all_nodes

_Key = tuple[str, str, str]


def check_size(model: ModelProto, limits: Limits = DEFAULT_LIMITS) -> None:
    """Count nodes as they are once every function call is expanded, with exact integers.

    Raises:
        InputRefused: functions call each other in a circle, or one is defined twice.
        LimitExceeded: too many nodes.
    """
    written = _Counts(model)
    if written.total > limits.nodes:
        raise LimitExceeded(
            f"the model has {written.total:,} nodes; at most {limits.nodes:,} are taken"
        )
    size: dict[_Key, int] = {}
    for key in written.callees_first():
        size[key] = written.expanded(written.bodies[key], size)
    expanded = written.expanded(written.graph, size)
    if expanded > max(limits.function_nodes, written.total):
        raise LimitExceeded(
            f"the model's local functions expand to {_short(expanded)} nodes; at most "
            f"{limits.function_nodes:,} are taken"
        )


def inlined(graph: ModelGraph) -> ModelGraph:
    """The model with every call of a local function replaced by the function's body.

    Names outside the functions stay as they are.

    Args:
        graph: a model that `check_size` has let through.
    """
    if not graph.proto.functions:
        return graph
    from onnx.inliner import inline_local_functions

    try:
        return ModelGraph(inline_local_functions(graph.proto), graph.base_dir)
    except Exception:  # operator sets that do not fit together: the calls stay, and pin
        return graph


class _Counts:
    """Which operators and functions the graph and each function name, and how often."""

    def __init__(self, model: ModelProto) -> None:
        keys = [_function_key(f) for f in model.functions]
        for key, times in Counter(keys).items():
            if times > 1:
                raise InputRefused(f"function {foreign('::'.join(key[:2]))} is defined twice")
        self.graph = Counter(_call_key(n) for n in all_nodes(model.graph.node))
        self.bodies = {
            key: Counter(_call_key(n) for n in all_nodes(f.node))
            for key, f in zip(keys, model.functions, strict=True)
        }
        self.total = sum(c.total() for c in (self.graph, *self.bodies.values()))

    def callees_first(self) -> list[_Key]:
        """The functions so that each comes after those it calls.

        Raises:
            InputRefused: one calls itself.
        """
        calls = {key: body.keys() & self.bodies.keys() for key, body in self.bodies.items()}
        try:
            return list(TopologicalSorter(calls).static_order())
        except CycleError as error:
            stuck: _Key = error.args[1][0]
            raise InputRefused(
                f"function {foreign('::'.join(stuck[:2]))} calls itself, directly or through others"
            ) from None

    def expanded(self, body: Counter[_Key], size: dict[_Key, int]) -> int:
        """Nodes of a body once its calls are expanded."""
        return sum(times * size.get(key, 1) for key, times in body.items())


def _function_key(function: FunctionProto) -> _Key:
    return plain_domain(function.domain), function.name, function.overload


def _call_key(node: NodeProto) -> _Key:
    return plain_domain(node.domain), node.op_type, node.overload


def plain_domain(domain: str) -> str:
    """A domain with one spelling for ONNX's own operators."""
    return "" if domain == "ai.onnx" else domain


def _short(number: int) -> str:
    """Python refuses to print integers of more than 4,300 digits."""
    return f"{number:,}" if number < 10**15 else f"about 2^{number.bit_length() - 1}"
