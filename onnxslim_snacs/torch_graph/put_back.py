"""Trained weights back into the file they came from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from onnx import ModelProto

from onnxslim_snacs.torch_graph.holdings import stored_values, to_array
from onnxslim_snacs.torch_graph.network import Network

if TYPE_CHECKING:
    from torch import Tensor


def with_weights(network: Network, values: Mapping[str, Tensor] | None = None) -> ModelProto:
    """The model with other stored values, everything else as it was.

    A value that has not changed, in the type in which it is stored, keeps its bytes.

    Args:
        network: the model.
        values: by key; None for the network's own, whatever training has made of them.
    """
    model = ModelProto()
    model.CopyFrom(network.graph.proto)
    fresh = network.parameters if values is None else values
    for _, stored in stored_values(model.graph):
        if stored.key not in fresh:
            continue
        before = stored.array(network.graph.base_dir)
        after = to_array(fresh[stored.key])
        if stored.key in network.whole:
            low, high = network.whole[stored.key]
            after = np.clip(np.rint(after), low, high)
        after = after.astype(before.dtype)
        if not np.array_equal(before, after):
            stored.put(after)
    return model
