"""The two sides of a proof: what is run, on what, and what comes out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from onnxslim_snacs.model.session import SessionConfig, create_session
from onnxslim_snacs.proof.gated import gated, given
from onnxslim_snacs.proof.noise import nudged, nudged_feeds
from onnxslim_snacs.proof.widen import Types, widened, widened_feeds

Feeds = Mapping[str, NDArray[Any]]
#: Tensor -> its value for each input set.
Values = dict[str, list[NDArray[Any]]]


@dataclass(frozen=True, slots=True)
class Side:
    """A model and what goes into it.

    Attributes:
        model: the model, without what cannot be run.
        feeds: input sets.
        base_dir: folder of the model's external data.
        config: how it is run.
    """

    model: ModelProto
    feeds: Sequence[Feeds]
    base_dir: Path | None
    config: SessionConfig

    def made(self) -> frozenset[str]:
        """The tensors that its nodes write."""
        return frozenset(name for node in self.model.graph.node for name in node.output if name)

    def run(self, names: Iterable[str]) -> Values:
        """The values of tensors for each input set."""
        asked = list(dict.fromkeys(names))
        outputs = {info.name for info in self.model.graph.output}
        watched = [name for name in asked if name not in outputs]
        session = create_session(self.model, self.config, self.base_dir, watched)
        found: Values = {name: [] for name in asked}
        for feeds in self.feeds if asked else ():
            for name, value in zip(asked, session.run(asked, dict(feeds)), strict=True):
                found[name].append(_array(value))
        return found

    def wide(self, types: Types) -> Side:
        """The same in wider types."""
        model = widened(self.model, types, self.base_dir)
        return replace(self, model=model, feeds=[widened_feeds(f, types) for f in self.feeds])

    def shaken(self, seed: int) -> Side:
        """The same with weights and inputs moved by a unit in the last place."""
        model = nudged(self.model, seed, self.base_dir)
        feeds = [nudged_feeds(f, seed + k) for k, f in enumerate(self.feeds)]
        return replace(self, model=model, feeds=feeds)

    def at_gates(self, values: Values) -> Side:
        """The same with the values of some tensors given."""
        model = gated(self.model, {name: several[0] for name, several in values.items()})
        feeds = [
            {**own, **{given(name): several[k] for name, several in values.items()}}
            for k, own in enumerate(self.feeds)
        ]
        return replace(self, model=model, feeds=feeds)


def _array(value: Any) -> NDArray[Any]:
    """A value as one array; the tensors of a sequence, or the numbers of maps, in a row."""
    if isinstance(value, dict):
        return np.asarray(list(value.values()))
    if isinstance(value, list):
        rows = [np.ravel(_array(item)) for item in value]
        return np.concatenate(rows) if rows else np.zeros(0, dtype=np.float32)
    return np.asarray(value)
