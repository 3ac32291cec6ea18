"""Find sizes at which a model runs, different ones for every extent that is free.

A size that was tried is no size known: at least two runs differ in every extent that is still free
(what a run that fails teaches is in `lessons`), and what could not be varied is named.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, islice

from onnxslim_snacs.errors import LimitExceeded, foreign
from onnxslim_snacs.model.extents import InputExtents, Values
from onnxslim_snacs.model.lessons import learn
from onnxslim_snacs.model.sizes import BATCH, kinds, others
from onnxslim_snacs.model.starts import Hint, Start
from onnxslim_snacs.model.trial import Bench, Trial

#: How often a size is corrected before another one is tried.
_ROUNDS = 8
#: Seconds for which sizes are looked for at which a model runs at all: whoever is told to name them
#: sooner is better off.  What is found does not depend on it.
_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Settled:
    """What is known of a model's inputs.

    Attributes:
        layout: their extents; what is still a symbol is free.
        trials: the runs, which differ in every free extent but the stuck ones.
        stuck: symbols that could not be varied.
        asked: sizes that were asked for, and run, but say little: an extent is 0.
    """

    layout: InputExtents
    trials: tuple[Trial, ...]
    stuck: frozenset[str] = frozenset()
    asked: tuple[dict[str, tuple[int, ...]], ...] = ()

    def fresh(self, *, least: bool = False) -> Iterator[dict[str, tuple[int, ...]]]:
        """Sizes that no run had, which differ from the first run in every free extent.

        Whether the model runs at them has to be tried.

        Args:
            least: begin with a single sample, where nothing but the batch is free.
        """
        free = [s for s in self.layout.symbols() if s not in self.stuck]
        kind, first = kinds(self.layout), self.trials[0].numbers
        if least and all(kind[s] == BATCH and first[s] > 1 for s in free):
            yield self.layout.sizes({**first, **dict.fromkeys(free, 1)})
        for numbers in _odd_first(self.layout, self.trials, free):
            yield self.layout.sizes(numbers)

    def names(self) -> tuple[str, ...]:
        """The axes that could not be varied, as a user would call them."""
        places = (
            (s, *next(self.layout.places(s))) for s in self.layout.symbols() if s in self.stuck
        )
        return tuple(
            foreign(s if s.endswith("]") else f"{name}[{dim}] ({s})") for s, name, dim in places
        )


def settle(bench: Bench, begin: Iterable[Start], asked: Hint) -> Settled | Exception:
    """Find runs that differ in every extent that is free.

    Args:
        bench: what to run.
        begin: numbers to begin with.
        asked: shapes that the user has named.

    Returns:
        The runs; what the first of them raised if there is none.
    """
    failure: Exception | None = None
    looking = replace(bench, until=time.monotonic() + _SECONDS)
    for start in begin:
        rounds = _ROUNDS + len(start.numbers) if start.correct else 0
        layout, found = corrected(looking, start.layout, start.numbers, start.held, rounds)
        if isinstance(found, Trial):
            return _with_empty(bench, _varied(bench, layout, found), asked)
        if failure is None or isinstance(failure, LimitExceeded):
            failure = found  # of the likeliest numbers; that others are too large says nothing
    return failure or ValueError("no sizes to try")


def _with_empty(bench: Bench, settled: Settled, asked: Hint) -> Settled:
    """The sizes that were asked for as well, where one of them is 0 and none of the runs'."""
    numbers = settled.layout.solve(asked) if any(0 in shape for shape in asked.values()) else None
    if numbers is None or 0 in settled.trials[0].numbers.values():
        return settled
    found = bench.run(settled.layout, {**settled.trials[0].numbers, **numbers})
    return replace(settled, asked=(found.sizes,)) if isinstance(found, Trial) else settled


def corrected(
    bench: Bench, layout: InputExtents, numbers: Values, held: frozenset[str], rounds: int
) -> tuple[InputExtents, Trial | Exception]:
    """Run, and learn from what fails.

    Args:
        bench: what to run.
        layout: the extents.
        numbers: symbol -> number.
        held: symbols whose numbers stay.
        rounds: how often to correct.

    Returns:
        The layout with what was learned, and the run, or what the last one raised.
    """
    for _ in range(rounds):
        found = bench.run(layout, numbers)
        if isinstance(found, Trial) or bench.is_late():
            return layout, found
        lesson = learn(bench, layout, numbers, found, held)
        if lesson is None:
            return layout, found
        layout, numbers = lesson
    return layout, bench.run(layout, numbers)


def _moved(
    layout: InputExtents, trials: Sequence[Trial], free: Sequence[str], *, odd: bool = False
) -> Iterator[dict[str, int]]:
    """Numbers that differ from the first run in every free symbol, if possible from all.

    Symbols with one number in the first run get different ones: nothing says that they are one.
    """
    first, kind = trials[0].numbers, kinds(layout)
    rows: dict[str, list[int]] = {}
    alike: Counter[tuple[str, int]] = Counter()
    for symbol in free:
        used = {trial.numbers.get(symbol) for trial in trials}
        choice = list(others(first[symbol], kind[symbol], odd=odd))
        row = [n for n in choice if n not in used] or choice or [first[symbol]]
        place = alike[kind[symbol], first[symbol]] % len(row)
        alike[kind[symbol], first[symbol]] += 1
        rows[symbol] = row[place:] + row[:place]
    for turn in range(max(map(len, rows.values()), default=0)):
        yield {**first, **{s: row[min(turn, len(row) - 1)] for s, row in rows.items()}}


def _odd_first(
    layout: InputExtents, trials: Sequence[Trial], free: Sequence[str]
) -> Iterator[dict[str, int]]:
    yield from islice(_moved(layout, trials, free, odd=True), 2)
    yield from _moved(layout, trials, free)


def _varied(bench: Bench, layout: InputExtents, first: Trial) -> Settled:
    """More runs: one or several that differ in every free extent, and one more to be sure."""
    first = _within(layout, first)
    free = layout.symbols()
    if not free:
        return Settled(layout, (first,))
    bench = bench.after(first)
    for numbers in islice(_moved(layout, [first], free), 3):
        learned, found = corrected(bench, layout, numbers, frozenset(), _ROUNDS)
        fits = isinstance(found, Trial) and learned.solve(first.sizes) is not None
        if not fits or not isinstance(found, Trial):
            continue
        layout, first = learned, _within(learned, first)
        free = layout.symbols()
        if not free:
            return Settled(layout, (first,))
        if all(found.numbers[s] != first.numbers[s] for s in free):
            return Settled(layout, (first, found, *_one_more(bench, layout, (first, found))))
    moved = _one_by_one(bench, layout, first)
    varied = {s for t in moved for s in free if t.numbers[s] != first.numbers[s]}
    return Settled(layout, (first, *moved), frozenset(free) - varied)


def _within(layout: InputExtents, trial: Trial) -> Trial:
    """A run with the numbers of the symbols that are left."""
    numbers = {s: n for s, n in trial.numbers.items() if s in layout.symbols()}
    return Trial(numbers, trial.sizes, trial.shapes, trial.values)


def _one_more(bench: Bench, layout: InputExtents, trials: Sequence[Trial]) -> Iterator[Trial]:
    """A third run: what is equal in two by chance (rounded, clipped) is seldom so in three.

    Where the batch alone is free, nothing is rounded.
    """
    if not set(kinds(layout).values()) - {BATCH}:
        return
    for numbers in islice(_odd_first(layout, trials, layout.symbols()), 4):
        found = bench.run(layout, numbers)
        if isinstance(found, Trial):
            yield found
            return


def _one_by_one(bench: Bench, layout: InputExtents, first: Trial) -> list[Trial]:
    """Runs that vary what can be varied, together if that runs."""
    kind, base = kinds(layout), dict(first.numbers)
    changes: list[dict[str, int]] = []
    trials: list[Trial] = []
    for symbol in layout.symbols():
        tried = ({symbol: n} for n in others(base[symbol], kind[symbol]))
        _first_that_runs(bench, layout, base, tried, changes, trials)
    left = [s for s in layout.symbols() if not any(s in change for change in changes)]
    for a, b in combinations(left, 2):
        if any(a in change or b in change for change in changes):
            continue
        _first_that_runs(bench, layout, base, _exchanged(base, a, b), changes, trials)
    if len(trials) > 1:
        joint = bench.run(layout, {**base, **{s: n for one in changes for s, n in one.items()}})
        if isinstance(joint, Trial):
            return [joint]
    return trials


def _first_that_runs(
    bench: Bench,
    layout: InputExtents,
    base: Values,
    tried: Iterable[dict[str, int]],
    changes: list[dict[str, int]],
    trials: list[Trial],
) -> None:
    for change in tried:
        found = bench.run(layout, {**base, **change})
        if isinstance(found, Trial):
            changes.append(change)
            trials.append(found)
            return


def _exchanged(base: Values, a: str, b: str) -> Iterator[dict[str, int]]:
    """Numbers of two symbols with the same product, or with the same distance."""
    for times in (2, 4, 7, 8):
        for low, high in ((a, b), (b, a)):
            if base[low] % times == 0 and base[low] > times:
                yield {low: base[low] // times, high: base[high] * times}
    for step in (1, 2, 3, 8, 32):
        yield {a: base[a] + step, b: base[b] + step}
