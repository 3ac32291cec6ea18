"""G1: seeded random networks that hold every structure for which the project has rules."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from tests.properties import families_image, families_tokens
from tests.properties.draft import BATCH, Draft, Flow, finished
from tests.properties.families import FAMILIES, Family
from tests.properties.layers import activation, linear

#: Imported for the families that they register.
HOMES = (families_image, families_tokens)

OPSETS = (11, 13, 17, 18, 21)
#: Largest input (integer mode).
LARGEST = 2.0
Feeds = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Sample:
    """A generated model.

    Attributes:
        seed: with `integer` all that it takes to make it again.
        integer: whether all its numbers stay exact in float32.
        model: the model.
        families: what it is made of.
        inputs: shapes of its inputs.
    """

    seed: int
    integer: bool
    model: ModelProto
    families: tuple[str, ...]
    inputs: dict[str, tuple[int, ...]]

    def feeds(self, seed: int = 0) -> Feeds:
        """Inputs: small integers, or normally distributed."""
        rng = np.random.default_rng([self.seed, seed, 7])
        found: Feeds = {}
        for name, shape in sorted(self.inputs.items()):
            whole = rng.integers(-int(LARGEST), int(LARGEST) + 1, shape)
            drawn = whole if self.integer else rng.standard_normal(shape)
            found[name] = drawn.astype(np.float32)
        return found


@lru_cache(maxsize=8)
def sample(seed: int, integer: bool) -> Sample:
    """The model of a seed; draws that would outgrow float32 are drawn again.

    Every family in turn is sure to be in one.
    """
    mode = "integer" if integer else "float"
    wanted = [f for f in FAMILIES if mode in f.modes]
    first = wanted[seed % len(wanted)]
    for attempt in range(20):
        rng = np.random.default_rng([seed, attempt, int(integer)])
        opset = int(rng.choice([o for o in OPSETS if o >= first.opset]))
        draft = Draft(rng, integer, opset, bool(rng.random() < 0.6))
        try:
            return _grow(draft, seed, first)
        except OverflowError:
            continue
    raise RuntimeError(f"seed {seed}: every attempt outgrows float32")


#: Shapes of the input for the rank of what comes first.
SHAPES: dict[int, list[tuple[int, ...]]] = {
    4: [(BATCH, 3, 4, 4), (BATCH, 3, 4, 4), (BATCH, 2, 8, 8)],
    3: [(BATCH, 4, 3)],
    2: [(BATCH, 5)],
}


def _grow(d: Draft, seed: int, first: Family) -> Sample:
    shape = d.pick(SHAPES[d.pick(first.ranks)])
    source = Flow("x", shape, LARGEST)
    flow = activation(d, linear(d, source, d.pick([4, 5, 6])))
    earlier = [flow]
    for number in range(d.pick([1, 2, 2, 3, 3, 4])):
        chosen = d.pick([f for f in FAMILIES if f.fits(d, flow)]) if number else first
        d.families.append(chosen.name)
        flow = chosen.build(d, d.calm(flow))
        earlier.append(flow)
    outputs = [linear(d, flow, d.pick([2, 3]))] if d.chance(0.9) else [flow]
    if d.chance(0.15):
        outputs.append(linear(d, d.pick(earlier), 2))
    model = finished(d, [source], outputs)
    return Sample(seed, d.integer, model, tuple(d.families), {"x": shape})
