"""ONNX Runtime sessions: how a model is handed over, on which provider, and what comes back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto

from onnxslim_snacs.config.checks import MOST_THREADS
from onnxslim_snacs.errors import NO_MEMORY, LimitExceeded, RuntimeRefused, UsageError, foreign
from onnxslim_snacs.model.handover import hand_over

#: ONNX Runtime's option for the folder of external data of a model that is given as bytes.
_FOLDER = "session.model_external_initializers_file_folder_path"


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


#: The highest level of graph optimisation.
_ALL = 3


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
    more_options: dict[str, Any] = {"providers": providers}
    if config.level == _ALL and _may_crash(model.graph):
        more_options["disabled_optimizers"] = ["NchwcTransformer"]
    with refusals():
        return Session(ort.InferenceSession(data, options, **more_options))


def _may_crash(graph: GraphProto) -> bool:
    """Whether ONNX Runtime may crash as it looks for layers whose channels it could block.

    It does (1.32) at a Transpose in front of a MatMul in half precision, which recurrent layers
    with the batch first have, and blocks nothing there.
    """
    half = TensorProto.FLOAT16
    ops = {node.op_type for node in graph.node}
    if not ops.issuperset(("Transpose", "MatMul")):
        return False
    named = [a for node in graph.node for a in node.attribute if a.name in ("to", "value")]
    kinds = {a.i if a.name == "to" else a.t.data_type for a in named}
    kinds.update(info.type.tensor_type.elem_type for info in graph.input)
    return half in kinds.union(tensor.data_type for tensor in graph.initializer)
