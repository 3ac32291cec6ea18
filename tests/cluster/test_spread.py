"""Tasks of a stage come back in their order, from processes that know the same things."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from onnxslim_snacs.cluster import spread as home
from onnxslim_snacs.cluster.spread import forget, spread_over, work
from onnxslim_snacs.errors import InputRefused, LimitExceeded, UsageError


def begin(number: int) -> int:
    return 10 * number


def adding(known: int, given: int) -> Callable[[int], tuple[int, int]]:
    return lambda task: (known + given + task, os.getpid())


def failing(known: int, given: int) -> Callable[[int], int]:
    def fail(task: int) -> int:
        raise InputRefused(f"of {task}")

    return fail


def dying(known: int, mark: str) -> Callable[[int], int]:
    """Ends its process at task 2, unless the file is there, which then lies there."""

    def die(task: int) -> int:
        if task == 2 and not (mark and Path(mark).exists()):
            if mark:
                Path(mark).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return task

    return die


def test_results_come_in_order_from_other_processes() -> None:
    with spread_over("local:2", partial(begin, 7)) as spread:
        first = list(spread(adding, 3, range(9)))
        second = list(spread(adding, 4, range(2)))
    assert [number for number, _ in first] == [73 + k for k in range(9)]
    assert [number for number, _ in second] == [74, 75]
    processes = {process for _, process in first}
    assert os.getpid() not in processes
    assert len(processes) == 2


def test_tasks_are_asked_for_as_results_are_taken() -> None:
    asked: list[int] = []

    def tasks() -> Iterator[int]:
        for number in range(100):
            asked.append(number)
            yield number

    with spread_over("local:1", partial(begin, 1)) as spread:
        results = spread(adding, 0, tasks())
        next(results)
        assert len(asked) == 2
        next(results)
        assert len(asked) == 3
        results.close()  # type: ignore[attr-defined]


def test_a_worker_that_dies_takes_no_result_with_it(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    with spread_over("local:2", partial(begin, 1)) as spread:
        assert list(spread(dying, str(mark), range(6))) == list(range(6))
    assert mark.exists()


@pytest.mark.slow
def test_a_task_that_kills_whoever_tries_it_is_told() -> None:
    with (
        spread_over("local:1", partial(begin, 1)) as spread,
        pytest.raises(LimitExceeded, match="die"),
    ):
        list(spread(dying, "", range(6)))


def test_an_error_of_ours_arrives_as_it_was_raised() -> None:
    with (
        spread_over("local:1", partial(begin, 1)) as spread,
        pytest.raises(InputRefused, match="of 0"),
    ):
        list(spread(failing, 0, range(3)))


class Here:
    """A stage as it travels, worked on in this process."""

    def __init__(self) -> None:
        self.begun: list[str] = []

    def stage(self, run: str, number: int, versions: dict[str, str]) -> Any:
        def beginning() -> int:
            self.begun.append(run)
            return 5

        known = home._Knowledge(run, beginning)
        return home._Stage(f"{run}-{number}", known, adding, number, versions)


def test_a_process_begins_once_for_all_stages_of_a_run() -> None:
    here, now = Here(), home.versions()
    forget()
    assert [work(here.stage("a", k, now), 1)[0] for k in (0, 0, 1, 2)] == [6, 6, 7, 8]
    assert here.begun == ["a"]
    work(here.stage("b", 0, now), 1)
    assert here.begun == ["a", "b"]
    forget()
    work(here.stage("b", 0, now), 1)
    assert here.begun == ["a", "b", "b"]


def test_other_versions_are_refused() -> None:
    forget()
    with pytest.raises(UsageError, match=r"expected numpy 1\.0"):
        work(Here().stage("a", 0, {"numpy": "1.0"}), 1)
