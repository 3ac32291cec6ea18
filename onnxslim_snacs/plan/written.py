"""Plans as text: a list of steps, each with the name of its pass.

Format 2.  Format 1, which had one step and a digest, is still read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from onnxslim_snacs.config import DataConfig
from onnxslim_snacs.errors import InputRefused, UsageError, foreign
from onnxslim_snacs.model.text import read_text
from onnxslim_snacs.plan.bases import StreamBasis
from onnxslim_snacs.plan.plan import DroppedBlock, Plan, PlannedGroup, Refit, TunedStep

FORMAT = 2
_ROTATE, _DROP, _PRUNE, _RECOVER = "rotate", "drop", "prune", "recover"
_FINETUNE = "finetune"
_ORDER = (_ROTATE, _DROP, _PRUNE, _RECOVER, _FINETUNE)
#: What a text raises that is no plan.
_NO_PLAN = (UsageError, ValueError, LookupError, TypeError, AttributeError, RecursionError)


def plan_to_json(plan: Plan) -> str:
    """The plan as text."""
    groups = [
        {"id": g.id, "axes": list(g.axes), "units": g.units, "kept": list(g.kept)}
        for g in plan.groups
    ]
    steps: list[dict[str, Any]] = []
    if plan.bases:
        steps.append({"pass": _ROTATE, "streams": [asdict(basis) for basis in plan.bases]})
    if plan.dropped:
        blocks = [{"output": b.output, "instead": b.instead} for b in plan.dropped]
        steps.append({"pass": _DROP, "blocks": blocks})
    steps.append({"pass": _PRUNE, "allow_inexact": plan.allow_inexact, "groups": groups})
    if plan.refit is not None:
        steps.append({"pass": _RECOVER, **_refit_to_json(plan.refit)})
    if plan.tuned is not None:
        steps.append({"pass": _FINETUNE, **asdict(plan.tuned)})
    data = {
        "format": FORMAT,
        "fingerprint": plan.fingerprint,
        **({"source": plan.source} if plan.source else {}),
        **({"simplified": plan.simplified} if plan.simplified else {}),
        **({"sizes": _lists(plan.sizes)} if plan.sizes else {}),
        "steps": steps,
    }
    return json.dumps(data, indent=1) + "\n"


def _refit_to_json(refit: Refit) -> dict[str, Any]:
    data = asdict(refit.data)
    del data["path"], data["labels"]
    data["input_shapes"] = _lists(refit.data.input_shapes)
    step = {**asdict(refit), "data": data}
    if refit.arithmetic == Refit("").arithmetic:
        del step["arithmetic"]
    return step


def _lists(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, list[int]]:
    return {name: list(shape) for name, shape in shapes.items()}


def plan_from_json(text: str, source: str = "plan") -> Plan:
    """Read a plan back.

    Raises:
        InputRefused: the text is no plan, or a plan of another format.
    """
    try:
        data = json.loads(text)
        if data["format"] not in (1, FORMAT):
            raise InputRefused(
                f"{foreign(source)}: plan format {foreign(data['format'])}, expected {FORMAT}"
            )
        steps = _first_steps(data) if data["format"] == 1 else list(data["steps"])
        rotate, drop, prune, recover, tuned = _in_order(steps)
        assert prune is not None
        groups = tuple(_planned(item) for item in prune["groups"])
        if len({group.id for group in groups}) != len(groups):
            raise ValueError("a group is listed twice")
        return Plan(
            str(data["fingerprint"]),
            bool(prune["allow_inexact"]),
            groups,
            None if recover is None else _refit(recover),
            _shapes(data.get("sizes", {})),
            () if rotate is None else tuple(_basis(item) for item in rotate["streams"]),
            () if drop is None else tuple(_dropped(item) for item in drop["blocks"]),
            None if tuned is None else _tuned(tuned),
            simplified=str(data.get("simplified", "")),
            source=str(data.get("source", "")),
        )
    except _NO_PLAN as error:
        raise InputRefused(
            f"{foreign(source)}: not a plan of snacs-onnx ({foreign(repr(error))})"
        ) from error


def _in_order(steps: list[dict[str, Any]]) -> tuple[dict[str, Any] | None, ...]:
    """The steps that turn streams, drop blocks, cut channels, re-fit and train, None if missing."""
    names = [step["pass"] for step in steps]
    order = [name for name in _ORDER if name in names]
    if names != order or _PRUNE not in names:
        raise ValueError(
            f"steps: expected {_PRUNE}, with {_ROTATE} and {_DROP} before, {_RECOVER} and "
            f"{_FINETUNE} behind it or not"
        )
    found = dict(zip(names, steps, strict=True))
    return tuple(found.get(name) for name in _ORDER)


def _tuned(step: dict[str, Any]) -> TunedStep:
    minutes, steps = float(step.get("minutes", 0.0)), _extent(step.get("steps", 0))
    return TunedStep(str(step["digest"]), minutes, steps)


def _dropped(item: dict[str, Any]) -> DroppedBlock:
    return DroppedBlock(str(item["output"]), str(item["instead"]))


def _basis(item: dict[str, Any]) -> StreamBasis:
    return StreamBasis(str(item["group"]), _whole(item["width"]), str(item["values"]))


def _first_steps(data: dict[str, Any]) -> list[dict[str, Any]]:
    """What a plan of format 1 says, as steps."""
    prune = {key: data[key] for key in ("allow_inexact", "groups")}
    steps = [{"pass": _PRUNE, **prune}]
    if data.get("recovered"):
        steps.append({"pass": _RECOVER, "digest": data["recovered"]})
    return steps


def _refit(step: dict[str, Any]) -> Refit:
    blank, told = Refit(str(step["digest"])), step.get("data", {})
    data = DataConfig(
        samples=None if told.get("samples") is None else _whole(told["samples"]),
        mean=tuple(map(float, told.get("mean", blank.data.mean))),
        std=tuple(map(float, told.get("std", blank.data.std))),
        size=_size(told.get("size")),
        layout=str(told.get("layout", blank.data.layout)),
        fit=str(told.get("fit", blank.data.fit)),
        bgr=bool(told.get("bgr", blank.data.bgr)),
        class_folders=bool(told.get("class_folders", blank.data.class_folders)),
        input_shapes=_shapes(told.get("input_shapes", {})),
        sample_axes={str(n): _whole(axis) for n, axis in told.get("sample_axes", {}).items()},
    )
    return Refit(
        blank.digest,
        str(step.get("method", blank.method)),
        float(step.get("share", blank.share)),
        bool(step.get("is_random", blank.is_random)),
        data,
        _extent(step.get("seed", blank.seed)),
        max(1, _extent(step.get("threads", blank.threads))),
        str(step.get("provider", blank.provider)),
        str(step.get("effort", blank.effort)),
        str(step.get("arithmetic", blank.arithmetic)),
    )


def _size(value: Any) -> tuple[int, int] | None:
    if value is None:
        return None
    height, width = value
    return _extent(height), _extent(width)


def _shapes(value: Any) -> dict[str, tuple[int, ...]]:
    return {str(name): tuple(_extent(e) for e in shape) for name, shape in value.items()}


def _planned(item: dict[str, Any]) -> PlannedGroup:
    units, kept = _whole(item["units"]), sorted({_whole(k) for k in item["kept"]})
    if not kept or kept[0] < 0 or kept[-1] >= units:
        raise ValueError(f"group {item['id']}: kept has to be some of 0 ... {units - 1}")
    return PlannedGroup(str(item["id"]), tuple(map(str, item["axes"])), units, tuple(kept))


def _whole(value: Any) -> int:
    if type(value) is not int:  # True is no channel
        raise ValueError(f"{value!r} is not a whole number")
    return value


def _extent(value: Any) -> int:
    if _whole(value) < 0:
        raise ValueError(f"{value!r} is no extent")
    return int(value)


def load_plan(path: Path) -> Plan:
    """Read a plan from a file.

    Raises:
        InputRefused: it does not hold a plan.
        FileSystemError: it cannot be read.
    """
    return plan_from_json(read_text(path), str(path))
