"""JSON Schemas of what is written and read, as they lie in the package under `published/`.

Their numbers are those of the formats.  Under the same number fields may come, and none goes or
means something else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from onnxslim_snacs.config import CompressConfig
from onnxslim_snacs.config.json_schema import DRAFT, schema_of
from onnxslim_snacs.plan import written
from onnxslim_snacs.plan.bases import StreamBasis
from onnxslim_snacs.plan.plan import DroppedBlock, PlannedGroup, Refit, TunedStep
from onnxslim_snacs.report import report

PUBLISHED = Path(__file__).with_name("published")


def report_schema() -> dict[str, Any]:
    """Of `--report` and `--json`."""
    found = _titled("report", report.FORMAT, report.Report)
    found["properties"]["format"]["const"] = report.FORMAT
    return found


def config_schema() -> dict[str, Any]:
    """Of `compress --config`."""
    return _titled("config", 1, CompressConfig)


def plan_schema() -> dict[str, Any]:
    """Of `--plan-out` and of what `apply` reads."""
    definitions: dict[str, Any] = {}
    kinds = (PlannedGroup, Refit, StreamBasis, DroppedBlock, TunedStep)
    group, refit, basis, block, tuned = (schema_of(kind, definitions) for kind in kinds)
    group["properties"]["kept"] = {
        **group["properties"]["kept"],
        "minItems": 1,
        "uniqueItems": True,
        "items": {"type": "integer", "minimum": 0},
    }
    del definitions["DataConfig"]["properties"]["path"]
    sizes = {"type": "array", "items": {"type": "integer", "minimum": 0}}
    prune = {
        "type": "object",
        "properties": {
            "pass": {"const": "prune"},
            "allow_inexact": {"type": "boolean"},
            "groups": {"type": "array", "items": group},
        },
        "required": ["pass", "allow_inexact", "groups"],
    }
    rotate = {
        "type": "object",
        "properties": {
            "pass": {"const": "rotate"},
            "streams": {"type": "array", "minItems": 1, "items": basis},
        },
        "required": ["pass", "streams"],
    }
    drop = {
        "type": "object",
        "properties": {
            "pass": {"const": "drop"},
            "blocks": {"type": "array", "minItems": 1, "items": block},
        },
        "required": ["pass", "blocks"],
    }
    steps = [rotate, drop, prune, refit, tuned]
    for step, name in ((refit, "recover"), (tuned, "finetune")):
        step["properties"]["pass"] = {"const": name}
        step["required"].append("pass")
    return {
        **_head("plan", written.FORMAT),
        "type": "object",
        "properties": {
            "format": {"const": written.FORMAT},
            "fingerprint": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
            "sizes": {"type": "object", "additionalProperties": sizes},
            "source": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
            "simplified": {"type": "string", "description": "version of onnxslim"},
            "steps": {
                "type": "array",
                "minItems": 1,
                "items": {"oneOf": steps},
            },
        },
        "required": ["format", "fingerprint", "steps"],
        "$defs": definitions,
    }


def _titled(name: str, number: int, kind: type) -> dict[str, Any]:
    definitions: dict[str, Any] = {}
    return {**_head(name, number), **schema_of(kind, definitions), "$defs": definitions}


def _head(name: str, number: int) -> dict[str, Any]:
    return {"$schema": DRAFT, "$id": f"snacs-onnx:{name}-{number}", "title": f"snacs-onnx {name}"}


#: Name of the file -> what makes it anew.
SCHEMAS: Mapping[str, Callable[[], dict[str, Any]]] = {
    f"report-{report.FORMAT}.schema.json": report_schema,
    f"plan-{written.FORMAT}.schema.json": plan_schema,
    "config-1.schema.json": config_schema,
}
