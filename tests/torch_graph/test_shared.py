"""Real files: torch computes what ONNX Runtime computes."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.torch_graph.run import compare

pytestmark = pytest.mark.shared

#: Files that torch runs.
FILES = [
    "acasxu_1_1",
    "audio_dtln_1",
    "audio_gtcrn_stream_simple",
    "audio_silero_vad",
    "carvana_unet_upsample_small",
    "cgan_32_ch1",
    "cifar10_akamaster_resnet20_dynamo20",
    "cifar10_akamaster_resnet20_ts17_bn",
    "cifar10_akamaster_resnet56_ts11",
    "cifar10_vit_pgd_2_3_16",
    "collins_rul_cnn_full40",
    "face_blazeface_front128",
    "gtsrb_bnn_48",
    "headpose_fsanet_1x1",
    "mlctiny_ad01_keras_op15",
    "mlctiny_kws_ref_model_float32_tflite",
    "mlctiny_pretrainedResnet_keras_op15",
    "mlctiny_str_ww_ref_model_keras_op15",
    "mlctiny_vww_96_int8_tflite",
    "mnist_cntk_winml",
    "mnist_rten",
    "nn4sys_mscn_128d",
    "ocr_ch_ppocr_mobile_v20_cls_infer",
    "rl_mlagents_hallway",
    "rl_mlagents_sorter",
    "seg_mediapipe_selfie_landscape",
    "squeezenet_fp16_winml",
    "sr_espcn_subpixel_float",
    "text_nnsplit_en_lstm",
    "tract_qlstm",
]


@pytest.mark.parametrize("name", FILES)
def test_equal_to_onnx_runtime(name: str, shared: Path) -> None:
    found = compare(shared / "models" / f"{name}.onnx")
    assert found.difference is not None, found.note
    assert found.difference <= 1e-4


def test_small_probabilities_are_as_exact_as_onnx_runtime_itself(shared: Path) -> None:
    """Its own Sigmoid is off by more than a hundredth of them at one of its levels."""
    found = compare(shared / "models" / "face_yunet_n_320.onnx")
    assert found.difference is not None, found.note
    assert found.difference <= 1.5 * found.spread


def test_trees_are_named(shared: Path) -> None:
    found = compare(shared / "models" / "tract_xgb_classifier.onnx")
    assert found.difference is None
    assert "ai.onnx.ml::TreeEnsembleClassifier" in found.note
