"""Modules of PyTorch, cut as a plan says."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxslim_snacs.errors import FileSystemError, InputRefused, foreign
from onnxslim_snacs.torch_graph.late import torch

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

#: Attribute of a module -> (parameter, axis) that it is the extent of.
_EXTENTS = {
    "out_features": ("weight", 0),
    "in_features": ("weight", 1),
    "num_features": ("running_mean", 0),
    "num_channels": ("weight", 0),
    "embedding_dim": ("weight", 1),
    "num_embeddings": ("weight", 0),
}

Axes = Mapping[str, Mapping[int, Sequence[int]]]


def load_state(path: Path) -> dict[str, Tensor]:
    """A state_dict from a file of torch, bare or under `state_dict` or `model`.

    Raises:
        FileSystemError: there is no such file.
        InputRefused: it holds no state.
    """
    if not path.is_file():
        raise FileSystemError(f"--state-dict {foreign(path)}: no such file")
    try:
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch's errors share no class
        raise InputRefused(
            f"--state-dict {foreign(path)}: cannot be read as a state_dict, torch.save(model."
            f"state_dict(), ...): {foreign(error)}"
        ) from error
    for name in ("state_dict", "model"):
        if isinstance(found, Mapping) and isinstance(found.get(name), Mapping):
            found = found[name]
    tensors = {
        str(key): value
        for key, value in (found.items() if isinstance(found, Mapping) else ())
        if isinstance(value, torch.Tensor)
    }
    if not tensors:
        raise InputRefused(f"--state-dict {foreign(path)} holds no tensors by name")
    return tensors


def axes_file(axes: Axes, groups: Mapping[str, int], nodes: Sequence[Any]) -> bytes:
    """A file for `torch.load` with what stays, as tensors of indices."""
    found = {
        name: {axis: torch.tensor(list(index)) for axis, index in by_axis.items()}
        for name, by_axis in axes.items()
    }
    buffer = io.BytesIO()
    torch.save({"axes": found, "groups": dict(groups), "nodes": list(nodes)}, buffer)
    return buffer.getvalue()


def prune_module(module: Module, axes: Axes, groups: Mapping[str, int] | None = None) -> Module:
    """Cut the parameters and buffers of a module in place.

    What modules say of their own extents (`out_channels`, `normalized_shape`, ...) follows; numbers
    in the code of `forward` are its author's.

    Args:
        module: the module; its parameters are replaced.
        axes: name in its state -> axis -> the slots that stay, as `export-plan` gives them.
        groups: name of a convolution's weight -> its groups, where these change.

    Returns:
        The module.
    """
    for key, by_axis in axes.items():
        path, _, name = key.rpartition(".")
        part: Any = module.get_submodule(path)
        old = getattr(part, name)
        made = old.detach()
        for axis, index in by_axis.items():
            made = made.index_select(axis, torch.as_tensor(index, device=made.device))
        if name in part._parameters:
            made = torch.nn.Parameter(made.clone(), requires_grad=old.requires_grad)
        setattr(part, name, made)
    for key, count in (groups or {}).items():
        owner: Any = module.get_submodule(key.rpartition(".")[0])
        owner.groups = count
    for path in {key.rpartition(".")[0] for key in axes}:
        _follow(module.get_submodule(path))
    return module


def _follow(owner: Any) -> None:
    """Let a module's own numbers be those of its parameters."""
    for attribute, (name, axis) in _EXTENTS.items():
        value = getattr(owner, name, None)
        if hasattr(owner, attribute) and value is not None and value.ndim > axis:
            setattr(owner, attribute, value.shape[axis])
    weight = getattr(owner, "weight", None)
    if isinstance(getattr(owner, "normalized_shape", None), tuple) and weight is not None:
        owner.normalized_shape = tuple(weight.shape)
    if isinstance(owner, torch.nn.modules.conv._ConvNd) and weight is not None:
        inner, outer = weight.shape[1] * owner.groups, weight.shape[0]
        turned = (weight.shape[0], weight.shape[1] * owner.groups)
        owner.in_channels, owner.out_channels = turned if owner.transposed else (inner, outer)
