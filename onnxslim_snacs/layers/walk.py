"""Run a model piece by piece over all batches, each node once, as its values are asked for.

Only what later pieces read stays alive, so that a model whose weights change on the way is run no
more often than one that is run at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, ValueInfoProto

from onnxslim_snacs.activations.run import execute, open_session
from onnxslim_snacs.layers.live import LiveTensors
from onnxslim_snacs.model.edit import FREE_INITIALIZERS
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.mapped import tensor_array
from onnxslim_snacs.model.pieces import constant_nodes, fed_input, reads, with_constants
from onnxslim_snacs.model.probes import not_tensors
from onnxslim_snacs.model.session import SessionConfig
from onnxslim_snacs.model.shell import shell

#: Tensor -> its value in each of some batches.
Batches: TypeAlias = Mapping[str, Sequence[NDArray[Any]]]


@dataclass(slots=True)
class Walk:
    """A run in progress.

    The model may be changed between two calls, as long as its nodes keep their places.

    Attributes:
        model: the model.
        base_dir: the folder of its external data.
        config: how to run it.
        live: values that are still to be read.
        producer: tensor -> position of the node that writes it.
        constant: positions of nodes that follow from constants; they are computed in every piece.
        pending: tensor -> reads still to come, by nodes and by the caller.
        done: positions of the nodes that have run.
        handed: sequences and the like, which cannot be fed: their readers run with their writers.
        batches: number of batches.
    """

    model: ModelProto
    base_dir: Path | None
    config: SessionConfig
    live: LiveTensors
    producer: dict[str, int]
    constant: frozenset[int]
    pending: Counter[str]
    done: set[int]
    handed: frozenset[str] = frozenset()
    batches: int = 0

    def feed(self, inputs: Mapping[str, NDArray[Any]]) -> None:
        """Take in the model's inputs for one more batch, before anything has run."""
        self.batches += 1
        for name, value in inputs.items():
            if self.pending[name] > 0:
                self.live.append(name, value)

    def join(self, batches: Sequence[Mapping[str, NDArray[Any]]]) -> None:
        """Take in more batches, which run at once as far as the others have come.

        Args:
            batches: of each the model's inputs.
        """
        computed = [n for n in self.live.names() if self.producer.get(n) in self.done]
        nodes = sorted(_ancestors(self.model, self.producer, computed) - self.constant)
        stored = [n for n in self.live.names() if n not in computed and n not in batches[0]]
        given = {name: [one[name] for one in batches] for name in batches[0]}
        for values in self._values_of(nodes, computed, given, len(batches)):
            for name, value in zip(computed, values, strict=True):
                self.live.append(name, value)
        for one in batches:
            for name in stored:  # what follows from constants is the same in every batch
                self.live.append(name, self.live[name][0])
            self.feed(one)

    def node(self, tensor: str) -> NodeProto:
        """The node that writes a tensor."""
        node: NodeProto = self.model.graph.node[self.producer[tensor]]
        return node

    def insert(self, node: NodeProto, position: int) -> None:
        """Put a node that has not run into the model, before the one at `position`."""
        self.model.graph.node.insert(position, node)
        self.producer = producers(self.model)
        self.constant = frozenset(_moved(self.constant, position))
        self.done = set(_moved(self.done, position))
        if self._follows_from_constants(node):
            self.constant |= {position}
        else:
            self.pending.update(reads(node))

    def _follows_from_constants(self, node: NodeProto) -> bool:
        stored = {tensor.name for tensor in self.model.graph.initializer}
        return all(n in stored or self.producer.get(n) in self.constant for n in reads(node))

    def require(self, names: Iterable[str]) -> None:
        """Run what is missing so that the values of these tensors are alive."""
        names = tuple(names)
        self._require_computed(names)
        for name in dict.fromkeys(names):
            if name not in self.live:
                value = self._constant_value(name)
                for _ in range(self.batches):
                    self.live.append(name, value)

    def _require_computed(self, names: Sequence[str]) -> None:
        nodes = self._with_readers(self._missing(names))
        if not nodes:
            return
        for position in nodes:
            self.pending.subtract(reads(self.model.graph.node[position]))
        self.done.update(nodes)
        written = (o for p in nodes for o in self.model.graph.node[p].output)
        made = [name for name in written if self.pending[name] > 0 and name not in self.handed]
        for values in self._run(nodes, made):
            for name, value in zip(made, values, strict=True):
                self.live.append(name, value)
        for name in {n for p in nodes for n in reads(self.model.graph.node[p])}:
            self._drop_if_read(name)

    def _constant_value(self, name: str) -> NDArray[Any]:
        """What a tensor holds that follows from stored values alone, the same in every batch."""
        tensor = next((t for t in self.model.graph.initializer if t.name == name), None)
        if tensor is not None:
            return tensor_array(tensor, self.base_dir)
        position = self.producer[name]
        piece, _ = self._piece([position], [name], {})
        session = open_session(piece, self.config, self.base_dir)
        return execute(session, [name], {})[0]

    def peek(self, name: str) -> Iterator[NDArray[Any]]:
        """The value of a tensor in each batch, without counting its nodes as run."""
        nodes = self._missing([name])
        if not nodes:
            value = self._constant_value(name)
            yield from (value for _ in range(self.batches))
        for (value,) in self._run(nodes, [name]) if nodes else ():
            yield value

    def release(self, name: str) -> None:
        """The caller has read the tensor for one of the times that he has announced."""
        self.pending[name] -= 1
        self._drop_if_read(name)

    def _drop_if_read(self, name: str) -> None:
        if name in self.live and self.pending[name] <= 0:
            self.live.drop(name)

    def _missing(self, names: Iterable[str]) -> list[int]:
        """Nodes that have to run first, in order."""
        found: set[int] = set()
        stack = [n for n in names if n not in self.live]
        while stack:
            position = self.producer.get(stack.pop())
            if position is None or position in found or position in self.constant:
                continue
            found.add(position)
            read = reads(self.model.graph.node[position])
            stack.extend(name for name in read if name not in self.live)
        return sorted(found)

    def _with_readers(self, nodes: list[int]) -> list[int]:
        """The nodes, and those that have to run together with them."""
        found, more = set(nodes), set(nodes) if self.handed else set[int]()
        while more:
            written = {o for p in more for o in self.model.graph.node[p].output} & self.handed
            readers = {
                p
                for p, node in enumerate(self.model.graph.node)
                if not written.isdisjoint(reads(node))
            } - found
            missing = self._missing(n for p in readers for n in reads(self.model.graph.node[p]))
            more = (readers | set(missing)) - found - self.done
            found |= more
        return sorted(found)

    def _run(self, nodes: Sequence[int], outputs: Sequence[str]) -> Iterator[list[NDArray[Any]]]:
        alive = {name: self.live[name] for name in self.live.names()}
        return self._values_of(nodes, outputs, alive, self.batches)

    def _values_of(
        self, nodes: Sequence[int], outputs: Sequence[str], given: Batches, count: int
    ) -> Iterator[list[NDArray[Any]]]:
        """What some nodes make of what is given, batch by batch."""
        if not outputs:
            return
        piece, inputs = self._piece(nodes, outputs, given)
        session = open_session(piece, self.config, self.base_dir)
        for number in range(count):
            feeds = {name: np.asarray(given[name][number]) for name in inputs}
            yield execute(session, outputs, feeds)

    def _piece(
        self, nodes: Sequence[int], outputs: Sequence[str], given: Batches
    ) -> tuple[ModelProto, Sequence[str]]:
        """A model of some nodes, and the given tensors that it reads."""
        chosen, stored = with_constants(self.model, nodes, self.constant)
        read = {name for node in chosen for name in reads(node)}
        made = {name for node in chosen for name in node.output}
        inputs = sorted(name for name in read - made if name in given)
        piece = shell(self.model, "graph")
        piece.graph.name = self.model.graph.name
        piece.graph.node.extend(chosen)
        piece.graph.initializer.extend(stored)
        piece.graph.input.extend(fed_input(name, given[name]) for name in inputs)
        if piece.ir_version < FREE_INITIALIZERS:
            piece.ir_version = 4
        piece.graph.output.extend(ValueInfoProto(name=name) for name in outputs)
        return piece, inputs


def start_walk(
    model: ModelProto, base_dir: Path | None, config: SessionConfig, wanted: Iterable[str]
) -> Walk:
    """Begin a run, which then has to be fed.

    Args:
        model: the model, nodes in topological order.
        base_dir: the folder of its external data.
        config: how to run it.
        wanted: the tensors that the caller is going to read, as often as he is going to.
    """
    graph = model.graph
    producer = producers(model)
    wishes = Counter(wanted)
    constant = constant_nodes(model)
    needed = _ancestors(model, producer, wishes) - constant
    pending = Counter(name for p in needed for name in reads(graph.node[p])) + wishes
    handed = not_tensors(ModelGraph(model, base_dir))
    return Walk(
        model=model,
        base_dir=base_dir,
        config=config,
        live=LiveTensors(),
        producer=producer,
        constant=constant,
        pending=pending,
        done=set(),
        handed=handed,
    )


def producers(model: ModelProto) -> dict[str, int]:
    """Tensor -> position of the node that writes it."""
    return {name: k for k, node in enumerate(model.graph.node) for name in node.output if name}


def _moved(positions: Iterable[int], start: int) -> Iterator[int]:
    return (p + (p >= start) for p in positions)


def _ancestors(model: ModelProto, producer: dict[str, int], names: Iterable[str]) -> set[int]:
    found: set[int] = set()
    stack = list(names)
    while stack:
        position = producer.get(stack.pop())
        if position is not None and position not in found:
            found.add(position)
            stack.extend(reads(model.graph.node[position]))
    return found
