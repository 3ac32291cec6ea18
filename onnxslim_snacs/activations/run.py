"""Samples through a session."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from onnxslim_snacs.activations.sources import BATCH, Batch, CalibrationSource
from onnxslim_snacs.arithmetic.torch_arrays import lent
from onnxslim_snacs.errors import InputRefused, LimitExceeded, RuntimeRefused
from onnxslim_snacs.model.bounds import memory_bound, working_memory
from onnxslim_snacs.model.facts import ModelFacts
from onnxslim_snacs.model.session import SessionConfig, create_session, import_onnxruntime


def run_batches(
    session: Any, source: CalibrationSource, size: int | None = None
) -> Iterator[tuple[Batch, dict[str, NDArray[Any]]]]:
    """Run all samples.

    Args:
        session: an ONNX Runtime session.
        source: the samples.
        size: samples in a run, unless the model fixes it; None for 32.

    Yields:
        Each batch and the model's outputs by name; where a fixed batch had to be filled, outputs
        with the batch as first dimension are cut back to the samples.

    Raises:
        InputRefused: the model fails on the samples.
    """
    names = [output.name for output in session.get_outputs()]
    for batch in source.batches(size):
        outputs = execute(session, names, batch.inputs)
        yield batch, {n: trimmed(o, batch) for n, o in zip(names, outputs, strict=True)}


def trimmed(output: NDArray[Any], batch: Batch) -> NDArray[Any]:
    """An output without repeated samples: `filled` rows become `size` along the sample axis."""
    if batch.size == batch.filled:
        return output
    axis = next(iter(batch.axes.values()), 0)
    for dim in dict.fromkeys((axis, 0)):
        if dim < output.ndim and output.shape[dim] == batch.filled:
            return np.take(output, np.arange(batch.size), axis=dim)
    return output


def comparable(outputs: Sequence[Any]) -> list[NDArray[Any]]:
    """The outputs by which models are compared.

    Quantities: floats, and bytes, which hold what a quantised model says.  A model without any is
    compared by the numbers that it gives, classes for instance.
    """
    arrays = [np.asarray(output) for output in outputs]
    return [a for a in arrays if is_quantity(a)] or [a for a in arrays if a.dtype.kind in "biu"]


def is_quantity(values: NDArray[Any]) -> bool:
    """Whether the numbers can be near each other, rather than equal or not."""
    return values.dtype.kind == "f" or (values.dtype.kind in "iu" and values.itemsize == 1)


@contextmanager
def refusing(what: str) -> Iterator[None]:
    """Say of what ONNX Runtime refuses what it was asked for.

    Args:
        what: what it was asked for, as the beginning of a sentence.

    Raises:
        InputRefused: with its message.
    """
    try:
        yield
    except RuntimeRefused as error:
        raise InputRefused(f"{what}: {error}") from error


def open_session(
    model: ModelProto,
    config: SessionConfig,
    base_dir: Path | None = None,
    watched: Iterable[str] = (),
) -> Any:
    """A session for samples, see `create_session`.

    Raises:
        InputRefused: ONNX Runtime does not take the model, or external data cannot be read.
    """
    with refusing("ONNX Runtime cannot load the model"):
        return create_session(model, config, base_dir, watched)


def execute(
    session: Any, names: Sequence[str], inputs: Mapping[str, NDArray[Any]]
) -> list[NDArray[Any]]:
    """Run a session once; on CUDA with its inputs and outputs bound.

    Raises:
        InputRefused: the model fails on the inputs.
    """
    with refusing("the model fails on the samples"):
        if session.get_providers()[0] == "CUDAExecutionProvider":
            outputs = execute_bound(session, names, inputs, "cuda")
        else:
            outputs = session.run(list(names), dict(inputs))
    return [_as_array(output) for output in outputs]


def execute_staying(
    session: Any,
    names: Sequence[str],
    inputs: Mapping[str, NDArray[Any]],
    staying: Collection[str],
    device: str,
) -> list[Any]:
    """Run a session once; some outputs stay where they are computed, as tensors of torch.

    Args:
        session: the session.
        names: outputs that are asked for.
        inputs: values by name.
        staying: those of them that stay; the others come as arrays.
        device: where they stay, "cuda" or "cpu".

    Raises:
        InputRefused: the model fails on the inputs.
    """
    on_card = session.get_providers()[0] == "CUDAExecutionProvider"
    with refusing("the model fails on the samples"):
        binding = _bound(session, inputs, "cuda" if on_card else "cpu")
        for name in names:
            binding.bind_output(name, device if name in staying else "cpu")
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()
    made = zip(names, binding.get_outputs(), strict=True)
    return [lent(value) if name in staying else value.numpy() for name, value in made]


def _as_array(output: Any) -> NDArray[Any]:
    """An output as an array; the numbers of a sequence of tensors follow each other."""
    if not isinstance(output, list):
        return np.asarray(output)
    if output and all(isinstance(part, np.ndarray) for part in output):
        return np.concatenate([part.reshape(-1) for part in output])
    return np.array(output, dtype=object)


def execute_bound(
    session: Any, names: Sequence[str], inputs: Mapping[str, NDArray[Any]], device: str
) -> list[NDArray[Any]]:
    """Run a session once, with its inputs on a device and its outputs bound to memory.

    Args:
        session: the session.
        names: outputs that are asked for.
        inputs: values by name.
        device: "cuda" or "cpu".
    """
    binding = _bound(session, inputs, device)
    for name in names:
        binding.bind_output(name, "cpu")
    session.run_with_iobinding(binding)
    results: list[NDArray[Any]] = binding.copy_outputs_to_cpu()
    return results


def _bound(session: Any, inputs: Mapping[str, NDArray[Any]], device: str) -> Any:
    """A binding of a session whose inputs lie on a device."""
    ort = import_onnxruntime()
    binding = session.io_binding()
    for name, value in inputs.items():
        binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(value, device, 0))
    return binding


def batch_size(
    facts: ModelFacts, source: CalibrationSource, kept: Sequence[str], memory: int | None = None
) -> int:
    """Samples in a run such that its activations fit into memory.

    Args:
        facts: shapes of the model's tensors, for the inputs with which they were found.
        source: the samples, which may be larger than those inputs.
        kept: activations that may all stay in memory until the run ends.
        memory: bytes that may be used; None for what `bounds.working_memory` says.

    Raises:
        LimitExceeded: not even a single sample fits within `--max-memory`.
    """
    if source.fixed_batch is not None or not facts.ran:
        return source.fixed_batch or BATCH
    sizes = {name: int(np.prod(shape)) for name, shape in facts.shapes[0].items()}
    probed = sum(sizes[name] for name in facts.graph.inputs)
    sample = next(source.part(0, 1).batches(1))
    share = sum(value.size for value in sample.inputs.values()) / probed
    elements = sum(sizes.get(name, 0) for name in kept) + 4 * max(sizes.values())
    each, bound = max(1.0, 4 * share * elements), memory_bound()
    if bound is not None and each > bound:
        raise LimitExceeded(
            f"the activations of one sample take about {each / 2**20:.0f} MiB, and the run "
            f"may take {bound / 2**20:.0f} MiB (see --max-memory)"
        )
    memory = working_memory() if memory is None else memory
    return int(min(BATCH, max(1, memory // each)))
