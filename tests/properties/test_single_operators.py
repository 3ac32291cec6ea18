"""P4 and P11 over G4: every operator of ONNX, alone and on the path of channels that could go."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from tests.properties.counts import Failures, chunks, count, piece_name
from tests.properties.operators import OperatorCase, between_layers, cut_and_prove, operator_cases

#: Nearly all of those that the onnx package has; a newer one may have more.
ALL = 1884
#: At least this share of the operators lets something go.
CUTTING = 0.2


def drawn() -> list[OperatorCase]:
    """As many cases as are wanted, evenly spread over the alphabet, in a mixed order.

    The onnx package names its cases by operator; unmixed, a piece of a long run would hold nothing
    but casts, of which few let anything go.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        cases = operator_cases()
    wanted = count(200, len(cases))
    spread = [cases[k * len(cases) // wanted] for k in range(wanted)]
    return [spread[k] for k in np.random.default_rng(0).permutation(wanted)]


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
