"""A model in torch: its stored values by name, and how it is run."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Collection, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from onnxslim_snacs.errors import InputRefused, SnacsError, foreign
from onnxslim_snacs.model.functions import inlined
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.torch_graph.call import Call, Value
from onnxslim_snacs.torch_graph.holdings import Stored, stored_values, to_tensor
from onnxslim_snacs.torch_graph.late import torch
from onnxslim_snacs.torch_graph.program import Program, Step, make_program
from onnxslim_snacs.torch_graph.roles import trained_keys, whole_ranges

if TYPE_CHECKING:
    from torch import Tensor

#: An input of a node: (position of the node, position of the input).
Edge = tuple[int, int]


@dataclass(frozen=True)
class Network:
    """A model that torch can run.

    Attributes:
        graph: the model, without local functions.
        program: its nodes, ready to run.
        values: key -> stored value; those that are trained are leaves that want gradients.
        trained: keys of the values that training may change.
        whole: keys of trained values that are stored as whole numbers -> their range.
        precision: "float32" or "float64".
        device: where weights lie.
    """

    graph: ModelGraph
    program: Program
    values: Mapping[str, Tensor]
    trained: tuple[str, ...]
    whole: Mapping[str, tuple[int, int]]
    precision: str = "float32"
    device: str = "cpu"

    @property
    def parameters(self) -> dict[str, Tensor]:
        """The values that training may change."""
        return {key: self.values[key] for key in self.trained}


@dataclass(frozen=True, slots=True)
class Run:
    """What a run has made.

    Attributes:
        outputs: the model's outputs by name.
        watched: tensors that were asked for, by name.
        edges: inputs of nodes that were asked for; a gradient that is taken of one is that of the
            way through this node alone.
    """

    outputs: dict[str, Value]
    watched: dict[str, Value] = field(default_factory=dict)
    edges: dict[Edge, Tensor] = field(default_factory=dict)


def open_network(graph: ModelGraph, *, precision: str = "float32", device: str = "cpu") -> Network:
    """Make a model ready to be run in torch.

    Args:
        graph: the model.
        precision: "float32" or "float64", in which floats are computed.
        device: "cpu" or "cuda".

    Raises:
        InputRefused: an operator or a stored value is none that torch can run; it is named.
    """
    graph = inlined(graph)
    local: dict[int, dict[str, Stored]] = {}
    values: dict[str, Tensor] = {}
    found, owners = [], []  # a message is only known by its id for as long as it is held
    for owner, stored in stored_values(graph.graph):
        owners.append(owner)
        local.setdefault(id(owner), {})[stored.name] = stored
        values[stored.key] = to_tensor(stored.array(graph.base_dir), precision, device)
        found.append(stored)
    program = make_program(graph.graph, graph.opsets, local, precision)
    whole = whole_ranges(program, found)
    trained = trained_keys(program, found, values, whole)
    kind = torch.float64 if precision == "float64" else torch.float32
    for key in whole:
        values[key] = values[key].to(kind).to(device)
    for key in trained:
        values[key] = values[key].requires_grad_()
    return Network(
        graph=graph,
        program=program,
        values=values,
        trained=trained,
        whole=whole,
        precision=precision,
        device=device,
    )


def run(
    network: Network,
    feeds: Mapping[str, Tensor | NDArray[Any]],
    *,
    values: Mapping[str, Tensor] | None = None,
    watched: Collection[str] = (),
    edges: Collection[Edge] = (),
) -> Run:
    """Run a model.

    Args:
        network: the model.
        feeds: its inputs by name.
        values: stored values that take the place of the network's own, by key.
        watched: names of tensors of the top-level graph to give back.
        edges: inputs of nodes of the top-level graph to give back, if they hold floats.

    Raises:
        InputRefused: a node cannot be run on these inputs; it is named.
    """
    from onnxslim_snacs.torch_graph.operators.quantize import rounded

    known = {**network.values, **(values or {})}
    for key, (low, high) in network.whole.items():
        known[key] = rounded(known[key]).clamp(low, high)
    program = network.program
    scope: dict[str, Value] = {name: known[key] for name, key in program.stored.items()}
    for name, value in feeds.items():
        if name not in program.inputs:
            raise InputRefused(f"{foreign(name)} is no input of the model")
        scope[name] = _fed(network, value)
    missing = [name for name in program.inputs if name not in scope]
    if missing:
        raise InputRefused(f"input {foreign(missing[0])} of the model is not given")
    state = _Running(network, known, frozenset(watched), frozenset(edges))
    outputs = _execute(state, program, scope, top=True)
    named = dict(zip(program.outputs, outputs, strict=True))
    return Run(named, {name: scope[name] for name in watched}, state.found)


@dataclass(slots=True)
class _Running:
    network: Network
    known: Mapping[str, Tensor]
    watched: frozenset[str]
    edges: frozenset[Edge]
    found: dict[Edge, Tensor] = field(default_factory=dict)


def _fed(network: Network, value: Tensor | NDArray[Any]) -> Tensor:
    if isinstance(value, (np.ndarray, np.generic)):
        return to_tensor(np.asarray(value), network.precision, network.device)
    return value


def _execute(
    state: _Running, program: Program, scope: MutableMapping[str, Value], *, top: bool = False
) -> tuple[Value, ...]:
    for step in program.steps:
        inputs = [scope[name] if name else None for name in step.inputs]
        for index, value in enumerate(inputs) if top and state.edges else ():
            if (step.position, index) in state.edges and _is_float(value):
                inputs[index] = state.found[step.position, index] = _edge(value)
        made = _run_step(state, step, tuple(inputs), scope)
        scope.update((n, v) for n, v in zip(step.outputs, made, strict=False) if n)
        for name in step.done:
            if not top or name not in state.watched:
                scope.pop(name, None)
    return tuple(scope[name] for name in program.outputs)


def _is_float(value: Value) -> TypeGuard[Tensor]:
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def _edge(value: Tensor) -> Tensor:
    """The same numbers as a tensor of its own, so that gradients of other readers stay away."""
    return value.view_as(value) if value.requires_grad else value.detach().requires_grad_()


def _run_step(
    state: _Running, step: Step, inputs: tuple[Value, ...], scope: MutableMapping[str, Value]
) -> Sequence[Value]:
    def body(program: Program, given: Sequence[Value]) -> tuple[Value, ...]:
        own = {name: state.known[key] for name, key in program.stored.items()}
        own.update(zip(program.inputs, given, strict=True))
        return _execute(state, program, ChainMap(own, scope))

    call = Call(
        op=step.op,
        name=step.name,
        opset=step.opset,
        inputs=inputs,
        attributes=step.attributes,
        outputs=step.outputs,
        precision=state.network.precision,
        device=state.network.device,
        bodies={name: partial(body, program) for name, program in step.bodies.items()},
        kinds=step.kinds,
    )
    try:
        made = step.run(call)
    except (SnacsError, MemoryError):
        raise
    except Exception as error:  # torch's errors say what does not fit, but not where
        raise call.refuse(f"fails in torch: {foreign(error)}") from error
    return made if isinstance(made, tuple) else (made,)
