"""G2 and G3: models of nnsmith, alone and between layers.

nnsmith comes with the `dev` extra; without it these tests are skipped.
"""

from __future__ import annotations

import functools
import warnings
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, helper

from tests.properties.operators import OperatorCase

#: Operators in a model.
NODES = 8


def import_nnsmith() -> Any:
    """The generator of graphs; skips the test where it is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reason = "nnsmith (of the dev extra) is not installed"
        return pytest.importorskip("nnsmith.graph_gen", reason=reason)


@functools.lru_cache(maxsize=1)
def _onnx_models() -> tuple[Any, Any]:
    """nnsmith's class of ONNX models, and the operators that it may draw."""
    import torch
    from nnsmith.abstract.extension import activate_ext
    from nnsmith.materialize import Model
    from nnsmith.narrow_spec import auto_opset

    # Newer torch exports by dynamo unless told otherwise, and then every operator fails.
    torch.onnx.export = functools.partial(torch.onnx.export, dynamo=False)
    kind = Model.init("onnx", backend_target="cpu")
    kind.add_seed_setter()
    opset = auto_opset(kind, None)
    activate_ext(opset=opset, factory=None)
    return kind, opset


def smith_case(seed: int) -> OperatorCase:
    """The model of a seed with inputs for it."""
    generator = import_nnsmith()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kind, opset = _onnx_models()
        drawn = generator.model_gen(
            opset=opset,
            method="concolic",
            seed=seed,
            max_nodes=NODES,
            timeout_ms=10_000,
            dtype_choices=["f32"],
        )
        model: ModelProto = kind.from_gir(drawn.make_concrete()).native_model
    rng = np.random.default_rng(seed)
    inputs = []
    for info in model.graph.input:
        shape = [d.dim_value for d in info.type.tensor_type.shape.dim]
        dtype = helper.tensor_dtype_to_np_dtype(info.type.tensor_type.elem_type)
        inputs.append(np.asarray(rng.uniform(1.0, 2.0, shape)).astype(dtype))
    return OperatorCase(f"nnsmith {seed}", model, inputs)
