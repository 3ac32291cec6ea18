"""The ten bugs of the properties, planted while ten real files of different kinds are cut.

Quantised, half precision, recurrent and chaotic files are among them, whose own rounding noise
gives a proof more to allow.  A bug that changes nothing in a file (no such node, or none that is
cut) has nothing to be found there; for each there is a file that has it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto

from benchmarks.coverage.inputs import filled, light_models
from onnxslim_snacs.model.load import load_model
from onnxslim_snacs.ops.analyse import analyse
from onnxslim_snacs.passes.prune import prune
from onnxslim_snacs.proof.prove import prove
from tests.harness import random_keep
from tests.properties.test_planted_bugs import BUGS, Bug, _Model
from tests.shared.test_planted_weights import FILES

#: Bug -> more files that have what it spoils, and are soon cut.
MORE = {
    "BN mean not sliced": ("models/cifar10_akamaster_resnet20_ts17_bn.onnx",),
    "concat offset": ("models/face_blazeface_front128.onnx", "models/cgan_32_ch1.onnx"),
    "group conv": ("light_shufflenet",),
    "depthwise weight": (
        "models/mlctiny_vww_96_keras_op15.onnx",
        "models/face_blazeface_front128.onnx",
    ),
    "shared weight twice": ("models/headpose_fsanet_1x1.onnx",),
    "transposed Gemm": ("models/nn4sys_mscn_128d.onnx", "models/rl_mlagents_sorter.onnx"),
    "PRelu slope": ("slopes",),
}


def file(name: str, shared: Path, folder: Path) -> Path:
    """Where a model lies; those without a folder are made."""
    if "/" in name:
        return shared / name
    path = folder / f"{name}.onnx"
    if not path.exists():
        onnx.save(MADE[name](shared), path)
    return path


def shuffled(shared: Path) -> ModelProto:
    """ShuffleNet of the onnx package, whose convolutions have groups of many channels."""
    (path,) = (p for p in light_models() if p.stem == "light_shufflenet")
    return filled(onnx.load(path))


def sloped(shared: Path) -> ModelProto:
    """A real ResNet with a slope for each channel in the place of each Relu."""
    model = onnx.load(shared / "models/mlctiny_pretrainedResnet_keras_op15.onnx")
    whole = onnx.shape_inference.infer_shapes(model)
    channels = {v.name: v.type.tensor_type.shape.dim[1].dim_value for v in whole.graph.value_info}
    rng = np.random.default_rng(0)
    for node in [n for n in model.graph.node if n.op_type == "Relu"]:
        slope = rng.uniform(0.1, 0.5, (channels[node.input[0]], 1, 1)).astype(np.float32)
        name = f"{node.output[0]}_slope"
        model.graph.initializer.append(onnx.numpy_helper.from_array(slope, name))
        node.op_type = "PRelu"
        node.input.append(name)
    return model


MADE = {"light_shufflenet": shuffled, "slopes": sloped}


def made(path: Path) -> tuple[ModelProto, bool]:
    """Half of every group at random: the cut, and whether it is proved."""
    analysis = analyse(load_model(path))
    keep = random_keep(analysis, 0.5, 0)
    cut = prune(analysis, keep)
    return cut, prove(analysis, keep, cut).passed


def bites(bug: Bug, path: Path, right: ModelProto, monkeypatch: pytest.MonkeyPatch) -> bool | None:
    """Whether the bug is caught where it changes something; None if it does not."""
    with monkeypatch.context() as patch:
        bug.plant(patch, _Model(load_model(path).proto))
        try:
            cut, passed = made(path)
        except Exception:
            return True
        if cut.SerializeToString(deterministic=True) == right.SerializeToString(deterministic=True):
            return None
        return not passed


def files(bug: Bug) -> Iterator[str]:
    yield from dict.fromkeys((*FILES, *MORE.get(bug.name, ())))


@pytest.fixture(scope="module")
def right() -> dict[str, ModelProto]:
    return {}


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_each_of_the_ten_bugs_is_caught(
    bug: Bug,
    shared: Path,
    right: dict[str, ModelProto],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    found: dict[str, bool] = {}
    for name in files(bug):
        path = file(name, shared, tmp_path)
        if name not in right:
            cut, passed = made(path)
            assert passed, name
            right[name] = cut
        caught = bites(bug, path, right[name], monkeypatch)
        if caught is not None:
            found[name] = caught
    print(f"{bug.name}: {found}")
    assert found
    assert all(found.values()), [name for name, caught in found.items() if not caught]
