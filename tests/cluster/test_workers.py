"""Tasks end with their results whatever happens to a process."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from onnxslim_snacs.cluster.workers import Lost, run_on
from onnxslim_snacs.errors import UsageError


def square(number: int) -> int:
    return number * number


def die(path: str) -> int:
    """End the process, unless the file is there: then 7."""
    if not path:
        return 7
    if not Path(path).exists():
        Path(path).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return 8


def always_die(number: int) -> int:
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def fail(number: int) -> int:
    raise ArithmeticError(f"of {number}")


def process(_: int) -> int:
    return os.getpid()


@pytest.mark.parametrize("address", [None, "local:2"])
def test_results_come_under_the_numbers_of_their_tasks(address: str | None) -> None:
    assert dict(run_on(address, 2, square, [3, 4, 5])) == {0: 9, 1: 16, 2: 25}


def test_no_task_runs_in_this_process() -> None:
    ((_, found),) = run_on(None, 1, process, [0])
    assert isinstance(found, int)
    assert found != os.getpid()


@pytest.mark.parametrize("address", [None, "local:2"])
def test_a_process_that_dies_takes_no_result_with_it(address: str | None, tmp_path: Path) -> None:
    tasks = ["", str(tmp_path / "mark"), ""]
    assert dict(run_on(address, 2, die, tasks)) == {0: 7, 1: 8, 2: 7}
    assert (tmp_path / "mark").exists()


def test_a_task_that_always_kills_is_told_and_the_others_have_results() -> None:
    found = dict(run_on(None, 2, always_die, [0, 1, 2, 3]))
    assert {k: v for k, v in found.items() if k != 2} == {0: 0, 1: 1, 3: 3}
    assert isinstance(found[2], Lost)


def test_an_error_of_the_function_is_raised() -> None:
    with pytest.raises(ArithmeticError, match="of 1"):
        dict(run_on(None, 1, fail, [1]))


def test_no_tasks_are_no_results() -> None:
    assert dict(run_on(None, 2, square, [])) == {}


def test_where_no_scheduler_answers_its_address_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxslim_snacs.cluster.workers._PATIENCE", "1s")
    with pytest.raises(UsageError, match=r"tcp://127\.0\.0\.1:9.*local:N"):
        dict(run_on("tcp://127.0.0.1:9", 1, square, [1]))
