"""Recurrent models: states of a streaming model keep their extent, and real nets lose units."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onnxslim_snacs.ir.keep import keep_map
from onnxslim_snacs.model.load import load_model
from onnxslim_snacs.ops.analyse import analyse
from onnxslim_snacs.passes.prune import prune
from onnxslim_snacs.proof.oracle import masked_original
from onnxslim_snacs.proof.prove import prove
from onnxslim_snacs.report.make import cut_notes
from tests.harness import model_from_text, random_keep, read, run

STREAM = """<ir_version: 8, opset_import: ["" : 17]>
net (float[T,1,3] x, float[1,1,12] state, float[1,24,3] w_w, float[1,24,6] w_r, float[6,2] w_o)
  => (float[T,1,1,2] y, float[1,1,12] after)
    <int64[1] zero = {0}, int64[1] six = {6}, int64[1] twelve = {12}, int64[1] two = {2}> {
  h0 = Slice(state, zero, six, two)
  c0 = Slice(state, six, twelve, two)
  a, h, c = LSTM<hidden_size=6>(x, w_w, w_r, , , h0, c0)
  y = MatMul(a, w_o)
  after = Concat<axis=2>(h, c)
}"""


def test_a_stream_stays_equal_when_its_states_are_fed_back() -> None:
    analysis = read(model_from_text(STREAM, integers=False))
    (group,) = analysis.ir.groups
    gone = np.array([1, 4])
    keep = keep_map(analysis.ir, {group.id: ~np.isin(np.arange(6), gone)})
    models = [masked_original(analysis, keep), prune(analysis, keep)]
    states = [np.random.default_rng(0).standard_normal((1, 1, 12), dtype=np.float32)] * 2
    for step in range(4):
        x = np.random.default_rng(step).standard_normal((2, 1, 3), dtype=np.float32)
        runs = [run(m, {"x": x, "state": s}, level=0) for m, s in zip(models, states, strict=True)]
        for a, b in zip(*runs, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)
        states = [out[1] for out in runs]
        assert not states[1][..., np.r_[gone, gone + 6]].any()


def test_the_report_names_the_states_that_are_filled_up() -> None:
    analysis = read(model_from_text(STREAM, integers=False))
    (group,) = analysis.ir.groups
    keep = keep_map(analysis.ir, {group.id: np.arange(6) < 4})
    notes = cut_notes(analysis, keep)
    assert notes == {
        "state_ports": [
            {"node": "a", "state": "h", "units": 6, "kept": 4},
            {"node": "a", "state": "c", "units": 6, "kept": 4},
        ]
    }
    assert cut_notes(analysis, keep_map(analysis.ir, {})) == {}


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "hidden"),
    [
        ("audio_dtln_1", [128, 128]),
        ("text_nnsplit_en_lstm", [128, 128, 128]),
        ("audio_gtcrn_stream_simple", [16] * 6),
        ("rl_mlagents_hallway", [64]),
    ],
)
def test_real_recurrent_models_lose_hidden_units(
    name: str, hidden: list[int], shared: Path
) -> None:
    analysis = analyse(load_model(shared / "models" / f"{name}.onnx"))
    recurrent = {node.inputs[2] for node in analysis.nodes if node.op in ("LSTM", "GRU")}
    found = [
        group.units
        for group in analysis.ir.groups
        if any(member.axis.tensor in recurrent for member in group.members)
    ]
    assert [units for units in found if units in hidden] == hidden
    keep = random_keep(analysis, 0.5, 1)
    proof = prove(analysis, keep, prune(analysis, keep))
    assert proof.passed, proof.failure
