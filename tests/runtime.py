"""A stand-in for ONNX Runtime that notes how it is used, and has a CUDA card if so wanted.

What is asked of the card is computed by the real ONNX Runtime on the processor.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
Feeds = Mapping[str, NDArray[Any]]


@dataclass
class Opened:
    """A session that was asked for.

    Attributes:
        providers: in the order in which they were asked for.
        options: what it was opened with.
        session: the real one, on the processor.
        feeds: the inputs of each run.
        bound: where inputs and outputs were bound to, by their names, if they were.
    """

    providers: list[str]
    options: Any
    session: Any
    feeds: list[Feeds] = field(default_factory=list)
    bound: dict[str, str] = field(default_factory=dict)

    @property
    def threads(self) -> int:
        return int(self.options.intra_op_num_threads)

    @property
    def level(self) -> int:
        names = ("ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED", "ORT_ENABLE_ALL")
        levels = [getattr(onnxruntime.GraphOptimizationLevel, name) for name in names]
        return levels.index(self.options.graph_optimization_level)

    @property
    def inputs(self) -> set[str]:
        return {value.name for value in self.session.get_inputs()}

    def get_providers(self) -> list[str]:
        return self.providers

    def run(self, names: Sequence[str] | None, feeds: Feeds, options: Any = None) -> Any:
        self.feeds.append(dict(feeds))
        return self.session.run(names, feeds, options)

    def io_binding(self) -> Binding:
        return Binding(self)

    def run_with_iobinding(self, binding: Binding) -> None:
        binding.results = self.run(binding.names, binding.feeds)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.session, name)


@dataclass
class Binding:
    """Inputs on the card, outputs wherever they were asked for."""

    opened: Opened
    feeds: dict[str, NDArray[Any]] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    results: Any = None

    def bind_ortvalue_input(self, name: str, value: OnCard) -> None:
        self.feeds[name] = value.array
        self.opened.bound[name] = value.where

    def bind_output(self, name: str, where: str = "cpu") -> None:
        self.names.append(name)
        self.opened.bound[name] = where

    def copy_outputs_to_cpu(self) -> Any:
        return self.results


@dataclass(frozen=True)
class OnCard:
    array: NDArray[Any]
    where: str


class Runtime(ModuleType):
    """What `import onnxruntime` gives."""

    def __init__(self, *, cuda: bool) -> None:
        super().__init__("onnxruntime")
        self.opened: list[Opened] = []
        self.providers = [CUDA, CPU] if cuda else [CPU]
        self.OrtValue = SimpleNamespace(
            ortvalue_from_numpy=self._value,
            ortvalue_from_numpy_with_onnx_type=(
                onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type
            ),
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(onnxruntime, name)

    @staticmethod
    def _value(array: NDArray[Any], device: str = "cpu", number: int = 0) -> OnCard:
        return OnCard(np.asarray(array), f"{device}:{number}")

    def get_available_providers(self) -> list[str]:
        return list(self.providers)

    def InferenceSession(self, model: Any, options: Any, providers: Sequence[str]) -> Opened:
        assert set(providers) <= set(self.providers), "asked for what is not there"
        real = onnxruntime.InferenceSession(model, options, providers=[CPU])
        self.opened.append(Opened(list(providers), options, real))
        return self.opened[-1]

    @property
    def on_samples(self) -> list[Opened]:
        """Sessions on the card."""
        return [opened for opened in self.opened if opened.providers[0] == CUDA]


def stand_in(patch: pytest.MonkeyPatch, *, cuda: bool = False) -> Runtime:
    """Let everybody who imports ONNX Runtime from now on get a stand-in."""
    runtime = Runtime(cuda=cuda)
    patch.setitem(sys.modules, "onnxruntime", runtime)
    return runtime
