"""torch, loaded when it is first used: reading an operator's file must not take its seconds."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from onnxslim_snacs.errors import UsageError


class _Late:
    """A module of torch that is imported when one of its names is asked for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        try:
            module = importlib.import_module(self._name)
        except ImportError as error:
            raise UsageError(
                "PyTorch is not installed: pip install 'onnxslim-snacs[train]'"
            ) from error
        value = getattr(module, attribute)
        setattr(self, attribute, value)
        return value


if TYPE_CHECKING:
    import torch
    import torch.nn.functional as functional
else:
    torch = _Late("torch")
    functional = _Late("torch.nn.functional")

__all__ = ["functional", "torch"]
