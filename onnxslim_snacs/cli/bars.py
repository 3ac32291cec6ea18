"""How a run shows where it is: a bar, lines, JSON, or nothing; always on stderr."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from onnxslim_snacs.cli.overall import Overall, about, announced
from onnxslim_snacs.cli.showing import Showing
from onnxslim_snacs.cli.terminal import screen
from onnxslim_snacs.progress import Foreseen, Progress

if TYPE_CHECKING:
    from rich.console import Console

#: Runs that are shorter say nothing of their stages and of what they will take, in seconds.
_SHORT, _ANNOUNCED = 2.0, 5.0
#: Seconds between two lines of JSON of one stage.
_OFTEN = 1.0


@dataclass(frozen=True, slots=True)
class ProgressBars:
    """Where a run shows where it is.

    Attributes:
        progress: told (stage, done, total).
        stop: take the bar away, so that something else can be shown.
        foresee: told what the run will take.
    """

    progress: Progress
    stop: Callable[[], None]
    foresee: Callable[[Foreseen], None]


@contextmanager
def progress_bars(how: Showing) -> Iterator[ProgressBars]:
    """Show where a run is."""
    console, overall = screen(stderr=True), Overall()
    if how.quiet or how.mode == "none":
        yield ProgressBars(_nothing, _stop, overall.foresee)
    elif how.mode == "json":
        yield ProgressBars(_as_json(console, overall), _stop, overall.foresee)
    elif how.mode == "auto" and console.is_terminal and not how.verbose:
        with _one_bar(console, overall) as bars:
            yield bars
    else:
        told = _as_lines(console, overall, verbose=how.verbose)
        yield ProgressBars(told, _stop, _announcing(console, overall))


def _nothing(stage: str, done: int, total: int) -> None:
    """Nobody looks."""


def _stop() -> None:
    """There is no bar to take away."""


def _announcing(console: Console, overall: Overall) -> Callable[[Foreseen], None]:
    def foresee(expected: Foreseen) -> None:
        overall.foresee(expected)
        if sum(expected.seconds.values()) >= _ANNOUNCED:
            console.print(announced(expected), soft_wrap=True)

    return foresee


def _as_lines(console: Console, overall: Overall, *, verbose: bool) -> Progress:
    """One line for each stage, from the moment in which a run is no short one."""
    seen: set[str] = set()

    def update(stage: str, done: int, total: int) -> None:
        name = stage.partition(":")[0]
        if total:
            overall.tell(stage, done, total)
            if verbose and (overall.stage[0] + name) not in seen:
                seen.add(overall.stage[0] + name)
                console.print(f"[{overall.elapsed:5.0f} s]   {name}: {total}", markup=False)
            return
        long = overall.elapsed > _SHORT or overall.expected.get(name, 0.0) > _SHORT
        repeated = name == overall.stage[0]
        overall.begin(name)
        if (long or verbose) and not repeated:
            left = overall.left
            rest = "" if left is None or left < _SHORT else f", about {about(left)} left"
            console.print(f"[{overall.elapsed:5.0f} s] {name}{rest}", markup=False)

    return update


def _as_json(console: Console, overall: Overall) -> Progress:
    """A line of JSON for each stage, and one in a second of a long one."""
    last = [0.0]

    def update(stage: str, done: int, total: int) -> None:
        if total:
            overall.tell(stage, done, total)
            if overall.elapsed - last[0] < _OFTEN:
                return
        else:
            overall.begin(stage)
        last[0] = overall.elapsed
        left = overall.left
        line = {
            "stage": overall.stage[0],
            "seconds": round(overall.elapsed, 2),
            "share": round(overall.share, 4),
            "left": None if left is None else round(left, 1),
        }
        if total:
            line |= {"within": stage, "done": done, "total": total}
        console.print(json.dumps(line), markup=False, soft_wrap=True)

    return update


@contextmanager
def _one_bar(console: Console, overall: Overall) -> Iterator[ProgressBars]:
    """One bar for the whole run."""
    from rich.progress import BarColumn, ProgressColumn, Task, TextColumn
    from rich.progress import Progress as Bars
    from rich.text import Text

    class Rest(ProgressColumn):
        """Seconds so far, and what is thought to be left."""

        def render(self, task: Task) -> Text:
            left = overall.left
            rest = "" if left is None else f", about {about(left)} left"
            task.completed = overall.share
            return Text(f"{overall.elapsed:.0f} s{rest}")

    columns = (TextColumn("{task.description}"), BarColumn(), Rest())
    with Bars(*columns, console=console, transient=True) as bars:
        task = bars.add_task("starting", total=None)

        def update(stage: str, done: int, total: int) -> None:
            name = stage.partition(":")[0]
            if total:
                overall.tell(stage, done, total)
                bars.update(task, description=f"{overall.stage[0]}: {stage}")
                return
            overall.begin(name)
            bars.update(task, description=name)

        def foresee(expected: Foreseen) -> None:
            _announcing(console, overall)(expected)
            bars.update(task, total=1.0)

        yield ProgressBars(update, bars.stop, foresee)
