"""How far a run is as a whole, with an estimate of what is left that learns from what was done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import monotonic

from onnxslim_snacs.progress import Foreseen

#: Stages of the run -> what within them tells how far they are; elsewhere only time does.
_TELLING = {
    "allocate": ("error curves",),
    "decide": ("allocations", "depths"),
    "train": ("finetune",),
    "recover": ("recover",),
}
#: A stage that lasts longer than was thought is taken to have this share of its time before it.
_LATE = 0.25
#: How strongly what was expected weighs beside what was seen, in seconds.
_PRIOR = 2.0


@dataclass(slots=True)
class Overall:
    """Where a run stands.

    Attributes:
        now: tells the seconds.
        start: when it began.
        expected: stage -> seconds that were foreseen; empty before that.
        spent: stage -> seconds that it has taken.
        stage: which one runs, and since when.
        part: how much of it is done, where that is known.
        shown: the largest share that was told; a bar never goes back.
    """

    now: Callable[[], float] = monotonic
    start: float = 0.0
    expected: Mapping[str, float] = field(default_factory=dict)
    spent: dict[str, float] = field(default_factory=dict)
    stage: tuple[str, float] = ("", 0.0)
    part: float | None = None
    shown: float = 0.0

    def __post_init__(self) -> None:
        """Begin."""
        self.start = self.now()
        self.stage = ("", self.start)

    def foresee(self, expected: Foreseen) -> None:
        """Take what is expected of the stages to come."""
        self.expected = expected.seconds

    def begin(self, stage: str) -> None:
        """A stage begins, and the one before it is over."""
        name, since = self.stage
        if name:
            self.spent[name] = self.spent.get(name, 0.0) + self.now() - since
        self.stage, self.part = (stage, self.now()), None

    def tell(self, inner: str, done: int, total: int) -> None:
        """Something within the stage says how far it is."""
        if inner.partition(":")[0] in _TELLING.get(self.stage[0], ()) and total > 0:
            self.part = min(1.0, done / total)

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return self.now() - self.start

    @property
    def left(self) -> float | None:
        """Seconds that the rest is expected to take; None if nothing was foreseen."""
        name, since = self.stage
        here = self.now() - since
        if not self.expected:
            return None if not self.part else here * (1.0 - self.part) / self.part
        pace = self._pace()
        rest = sum(s for n, s in self.expected.items() if n not in self.spent and n != name)
        return rest * pace + self._left_here(here, self.expected.get(name, 0.0) * pace)

    def _pace(self) -> float:
        """Seconds for a second that was foreseen, by the stages that are over."""
        done = [name for name in self.expected if name in self.spent and name != self.stage[0]]
        seen = sum(self.spent[name] for name in done)
        thought = sum(self.expected[name] for name in done)
        return (seen + _PRIOR) / (thought + _PRIOR)

    def _left_here(self, here: float, thought: float) -> float:
        if self.part is not None and self.part > 0.05:
            return here * (1.0 - self.part) / self.part
        return max(thought - here, _LATE * here if thought else 0.0)

    @property
    def share(self) -> float:
        """How much of the run is done, from 0 to 1."""
        left = self.left
        if left is None:
            return 0.0
        self.shown = max(self.shown, self.elapsed / max(1e-9, self.elapsed + left))
        return min(1.0, self.shown)


def about(seconds: float) -> str:
    """A time as one would say it."""
    if seconds < 1.5:
        return "a second"
    if seconds < 90:
        step = 1 if seconds < 10 else 5
        return f"{step * round(seconds / step)} seconds"
    if seconds < 5400:
        return f"{round(seconds / 60)} minutes"
    return f"{seconds / 3600:.1f} hours"


def announced(expected: Foreseen) -> str:
    """What a run is expected to take, in one sentence."""
    macs = next(
        (f"{expected.macs / power:.1f} {unit}" for power, unit in _UNITS if expected.macs >= power),
        f"{expected.macs} ",
    )
    cheaper = " or ".join(expected.cheaper)
    words = f"about {about(sum(expected.seconds.values()))}: {expected.samples} samples, {macs}MACs"
    return f"{words}; {cheaper} would take less" if cheaper else words


_UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
