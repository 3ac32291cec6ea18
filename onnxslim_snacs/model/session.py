"""ONNX Runtime sessions: how a model is handed over, on which provider, and what comes back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, ValueInfoProto, helper

from onnxslim_snacs.config.checks import MOST_THREADS
from onnxslim_snacs.errors import NO_MEMORY, LimitExceeded, RuntimeRefused, UsageError, foreign
from onnxslim_snacs.model.graph import ModelGraph, captured
from onnxslim_snacs.model.handover import hand_over
from onnxslim_snacs.model.patience import patience
from onnxslim_snacs.model.shell import shell

_SMALL = 4096
#: ONNX Runtime's option for the folder of external data of a model that is given as bytes.
_FOLDER = "session.model_external_initializers_file_folder_path"
#: Operators that write no tensors, or may: what a body hands on is what it makes of it.
_HANDLES = ("Sequence", "Optional", "SplitToSequence", "ZipMap", "Loop", "Scan", "If")
#: Operators whose second input spells out numbers.
_SPELLED = ("Reshape", "Split", "Expand")


def import_onnxruntime() -> Any:
    """ONNX Runtime, which is an extra because its CPU and GPU packages are one module.

    Raises:
        UsageError: neither is installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise UsageError(
            "ONNX Runtime is not installed: pip install 'onnxslim-snacs[cpu]' or "
            "'onnxslim-snacs[gpu]'"
        ) from error
    onnxruntime.set_default_logger_severity(4)
    return onnxruntime


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """How to run a model.

    Attributes:
        provider: "cpu" or "cuda"; see `resolve_provider` for "auto".
        threads: threads within an operator; fixed, because results depend on it.
        level: ONNX Runtime's graph optimisation, 0 (none), 1 (basic), 2 (extended), 3 (all).
        order: in which order nodes run that could run at the same time: "default" or "priority"
            (ONNX Runtime's PRIORITY_BASED); decides how long activations stay in memory.
        plan_memory: whether to plan memory for inputs of one size; takes time quadratic in the
            number of nodes at the first run with each size.
        prepack: whether operators may keep a copy of their weights in an order of their own; None:
            not those of large models.
    """

    provider: str = "cpu"
    threads: int = 1
    level: int = 3
    order: str = "default"
    plan_memory: bool = True
    prepack: bool | None = None

    def __post_init__(self) -> None:
        """Refuse numbers of threads that no machine has."""
        if not 0 <= self.threads <= MOST_THREADS:
            raise UsageError(f"threads: got {self.threads}, expected 1 to {MOST_THREADS}")


def resolve_provider(wanted: str) -> str:
    """The provider to use: "cuda" or "cpu" for "auto", depending on what is there.

    Raises:
        UsageError: CUDA is asked for and not there, or the name is not known.
    """
    if wanted not in ("auto", "cpu", "cuda"):
        raise UsageError(f"--provider {wanted}: expected auto, cpu or cuda")
    has_cuda = "CUDAExecutionProvider" in import_onnxruntime().get_available_providers()
    if wanted == "cuda" and not has_cuda:
        raise UsageError(
            "--provider cuda: this ONNX Runtime has no CUDA provider; install onnxslim-snacs[gpu]"
        )
    return "cuda" if wanted != "cpu" and has_cuda else "cpu"


#: What ONNX Runtime says of an operator that it does not have, or not for these types.
_NO_OPERATOR = (
    "is not a registered function/op",
    "No opset import for domain",
    "No Op registered for",
    "Could not find an implementation for",
)


def lacks_operator(error: Exception) -> bool:
    """Whether ONNX Runtime refuses a model for an operator that it does not have."""
    return any(text in said(error) for text in _NO_OPERATOR)


def said(error: Exception) -> str:
    """What an error says, whole."""
    return error.said if isinstance(error, RuntimeRefused) else str(error)


def out_of_memory(error: Exception) -> bool:
    """Whether a library that has no exception of its own for it ran out of memory."""
    return isinstance(error, MemoryError) or any(text in str(error) for text in NO_MEMORY)


@contextmanager
def refusals() -> Iterator[None]:
    """Turn what ONNX Runtime raises into errors of ours: its own share no class.

    Nothing but a call of ONNX Runtime belongs into the block.

    Raises:
        RuntimeRefused: with its message.
        LimitExceeded: it asks for more memory than there is.
    """
    try:
        yield
    except Exception as error:
        if out_of_memory(error):
            raise LimitExceeded(
                "the model asks for more memory than there is (see --max-memory): "
                f"{foreign(str(error).strip() or type(error).__name__)}"
            ) from error
        raise RuntimeRefused(str(error).strip()) from error


@dataclass(frozen=True, slots=True)
class Session:
    """A session of ONNX Runtime whose faults are errors of ours.

    Attributes:
        inner: ONNX Runtime's own.
    """

    inner: Any

    def run(self, names: Sequence[str] | None, feeds: Mapping[str, Any]) -> list[Any]:
        """The outputs of these names, or all of them."""
        with refusals():
            results: list[Any] = self.inner.run(names, feeds)
        return results

    def run_with_iobinding(self, binding: Any) -> None:
        """Run with inputs and outputs where they are bound."""
        with refusals():
            self.inner.run_with_iobinding(binding)

    def io_binding(self) -> Any:
        """A new binding."""
        return self.inner.io_binding()

    def get_inputs(self) -> Sequence[Any]:
        """The inputs: their names, types and shapes."""
        found: Sequence[Any] = self.inner.get_inputs()
        return found

    def get_outputs(self) -> Sequence[Any]:
        """The outputs: their names, types and shapes."""
        found: Sequence[Any] = self.inner.get_outputs()
        return found

    def get_providers(self) -> list[str]:
        """Where it runs, the first choice first."""
        found: list[str] = self.inner.get_providers()
        return found


def create_session(
    model: ModelProto,
    config: SessionConfig,
    base_dir: Path | None = None,
    watched: Iterable[str] = (),
) -> Session:
    """A session over a model in memory, of any size.

    Args:
        model: the model.
        config: how to run it.
        base_dir: the folder of its external data.
        watched: tensors that are made outputs behind those of the model.

    Raises:
        InputRefused: external data cannot be read.
        RuntimeRefused: ONNX Runtime does not take the model.
        LimitExceeded: it asks for more memory than there is.
    """
    ort = import_onnxruntime()
    parts = hand_over(model, base_dir)
    options = ort.SessionOptions()
    options.intra_op_num_threads = config.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.enable_mem_pattern = config.plan_memory
    levels = ort.GraphOptimizationLevel
    options.graph_optimization_level = (
        levels.ORT_DISABLE_ALL,
        levels.ORT_ENABLE_BASIC,
        levels.ORT_ENABLE_EXTENDED,
        levels.ORT_ENABLE_ALL,
    )[config.level]
    providers = ["CPUExecutionProvider"]
    if config.provider == "cuda":
        providers.insert(0, "CUDAExecutionProvider")
    if config.prepack is False or (config.prepack is None and parts.is_large):
        options.add_session_config_entry("session.disable_prepacking", "1")
    if parts.folder is not None:
        options.add_session_config_entry(_FOLDER, str(parts.folder))
    if config.order == "priority":
        options.execution_order = ort.ExecutionOrder.PRIORITY_BASED
    make_value = ort.OrtValue.ortvalue_from_numpy_with_onnx_type
    with refusals():
        values = [make_value(value, kind) for value, kind in parts.values.values()]
        options.add_external_initializers(list(parts.values), values)
    # Protocol Buffers reads messages one after the other as one that has the fields of both.
    more = ModelProto(graph=GraphProto(output=[ValueInfoProto(name=name) for name in watched]))
    data = parts.proto.SerializeToString() + more.SerializeToString()
    with refusals():
        return Session(ort.InferenceSession(data, options, providers=providers))


def not_tensors(graph: ModelGraph) -> frozenset[str]:
    """What is no tensor (sequences, optional values, maps), of what nodes write.

    ONNX Runtime is asked, for static inference stops at operators that ONNX does not know.

    Args:
        graph: the model.
    """
    handled = any(node.op_type.startswith(_HANDLES) for node in graph.nodes)
    if not handled and not graph.proto.functions:
        return frozenset()
    made = [name for node in graph.nodes for name in node.output if name]
    watched = [name for name in made if name not in graph.outputs]
    config = SessionConfig(level=0, plan_memory=False)
    session = create_session(graph.proto, config, graph.base_dir, watched)
    kinds = {output.name: output.type for output in session.get_outputs()}
    return frozenset(name for name in made if not kinds[name].startswith("tensor("))


@dataclass(frozen=True)
class ProbeSession:
    """A session that answers with the shape of every tensor and the value of constant ones.

    Attributes:
        session: ONNX Runtime's session.
        shaped: tensors asked for their shape only.
        valued: tensors asked for their value.
        stored: values that are known.
    """

    session: Session
    shaped: tuple[str, ...]
    valued: tuple[str, ...]
    stored: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def probe(
        self, feeds: Mapping[str, NDArray[Any]]
    ) -> tuple[dict[str, tuple[int, ...]], dict[str, NDArray[Any]]]:
        """Run once; (tensor -> shape, tensor -> value)."""
        outputs = [_shape_name(name) for name in self.shaped]
        with patience():
            results = self.session.run([*outputs, *self.valued], dict(feeds))
        cut = len(outputs)
        shapes = {
            name: tuple(int(d) for d in result)
            for name, result in zip(self.shaped, results[:cut], strict=True)
        }
        values = {n: np.asarray(v) for n, v in zip(self.valued, results[cut:], strict=True)}
        shapes.update((name, np.shape(value)) for name, value in (*values.items(), *feeds.items()))
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
    others = not_tensors(graph)
    asked = [name for name in valued if name not in graph.initializers and name not in others]
    made = [name for node in graph.nodes for name in node.output if name]
    told = (*graph.inputs, *(n for n in made if n not in valued and n not in others))
    shaped = tuple(dict.fromkeys(told))
    light.graph.node.extend(
        helper.make_node("Shape", [name], [_shape_name(name)]) for name in shaped
    )
    del light.graph.output[:]
    light.graph.output.extend(
        ValueInfoProto(name=name) for name in (*map(_shape_name, shaped), *sorted(asked))
    )
    config = SessionConfig(threads=threads, level=0, plan_memory=False)
    session = create_session(light, config, graph.base_dir)
    return ProbeSession(session, shaped, tuple(sorted(asked)))


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
    return ProbeSession(session, tuple(names), tuple(made), stored)


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
