"""With what a run computes: said once where a command begins, and named in its report."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from importlib.util import find_spec

from onnxslim_snacs.arithmetic.kernels import Arithmetic
from onnxslim_snacs.arithmetic.on_numpy import NUMPY
from onnxslim_snacs.arithmetic.on_torch import torch_on
from onnxslim_snacs.config.checks import check_arithmetic
from onnxslim_snacs.errors import UsageError
from onnxslim_snacs.torch_graph.late import torch
from onnxslim_snacs.torch_graph.threads import torch_threads

#: What is said where models run on a card and nothing else does.
ON_PROCESSOR = (
    "models run on the card, linear algebra on the processor: PyTorch with CUDA is not installed "
    "(pip install 'onnxslim-snacs[gpu]')"
)

_CURRENT: ContextVar[Arithmetic] = ContextVar("arithmetic", default=NUMPY)


def arithmetic() -> Arithmetic:
    """With what the run computes of which this is a part."""
    return _CURRENT.get()


@contextmanager
def computing(chosen: Arithmetic, threads: int) -> Iterator[None]:
    """Compute with this as long as it lasts.

    Args:
        chosen: what with, see `arithmetic_for`.
        threads: of torch, if that is it.
    """
    with ExitStack() as stack:
        if chosen.name == "torch":
            stack.enter_context(torch_threads(threads))
        token = _CURRENT.set(chosen)
        stack.callback(_CURRENT.reset, token)
        yield


def arithmetic_for(wanted: str, provider: str) -> Arithmetic:
    """With what to compute.

    Args:
        wanted: "numpy"; "torch", on the card if models run there; or "auto": torch where models run
            on a card that it sees, else numpy.
        provider: where models run, "cpu" or "cuda".

    Raises:
        UsageError: torch is wanted and not there, or there is no such arithmetic.
    """
    check_arithmetic(wanted)
    has_torch = find_spec("torch") is not None
    if wanted == "torch" and not has_torch:
        raise UsageError(
            "--arithmetic torch: PyTorch is not installed: it comes with the extras "
            "onnxslim-snacs[gpu] and [train]"
        )
    if wanted == "numpy" or not has_torch:
        return NUMPY
    sees_card = provider == "cuda" and torch.cuda.is_available()
    if wanted == "auto" and not sees_card:
        return NUMPY
    return torch_on("cuda" if sees_card else "cpu")


def arithmetic_as_planned(name: str, provider: str) -> Arithmetic:
    """With what a plan was made; numpy where torch is not installed.

    Args:
        name: of it, as the plan has it.
        provider: where models run, "cpu" or "cuda".
    """
    is_there = name != "torch" or find_spec("torch") is not None
    return arithmetic_for(name if is_there else "numpy", provider)


def left_on_processor(wanted: str, provider: str) -> tuple[str, ...]:
    """What there is to say if models run on a card and linear algebra does not, unasked for.

    Args:
        wanted: as `arithmetic_for` was asked for it.
        provider: where models run.
    """
    unasked = wanted == "auto" and provider == "cuda" and arithmetic().device == "cpu"
    return (ON_PROCESSOR,) if unasked else ()
