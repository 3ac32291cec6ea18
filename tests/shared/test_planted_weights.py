"""One per cent of one weight, in ten cut files: noisy, quantised, half, chaotic ones among them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, numpy_helper

from onnxslim_snacs.model.load import load_model
from onnxslim_snacs.model.stored import stored_tensors
from onnxslim_snacs.ops.analyse import analyse
from onnxslim_snacs.passes.prune import prune
from onnxslim_snacs.proof.prove import prove
from tests.harness import random_keep

FILES = (
    "field/difference_of_coordinates.onnx",
    "field/topk_near_ties.onnx",
    "field/E2_dynamic_quant.onnx",
    "field/mixed_fp16_fp32.onnx",
    "field/B11_xlnet.onnx",
    "models/audio_gtcrn_stream_simple.onnx",
    "models/cifar10_vit_pgd_2_3_16.onnx",
    "models/mlctiny_vww_96_int8_tflite.onnx",
    "models/mnist_rten.onnx",
    "models/text_nnsplit_en_lstm.onnx",
)
#: The kind of real numbers; whole ones of one byte stand for them.
_REAL = "f"


def moved(model: ModelProto, number: int, rng: np.random.Generator) -> ModelProto:
    """The model with one entry of a stored tensor moved by one per cent, or by one step."""
    copy = ModelProto()
    copy.CopyFrom(model)
    tensor = [tensor for _, tensor in stored_tensors(copy)][number]
    array = numpy_helper.to_array(tensor).copy()
    flat = array.reshape(-1)
    place = rng.choice(np.flatnonzero(flat))
    flat[place] = flat[place] * 1.01 if array.dtype.kind == _REAL else flat[place] ^ 1
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return copy


@pytest.mark.shared
@pytest.mark.parametrize("name", FILES)
def test_one_per_cent_of_one_weight_is_found(name: str, shared: Path) -> None:
    analysis = analyse(load_model(shared / name))
    keep = random_keep(analysis, 0.5, 0)
    cut = prune(analysis, keep)
    assert keep.kept
    proof = prove(analysis, keep, cut)
    assert proof.passed, proof.failure
    arrays = [numpy_helper.to_array(tensor) for _, tensor in stored_tensors(cut)]
    known = [
        k
        for k, a in enumerate(arrays)
        if a.ndim > 1 and (a.dtype.kind == _REAL or a.dtype.itemsize == 1) and a.any()
    ]
    rng = np.random.default_rng(0)
    for number in rng.choice(known, size=2, replace=False):
        assert not prove(analysis, keep, moved(cut, number, rng)).passed
