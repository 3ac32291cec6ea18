"""How long work tells how far it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter

#: Told (stage, done, total); a total of 0 where a stage of the run begins, see `Clock`.
Progress = Callable[[str, int, int], None]


def silent(stage: str, done: int, total: int) -> None:
    """Progress that nobody looks at."""


@dataclass(slots=True)
class Clock:
    """Seconds by stage.

    Attributes:
        progress: told when a stage begins.
        seconds: how long each has taken.
    """

    progress: Progress = silent
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time that the block takes to a stage."""
        start = perf_counter()
        self.progress(name, 0, 0)
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + perf_counter() - start


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What a run is expected to take, before its long stages begin.

    Attributes:
        seconds: of each stage that is still to come.
        samples: that there are.
        macs: multiply-accumulates of the model for one sample.
        cheaper: what would take less, as options.
    """

    seconds: Mapping[str, float]
    samples: int
    macs: int
    cheaper: tuple[str, ...] = ()


def unforeseen(expected: Foreseen) -> None:
    """An expectation that nobody waits for."""
