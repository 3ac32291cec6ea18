"""Wrong values from Python: each a SnacsError that names the field, and nothing is begun."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest

from onnxslim_snacs import (
    CompressConfig,
    DataConfig,
    Plan,
    SnacsError,
    apply_plan,
    compress,
    inspect,
    verify_files,
)
from onnxslim_snacs.config import FinetuneConfig, ReleasedConfig
from onnxslim_snacs.config.memory import InMemory
from onnxslim_snacs.plan.plan import PlannedGroup

WRONG: tuple[Any, ...] = (
    *(None, True, "0.5", "macs=0.5", b"x", 1.5, -1, 0, 10**400, math.nan, math.inf),
    *([], [1], ["x"], (1, 2, 3), {}, {"x": "y"}, {1: 2}, set(), object(), len, Path),
)
KINDS = (DataConfig, CompressConfig, ReleasedConfig, FinetuneConfig)
GROUP = PlannedGroup("g0000", ("w[0]",), 4, (0, 2))
PLAN = Plan("f", False, (GROUP,))


def values() -> Iterator[tuple[Any, str, Any]]:
    wholes: list[Any] = [*(kind() for kind in KINDS), GROUP, PLAN]
    for whole in wholes:
        for field in fields(whole):
            yield from ((whole, field.name, value) for value in WRONG)


def test_every_wrong_value_is_told_by_its_field() -> None:
    """Some of the values are right for a field; no other one passes, or ends elsewhere."""
    said, taken = [], 0
    for whole, name, value in values():
        try:
            made = replace(whole, **{name: value})
        except SnacsError as error:
            said.append((name, str(error)))
            continue
        taken += 1
        assert _fits(getattr(made, name), get_type_hints(type(whole))[name]), (name, value)
    assert len(said) > 800
    assert [(name, text) for name, text in said if name not in text] == []
    assert taken > 40


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is what a field declares, judged by its type alone."""
    if is_dataclass(hint):
        return isinstance(value, hint)  # type: ignore[arg-type]
    text = str(hint)
    if isinstance(value, InMemory):
        return "Any" in text
    if callable(value):
        return "Callable" in text
    kinds = {"int": int, "float": float, "str": str, "bool": bool, "tuple": tuple}
    named = [kind for word, kind in kinds.items() if word in text.split("[")[0].split(" | ")]
    named += [kind for word, kind in kinds.items() if f"<class '{word}'>" == text]
    named += [tuple] if "tuple[" in text and "Mapping" not in text else []
    named += [dict] if "Mapping" in text else []
    return (value is None and "None" in text) or type(value) in named


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"ratio": "0.5"}, r"CompressConfig\.ratio: got '0\.5' \(str\), expected a finite number"),
        ({"target": "macs=0.5"}, r"CompressConfig\.target: .* expected a mapping from names"),
        ({"target": {"macs": "0.5"}}, r"CompressConfig\.target"),
        ({"target": {"mac": 0.5}}, r"--target mac: expected one of"),
        ({"target": {"macs": 1.5}}, r"--target macs=1\.5"),
        ({"max_drop": 2}, r"--max-drop 2: .* \(max_drop\)"),
        ({"protect": "conv*"}, r"CompressConfig\.protect"),
        ({"data": "x.npz"}, r"CompressConfig\.data: .* expected a DataConfig"),
        ({"threads": 10**6}, r"--threads 1000000: expected 1 to 1024"),
        ({"seed": 1.0}, r"CompressConfig\.seed: .* a whole number"),
    ],
)
def test_messages(change: dict[str, Any], says: str) -> None:
    with pytest.raises(SnacsError, match=says):
        CompressConfig(**change)


def test_what_is_meant_is_taken() -> None:
    loose: Any = {"mean": [0, 1], "size": [8, 8], "input_shapes": {"x": [1, 2]}}
    strict = DataConfig("a.npz", mean=(0.0, 1.0), size=(8, 8), input_shapes={"x": (1, 2)})
    path: Any = Path("a.npz")
    rest: Any = {"ratio": np.float32(0.5), "protect": ["conv*"], "seed": np.int64(3)}
    config = CompressConfig(data=DataConfig(path, **loose), **rest)
    assert config.data == strict
    assert (config.ratio, config.protect, config.seed) == (0.5, ("conv*",), 3)
    assert [type(v) for v in (config.data.path, config.ratio, config.seed)] == [str, float, int]


@pytest.mark.parametrize("kept", [(), (4,), (-1,), (1, 1), (2, 1), (0, 9**20)])
def test_units_that_a_group_does_not_have(kept: tuple[int, ...]) -> None:
    with pytest.raises(SnacsError, match=r"PlannedGroup\.kept"):
        PlannedGroup("g0000", (), 4, kept)
    with pytest.raises(SnacsError, match="listed twice"):
        Plan("f", False, (GROUP, GROUP))


@pytest.mark.parametrize("wrong", [None, 5, b"x", ["a"], object()])
def test_arguments(wrong: Any, tmp_path: Path) -> None:
    """A call that is wrong in one argument names it, before anything is read."""
    model = tmp_path / "net.onnx"
    calls: list[tuple[str, Any]] = [
        ("model", lambda: compress(wrong)),
        ("model", lambda: inspect(wrong)),
        ("model", lambda: apply_plan(wrong, PLAN)),
        ("plan", lambda: apply_plan(model, wrong)),
        ("before", lambda: verify_files(wrong, model, PLAN)),
        ("allow_inexact", lambda: inspect(model, allow_inexact=wrong)),
        ("threads", lambda: verify_files(model, model, PLAN, threads=wrong if wrong != 5 else "5")),  # type: ignore[arg-type]
        ("overwrite", lambda: compress(model, overwrite=wrong)),
    ]
    if wrong is not None:
        calls += [
            ("plan", lambda: verify_files(model, model, wrong)),
            ("config", lambda: compress(model, wrong)),
            ("out", lambda: compress(model, out=wrong)),
            ("data", lambda: apply_plan(model, PLAN, data=wrong)),
            ("input_shapes", lambda: inspect(model, input_shapes=wrong)),
        ]
    for name, call in calls:
        with pytest.raises(SnacsError, match=name):
            call()
    with pytest.raises(SnacsError, match="unexpected"):
        compress(model, nothing=1)  # type: ignore[call-arg]
