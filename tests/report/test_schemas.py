"""The schemas in the package are those of the code, and are schemas."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from onnxslim_snacs.errors import InputRefused
from onnxslim_snacs.report.report import report_from_json, to_json
from onnxslim_snacs.report.schemas import PUBLISHED, SCHEMAS
from tests.report.test_golden import REPORT, WRITE


def published(name: str) -> Any:
    return json.loads((PUBLISHED / name).read_text())


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_file_in_the_package_is_that_of_the_code(name: str) -> None:
    made = SCHEMAS[name]()
    if os.environ.get(WRITE):
        (PUBLISHED / name).write_text(json.dumps(made, indent=1) + "\n")
    assert made == published(name), f"if it is to be so: {WRITE}=1 pytest {__file__}"
    jsonschema.Draft202012Validator.check_schema(made)


def test_nothing_else_is_published() -> None:
    assert {path.name for path in PUBLISHED.iterdir()} == set(SCHEMAS)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("before", "macs"), "many"),
        (("groups", 0, "kept"), 1.5),
        (("format",), 2),
        (("config",), {"criterion": 7}),
    ],
)
def test_what_is_no_report_does_not_pass(path: tuple[Any, ...], value: object) -> None:
    data = json.loads(to_json(REPORT))
    place = data
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    validator = jsonschema.Draft202012Validator(published("report-1.schema.json"))
    assert not validator.is_valid(data)
    with pytest.raises(InputRefused):
        report_from_json(json.dumps(data))


def test_every_field_of_a_plan_is_looked_at() -> None:
    validator = jsonschema.Draft202012Validator(published("plan-2.schema.json"))
    group = {"id": "g0", "axes": ["w[0]"], "units": 4, "kept": [0, 2]}
    plan: dict[str, Any] = {
        "format": 2,
        "fingerprint": "0" * 64,
        "steps": [{"pass": "prune", "allow_inexact": False, "groups": [group]}],
    }
    assert validator.is_valid(plan)
    assert not validator.is_valid({**plan, "format": 1})
    wrong: list[dict[str, Any]] = [{"kept": []}, {"kept": [-1]}, {"units": "4"}, {"axes": None}]
    for broken in wrong:
        step = {**plan["steps"][0], "groups": [{**group, **broken}]}
        assert not validator.is_valid({**plan, "steps": [step]})


def test_a_report_can_be_read_back() -> None:
    """Numbers that JSON does not have come back as none."""
    text = to_json(REPORT)
    assert to_json(report_from_json(text)) == text


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 9}', '{"model": "x"}', "[" * 9999])
def test_what_is_no_report_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(InputRefused):
        report_from_json(text)
