"""P4 and P11 over models of nnsmith, where it is installed: never a crash, never a wrong cut."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from tests.properties.counts import Failures, chunks, piece_name
from tests.properties.operators import between_layers, cut_and_prove
from tests.properties.smith import import_nnsmith, smith_case


@pytest.mark.parametrize("piece", chunks(500, 5_000, size=50), ids=piece_name)
def test_models_of_nnsmith_alone_and_between_layers(piece: range, tmp_path: Path) -> None:
    import_nnsmith()
    failures = Failures()
    for seed in piece:
        case = smith_case(seed)
        for way, model in (("alone", case.model), ("between", between_layers(case, seed))):
            if model is None:
                continue
            try:
                cut_and_prove(model, seed)
            except Exception as error:
                # What a seed gives also depends on how fast the solver was: keep the model itself.
                kept = tmp_path / f"{seed}_{way}.onnx"
                onnx.save(model, kept)
                failures.add(f"{case.name} {way} ({kept})", error)
    assert not list(failures), failures.report()
