"""At which sizes a cut is proved: two that differ in every extent of the inputs that is free."""

from __future__ import annotations

from itertools import islice
from math import prod

from onnxslim_snacs.errors import LimitExceeded, RuntimeRefused
from onnxslim_snacs.model.inferred import LARGE
from onnxslim_snacs.model.session import SessionConfig, create_session
from onnxslim_snacs.model.sizes import Sizes, default_sizes, random_inputs
from onnxslim_snacs.ops.analyse import Analysis

#: How many sizes that the analysis has not seen are tried before one is taken that it has.
_TRIES = 4


def input_sizes(analysis: Analysis) -> Sizes:
    """The first sizes of the inputs for which the shapes are known."""
    facts = analysis.facts
    sizes = {name: facts.samples(name)[0] for name in analysis.graph.inputs if facts.samples(name)}
    if len(sizes) != len(analysis.graph.inputs):
        sizes = default_sizes(analysis.graph, {})
    return sizes


def proving_sizes(analysis: Analysis, config: SessionConfig) -> list[Sizes]:
    """The sizes to run: two; of large models where nothing is free, one.

    Beside the first one of the analysis one that it has not seen, if the model runs there, and what
    the user has asked for.
    """
    settled = analysis.facts.settled
    if settled is None:
        return [input_sizes(analysis)] * 2
    first, *rest = (trial.sizes for trial in settled.trials)
    large = sum(map(prod, analysis.facts.shapes[0].values())) >= LARGE
    if not rest:
        return [first, *([] if large else [first]), *settled.asked]
    session = create_session(analysis.graph.proto, config, analysis.graph.base_dir)
    for sizes in islice(settled.fresh(least=large), _TRIES):
        try:
            session.run(None, random_inputs(analysis.graph, sizes, seed=0))
        except (RuntimeRefused, LimitExceeded):  # not every size is one
            continue
        return [first, sizes, *settled.asked]
    return [first, *rest, *settled.asked]
