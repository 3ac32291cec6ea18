"""Limits beside the release's own way: weights set to zero, the network run, scikit-learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from sklearn.svm import SVC

from onnxslim_snacs.activations.open_data import open_source
from onnxslim_snacs.config import DataConfig
from onnxslim_snacs.model.load import load_model
from onnxslim_snacs.model.session import SessionConfig
from onnxslim_snacs.ops.analyse import analyse
from onnxslim_snacs.passes.zero_connections import zero_connections
from onnxslim_snacs.scores.criterion import ScoreContext
from onnxslim_snacs.scores.snacs.connections import score_connections
from onnxslim_snacs.scores.snacs.limits import SHARES, removed_at_cutoff
from onnxslim_snacs.scores.snacs.svm import fit_support_vectors

MODELS = Path(__file__).resolve().parents[2] / "models"


@pytest.mark.parametrize(("classes", "spread"), [(2, 0.5), (3, 1.0), (10, 0.3)])
def test_support_vectors_are_those_of_libsvm(classes: int, spread: float) -> None:
    rng = np.random.default_rng(classes)
    numbers = rng.integers(0, classes, 400)
    middle = spread * rng.standard_normal((classes, 12))
    rows = np.maximum(middle[numbers] + rng.standard_normal((400, 12)), 0) * np.linspace(0.1, 3, 12)
    theirs = SVC(random_state=0, tol=1e-5).fit(rows, numbers)
    ours = fit_support_vectors(rows, numbers)
    for changed in (rows, 0.5 * rows, rows + 1.0):
        assert np.array_equal(ours.predict(changed), theirs.predict(changed))


def test_features_that_do_not_vary_give_one_class() -> None:
    ours = fit_support_vectors(np.ones((6, 3)), np.array([0, 0, 0, 0, 1, 1]))
    assert len(set(ours.predict(np.ones((2, 3))).tolist())) == 1


def outputs(model: onnx.ModelProto, name: str, images: Any) -> Any:
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    if name not in [output.name for output in shown.graph.output]:
        shown.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    session = onnxruntime.InferenceSession(shown.SerializeToString())
    return session.run([name], {"image": images})[0]


def pooled(value: Any) -> Any:
    return np.maximum(value.reshape(*value.shape[:2], -1).mean(axis=2), 0)


def test_limits_are_the_release_s() -> None:
    graph = load_model(MODELS / "digits_resnet.onnx")
    data = DataConfig(str(MODELS / "digits_calibration.npz"), samples=200)
    source = open_source(data, graph)
    analysis = analyse(graph)
    context = ScoreContext(analysis, source, SessionConfig())
    images = np.concatenate([batch.inputs["image"] for batch in source.batches(50)])
    proto = analysis.graph.proto
    classes = outputs(proto, analysis.graph.outputs[0], images).argmax(axis=1)
    compared = 0
    for layer in score_connections(context).layers[1:]:
        name, node = layer.pair.child.out.tensor, layer.pair.child.node
        theirs = SVC(random_state=0, tol=1e-5).fit(pooled(outputs(proto, name, images)), classes)
        reached = []
        for share in SHARES:
            cut = zero_connections(analysis, {node: removed_at_cutoff(layer.rho, share)})
            reached.append(theirs.score(pooled(outputs(cut, name, images)), classes))
        line = max(reached) - 0.7 * (max(reached) - min(reached))
        limit = SHARES[np.flatnonzero(np.array(reached) >= line)[-1]]
        assert layer.limit == pytest.approx(limit, abs=0.03), layer.pair.child.name
        compared += 1
    assert compared >= 6
