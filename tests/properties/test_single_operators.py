"""P4 and P11 over G4: every operator of ONNX, alone and on the path of channels that could go."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from onnx import ModelProto

from onnxslim_snacs.errors import InputRefused
from onnxslim_snacs.ir.keep import keep_map
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.ops.analyse import analyse
from onnxslim_snacs.passes.prune import prune
from onnxslim_snacs.verify import prove
from tests.harness import random_keep
from tests.properties.counts import Failures, chunks, count, piece_name
from tests.properties.operators import OperatorCase, between_layers, operator_cases

#: Nearly all of those that the onnx package has; a newer one may have more.
ALL = 1884
#: At least this share of the operators lets something go.
CUTTING = 0.2


def cut_and_prove(model: ModelProto, seed: int) -> bool:
    """Whether something could go; raises if the analysis fails or the cut is wrong."""
    try:
        analysis = analyse(ModelGraph(model))
    except InputRefused:  # ONNX Runtime cannot run it, and says so
        return False
    same = prune(analysis, keep_map(analysis.ir, {}))
    assert same.SerializeToString() == model.SerializeToString(), "P4"
    if not analysis.ir.groups:
        return False
    keep = random_keep(analysis, 0.5, seed)
    proof = prove(analysis, keep, prune(analysis, keep))
    assert proof.passed or proof.refused, proof.failure
    return True


def drawn() -> list[OperatorCase]:
    """As many cases as are wanted, evenly spread over the alphabet."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        cases = operator_cases()
    wanted = count(200, len(cases))
    return [cases[k * len(cases) // wanted] for k in range(wanted)]


@pytest.mark.parametrize("piece", chunks(200, ALL, size=200), ids=piece_name)
def test_every_operator_alone_and_between_layers(piece: range) -> None:
    failures, cutting, cases = Failures(), 0, drawn()[piece.start : piece.stop]
    for seed, case in enumerate(cases, piece.start):
        rng = np.random.default_rng(seed)
        models = [case.model, *(between_layers(case, int(s)) for s in rng.integers(2**31, size=2))]
        for way, model in zip(("alone", "between", "between"), models, strict=True):
            try:
                cutting += model is not None and cut_and_prove(model, seed)
            except Exception as error:
                failures.add(f"{case.name} {way} (seed {seed})", error)
    assert not list(failures), failures.report()
    assert cutting >= CUTTING * len(cases), f"only {cutting} of {len(cases)} operators were cut"
