"""With what a run computes: who chooses it, how far it reaches, and what is said of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import Context
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from onnxslim_snacs import CompressConfig, DataConfig, apply_plan, compress
from onnxslim_snacs.activations.in_common import Common
from onnxslim_snacs.arithmetic import current
from onnxslim_snacs.arithmetic.current import (
    ON_PROCESSOR,
    arithmetic,
    arithmetic_as_planned,
    arithmetic_for,
    computing,
)
from onnxslim_snacs.arithmetic.kernels import Arithmetic
from onnxslim_snacs.arithmetic.on_numpy import NUMPY
from onnxslim_snacs.arithmetic.on_torch import torch_on
from onnxslim_snacs.errors import UsageError
from onnxslim_snacs.model.session import import_onnxruntime
from onnxslim_snacs.plan.written import plan_from_json, plan_to_json
from onnxslim_snacs.scores.snacs.blas import side_by_side
from tests.runtime import stand_in

MODELS = Path(__file__).parents[2] / "models"
MODEL = MODELS / "digits_resnet.onnx"
SAMPLES = DataConfig(str(MODELS / "digits_calibration.npz"), samples=40)


def seeing(patch: pytest.MonkeyPatch, *, card: bool) -> None:
    """torch, as if there were a card, or none."""
    there = SimpleNamespace(cuda=SimpleNamespace(is_available=lambda: card))
    patch.setattr(current, "torch", there)


@pytest.fixture
def without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)


@pytest.mark.parametrize(
    ("wanted", "provider", "card", "title"),
    [
        ("auto", "cpu", True, "numpy"),
        ("auto", "cuda", True, "torch on cuda"),
        ("auto", "cuda", False, "numpy"),
        ("numpy", "cuda", True, "numpy"),
        ("torch", "cpu", True, "torch on cpu"),
        ("torch", "cuda", False, "torch on cpu"),
        ("torch", "cuda", True, "torch on cuda"),
    ],
)
def test_who_computes(
    wanted: str, provider: str, card: bool, title: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    seeing(monkeypatch, card=card)
    assert arithmetic_for(wanted, provider).title == title


@pytest.mark.usefixtures("without_torch")
def test_numpy_stands_in_where_torch_is_not_installed() -> None:
    assert arithmetic_for("auto", "cuda") is NUMPY
    assert arithmetic_as_planned("torch", "cpu") is NUMPY
    with pytest.raises(UsageError, match="PyTorch is not installed"):
        arithmetic_for("torch", "cpu")


def test_other_names_are_refused() -> None:
    with pytest.raises(UsageError, match="--arithmetic blas: expected one of auto, numpy, torch"):
        CompressConfig(arithmetic="blas")


def test_it_reaches_threads_and_ends() -> None:
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    with computing(torch_on("cpu"), 1):
        found = list(side_by_side(lambda _: arithmetic().name, range(8), threads=3))
        assert torch.get_num_threads() == 1
    assert found == ["torch"] * 8
    assert (arithmetic(), torch.get_num_threads()) == (NUMPY, before)


def test_a_card_that_torch_does_not_see_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    stand_in(monkeypatch, cuda=True)
    done = compress(MODEL, CompressConfig(SAMPLES, ratio=0.3, criterion="l1", recover="none"))
    assert (done.report.provider, done.report.arithmetic) == ("cuda", "numpy")
    assert ON_PROCESSOR in done.report.warnings
    asked = CompressConfig(SAMPLES, ratio=0.3, criterion="l1", recover="none", arithmetic="numpy")
    assert ON_PROCESSOR not in compress(MODEL, asked).report.warnings


def test_a_plan_is_replayed_with_what_it_was_made(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    config = CompressConfig(SAMPLES, ratio=0.5, criterion="refit", threads=1, arithmetic="torch")
    done = compress(MODEL, config)
    assert done.plan.refit is not None
    assert done.plan.refit.arithmetic == "torch"
    plan = plan_from_json(plan_to_json(done.plan))
    again = apply_plan(MODEL, plan, data=SAMPLES)
    assert again.model.SerializeToString() == done.model.SerializeToString()
    assert (again.report.arithmetic, again.report.warnings) == ("torch on cpu", ())


def test_plans_made_with_numpy_do_not_say_so() -> None:
    done = compress(MODEL, CompressConfig(SAMPLES, ratio=0.5, criterion="refit", threads=1))
    assert done.plan.refit is not None
    text = plan_to_json(done.plan)
    assert "arithmetic" not in text
    assert plan_from_json(text) == done.plan


def test_workers_compute_with_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing is said, as in another process, they would take numpy."""
    pytest.importorskip("torch")
    seen = set()

    @contextmanager
    def elsewhere(address: str, begin: Callable[[], Common]) -> Iterator[Any]:
        def spread(opening: Any, given: Any, tasks: Iterable[Any]) -> Iterator[Any]:
            there = Context()
            work = there.run(opening, begin(), given)
            for task in tasks:
                yield there.run(work, task)

        yield spread

    def noted() -> Arithmetic:
        seen.add(arithmetic().title)
        return arithmetic()

    monkeypatch.setattr("onnxslim_snacs.commands.shared.spread_over", elsewhere)
    monkeypatch.setattr("onnxslim_snacs.layers.parts_of_rows.arithmetic", noted)
    config = CompressConfig(SAMPLES, ratio=0.5, criterion="refit", threads=1, arithmetic="torch")
    compress(MODEL, config, cluster="local:1")
    assert seen == {"torch on cpu"}


@pytest.mark.cuda
def test_a_card_computes_what_the_processor_does() -> None:
    """Models and linear algebra on the card; what the kernels give there is in `test_kernels`."""
    torch = pytest.importorskip("torch")
    has_runtime = "CUDAExecutionProvider" in import_onnxruntime().get_available_providers()
    if not (has_runtime and torch.cuda.is_available()):
        pytest.skip("no card that both ONNX Runtime and torch see")
    here, there = (
        compress(MODEL, CompressConfig(SAMPLES, ratio=0.5, provider=provider, threads=1))
        for provider in ("cpu", "cuda")
    )
    assert [here.report.arithmetic, there.report.arithmetic] == ["numpy", "torch on cuda"]
    kept = [{(g.id, k) for g in run.plan.groups for k in g.kept} for run in (here, there)]
    assert len(kept[0] & kept[1]) >= 0.95 * len(kept[0])  # convolutions round otherwise there
