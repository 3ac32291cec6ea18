"""Commands compute with what they are asked for, from their beginning to their report."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from onnxslim_snacs.arithmetic.current import arithmetic_for, computing
from onnxslim_snacs.config import CompressConfig, ReleasedConfig
from onnxslim_snacs.config.comparison import CompareConfig
from onnxslim_snacs.model.session import resolve_provider

P = ParamSpec("P")
R = TypeVar("R")


def computes(
    usual: Callable[[], CompressConfig | ReleasedConfig | CompareConfig],
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A command that computes with what its `config` says.

    Args:
        usual: what that is if nobody gives one.
    """

    def computed(command: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(command)

        @functools.wraps(command)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            config = signature.bind(*args, **kwargs).arguments.get("config") or usual()
            wanted = config.arithmetic if isinstance(config, CompressConfig) else "auto"
            chosen = arithmetic_for(wanted, resolve_provider(config.provider))
            with computing(chosen, config.threads):
                return command(*args, **kwargs)

        return call

    return computed
