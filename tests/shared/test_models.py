"""Real networks from public projects: groups, budgets, proofs, sizes."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxslim_snacs import CompressConfig, DataConfig, apply_plan, compress, inspect, verify_files
from onnxslim_snacs.cli.app import run
from onnxslim_snacs.model.session import SessionConfig, create_session
from onnxslim_snacs.plan.written import load_plan
from tests.harness import cifar

pytestmark = pytest.mark.shared

#: ResNet for CIFAR: blocks in each of the three stages.
RESNETS = {
    "cifar10_akamaster_resnet56_ts17_bn": 9,
    "cifar10_akamaster_resnet56_ts11": 9,
    "cifar10_akamaster_resnet20_ts17_bn": 3,
    "cifar10_akamaster_resnet20_dynamo20": 3,
}
#: More axes than a channel inside a block lies on; one that runs through stages lies on dozens.
INNER = 10

#: Share of the parameters that may be left when half of the channels of every group go.
HALVED = {
    "mlctiny_pretrainedResnet_keras_op15": 0.26,
    "mlctiny_vww_96_keras_op15": 0.27,
    "face_ultralight_RFB320": 0.38,
    "ocr_ch_ppocr_mobile_v20_cls_infer": 0.31,
    "squeezenet_fp16_winml": 0.36,
    "mnist_cntk_winml": 0.37,
    "acasxu_1_1": 0.27,
    "collins_rul_cnn_full40": 0.21,
    "mlctiny_ad01_keras_op15": 0.41,
    "sr_espcn_subpixel_float": 0.30,
    "cgan_32_ch1": 0.26,
    "audio_silero_vad": 0.68,
}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 1,000 training images, prepared as the networks were trained."""
    pixels, labels = cifar(1000)
    mean, std = np.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[:, :, None, None]
    inputs = (pixels / np.float32(255) - mean) / std
    path = tmp_path_factory.mktemp("cifar") / "images.npz"
    np.savez(path, input=inputs.astype(np.float32), labels=labels)
    return path


@pytest.mark.parametrize(("name", "blocks"), RESNETS.items())
def test_groups_of_residual_networks(name: str, blocks: int, shared: Path) -> None:
    """Blocks inside, and streams coupled through the zero-padding shortcuts."""
    found = inspect(shared / "models" / f"{name}.onnx")
    inner = [g.units for g in found.groups if len(g.axes) <= INNER]
    streams = [g.units for g in found.groups if len(g.axes) > INNER]
    assert Counter(inner) == {16: blocks, 32: blocks, 64: blocks}
    assert sorted(streams) == [16, 16, 32]
    assert [(pin.op, pin.reason) for pin in found.pins] == [
        ("graph", "graph input"),
        ("graph", "graph output"),
    ]


def test_exporters_agree(shared: Path) -> None:
    """Three exporters, one network: the same groups, and the same weights in them."""
    names = [name for name in RESNETS if "resnet56" in name]
    a, b = (inspect(shared / "models" / f"{name}.onnx").groups for name in names)
    assert Counter(g.units for g in a) == Counter(g.units for g in b)


def test_half_of_the_work_of_resnet56(shared: Path, images: Path, tmp_path: Path) -> None:
    model = shared / "models" / "cifar10_akamaster_resnet56_ts17_bn.onnx"
    out, again, plan = tmp_path / "o.onnx", tmp_path / "again.onnx", tmp_path / "p.json"
    config = CompressConfig(
        data=DataConfig(str(images)), target={"macs": 0.5}, criterion="l1", recover="none"
    )
    done = compress(model, config, out=out, plan_out=plan)
    report = done.report
    assert 0.48 <= report.after.macs / report.before.macs <= 0.5
    assert report.proof is not None
    assert report.proof.passed
    assert report.proof.max_rel_diff <= 1e-5
    cut = onnx.load(out)
    onnx.checker.check_model(cut, full_check=True)
    for level in range(4):
        create_session(cut, SessionConfig(level=level))
    assert verify_files(model, out, load_plan(plan)).passed
    apply_plan(model, load_plan(plan), out=again)
    assert out.read_bytes() == again.read_bytes()


def test_snacs_on_resnet20(shared: Path, images: Path, tmp_path: Path) -> None:
    """The default way, twice: the budget is met, and the bytes are the same."""
    model = shared / "models" / "cifar10_akamaster_resnet20_ts17_bn.onnx"
    files = [tmp_path / "1.onnx", tmp_path / "2.onnx"]
    for out in files:
        report = out.with_suffix(".json")
        line = ["compress", model, "--data", images, "--target", "macs=0.5", "-o", out]
        assert run([str(a) for a in (*line, "--report", report)]) == 0
        found = json.loads(report.read_text())
        assert 0.48 <= found["after"]["macs"] / found["before"]["macs"] <= 0.5
        assert found["proof"]["max_rel_diff"] <= 1e-5
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize(("name", "share"), HALVED.items())
def test_half_of_the_channels(name: str, share: float, shared: Path, tmp_path: Path) -> None:
    model, out = shared / "models" / f"{name}.onnx", tmp_path / "o.onnx"
    config = CompressConfig(data=DataConfig(samples=8), ratio=0.5, criterion="l1", recover="none")
    report = compress(model, config, out=out).report
    assert report.proof is not None
    assert report.proof.passed
    assert report.after.params <= share * report.before.params
    assert out.stat().st_size < model.stat().st_size
    assert all(pin.reason and pin.axis for pin in report.pins)
    for level in range(4):
        create_session(onnx.load(out), SessionConfig(level=level))


#: Files that take other ways through the command line: exit code and what is said.
ENDS = {
    "custom_ops/qonnx_mnist_TFC_2W2A": (4, "no channel of this model can go"),
    "tract_xgb_classifier": (4, "TreeEnsembleClassifier has no rule"),
}


@pytest.mark.parametrize(("name", "end"), ENDS.items())
def test_refusals(
    name: str,
    end: tuple[int, str],
    shared: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = ["compress", shared / "models" / f"{name}.onnx", "--criterion", "l1", "--ratio", "0.5"]
    out = tmp_path / "o.onnx"
    assert run([str(a) for a in (*line, "-o", out)]) == end[0]
    assert end[1] in capsys.readouterr().err
    assert not out.exists()


def test_around_an_operator_that_cannot_be_run(shared: Path, tmp_path: Path) -> None:
    """An image is decoded, made larger by a network, and encoded again."""
    model = shared / "models" / "custom_ops" / "sr_pytorch_prepost_op18.onnx"
    config = CompressConfig(ratio=0.5, criterion="l1", recover="none")
    report = compress(model, config, out=tmp_path / "o.onnx").report
    assert report.proof is not None
    assert report.proof.passed
    assert report.after.params <= 0.44 * report.before.params
    assert any("DecodeImage" in warning for warning in report.warnings)
