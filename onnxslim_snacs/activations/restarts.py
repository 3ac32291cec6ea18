"""The outputs of a model with channels switched off, for many decisions on the same samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from onnxslim_snacs.activations.masked import MaskedModel, masked_model
from onnxslim_snacs.activations.run import comparable, execute, open_session
from onnxslim_snacs.activations.sources import Batch
from onnxslim_snacs.activations.tails import Opening, find_cuts, tail
from onnxslim_snacs.errors import InputRefused
from onnxslim_snacs.ir.keep import KeepMap
from onnxslim_snacs.model.external import is_external
from onnxslim_snacs.model.session import SessionConfig
from onnxslim_snacs.model.tensors import stored_bytes
from onnxslim_snacs.ops.analyse import Analysis

#: Places from which a run may start, beside the beginning.  For a chain of layers cut one by one
#: that leaves 0.58 of the work; any number of places would leave 0.5 and cost a session each.
RESTARTS = 5
#: Weights of a model of which a few further sessions may hold copies, in bytes.
_MOST_WEIGHTS = 1 << 27

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class _Part:
    """A session over the model from one of its nodes on.

    Attributes:
        start: position of its first node.
        session: ONNX Runtime's session.
        wants: names of its inputs.
        crossing: for each batch what its nodes need of what lies before them.
    """

    start: int
    session: Any
    wants: frozenset[str]
    crossing: tuple[Arrays, ...]


@dataclass(frozen=True)
class Restarts:
    """Runs with masks that begin at the last place that a decision leaves unchanged.

    Attributes:
        model: the model with masks.
        batches: the samples.
        outputs: names of the outputs.
        parts: sessions by their start; the first one is the whole model.
        reference: for each batch the floating outputs of the original.
    """

    model: MaskedModel
    batches: tuple[Batch, ...]
    outputs: tuple[str, ...]
    parts: tuple[_Part, ...]
    reference: tuple[list[NDArray[Any]], ...]

    def run(self, number: int, keep: KeepMap) -> list[NDArray[Any]]:
        """The outputs that are compared for batch `number` with what `keep` drops switched off.

        Raises:
            InputRefused: the model fails without what is dropped.
        """
        changed = [p for axis, p in self.model.places.items() if keep.index(axis) is not None]
        first = min(changed, default=0)
        part = [p for p in self.parts if p.start <= first][-1]
        feeds = {
            **self.batches[number].inputs,
            **self.model.feeds(keep),
            **part.crossing[number],
        }
        wanted = {name: value for name, value in feeds.items() if name in part.wants}
        return comparable(execute(part.session, self.outputs, wanted))


def open_restarts(
    analysis: Analysis, config: SessionConfig, batches: Sequence[Batch], count: int = RESTARTS
) -> Restarts:
    """Run the original once, and open sessions from a few of its places on.

    Args:
        analysis: the model.
        config: how to run it.
        batches: the samples.
        count: how many places beside the beginning.
    """
    model, base_dir = masked_model(analysis), analysis.graph.base_dir
    outputs = tuple(analysis.graph.outputs)
    weights = analysis.graph.graph.initializer
    is_light = not any(is_external(t) for t in weights)
    is_light = is_light and sum(map(stored_bytes, weights)) <= _MOST_WEIGHTS
    places = sorted(set(model.places.values()))
    cuts = find_cuts(model.proto, analysis.facts, places, count) if is_light else ()
    crossing = tuple(dict.fromkeys(name for cut in cuts for name in cut.crossing))
    watched = tuple(name for name in crossing if name not in outputs)
    whole = open_session(model.proto, config, base_dir, watched)
    masks = model.feeds(KeepMap({}))
    wants = frozenset(value.name for value in whole.get_inputs())
    reference, seen = [], []
    for batch in batches:
        feeds = {n: v for n, v in {**batch.inputs, **masks}.items() if n in wants}
        names = (*outputs, *watched)
        found = dict(zip(names, execute(whole, names, feeds), strict=True))
        reference.append(comparable([found[name] for name in outputs]))
        seen.append({name: found[name] for name in crossing})
    parts = [_Part(0, whole, wants, ({},) * len(batches))]
    found_parts = (_part(model, cut, config, seen) for cut in cuts)
    parts += [part for part in found_parts if part is not None]
    return Restarts(model, tuple(batches), outputs, tuple(parts), tuple(reference))


def _part(
    model: MaskedModel, cut: Opening, config: SessionConfig, seen: Sequence[Arrays]
) -> _Part | None:
    """The model from a place on; None where that cannot be loaded alone, which only costs time."""
    crossing = tuple({name: found[name] for name in cut.crossing} for found in seen)
    try:
        session = open_session(tail(model.proto, cut, crossing), config)
    except InputRefused:
        return None
    wants = frozenset(value.name for value in session.get_inputs())
    return _Part(cut.start, session, wants, crossing)
