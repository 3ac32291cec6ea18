"""Commands of which it is shown that their functions are given the option."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from types import SimpleNamespace
from typing import Any

import pytest
import typer

from onnxslim_snacs.cli.app import app
from onnxslim_snacs.config import Drop, Ratio
from tests.cli.arriving.kit import Kit

#: Commands of which it is shown that their functions are given the option; what these make of it is
#: shown beside those: tests/training/test_finetune.py, tests/passes/test_rotate.py.
HANDED: dict[str, dict[str, tuple[str, Callable[[Any], object], object]]] = {
    command: {
        "--data": ("D", lambda given: given.data.path, "D"),
        "--samples": ("24", lambda given: given.data.samples, 24),
        "--mean": ("0.1,0.2", lambda given: given.data.mean, (0.1, 0.2)),
        "--std": ("0.1,0.2", lambda given: given.data.std, (0.1, 0.2)),
        "--size": ("5,7", lambda given: given.data.size, (5, 7)),
        "--layout": ("NHWC", lambda given: given.data.layout, "NHWC"),
        "--fit": ("crop", lambda given: given.data.fit, "crop"),
        "--bgr": ("", lambda given: given.data.bgr, True),
        "--class-folders": ("", lambda given: given.data.class_folders, True),
        "--preset": ("yolo", lambda given: given.data.fit, "letterbox"),
        "--input-shape": ("x=2,5", lambda given: given.data.input_shapes, {"x": (2, 5)}),
        "--sample-axis": ("x=1", lambda given: given.data.sample_axes, {"x": 1}),
        "--seed": ("5", lambda given: given.seed, 5),
        "--threads": ("3", lambda given: given.threads, 3),
        "--provider": ("cpu", lambda given: given.provider, "cpu"),
    }
    for command in ("finetune", "rotate", "apply", "sweep", "compare")
}
HANDED["finetune"] |= {
    "--teacher": ("T.onnx", lambda given: str(given.teacher), "T.onnx"),
    "--minutes": ("0.5", lambda given: given.minutes, 0.5),
    "--steps": ("7", lambda given: given.steps, 7),
    "--loss": ("both", lambda given: given.loss, "both"),
    "--features": ("0.5", lambda given: given.features, 0.5),
    "--batch": ("9", lambda given: given.batch, 9),
    "--rate": ("0.25", lambda given: given.rate, 0.25),
    "--augment": ("flip,mix", lambda given: given.augment, ("flip", "mix")),
    "--sparse": ("0.5", lambda given: given.sparse, 0.5),
    "--resume": ("", lambda given: given.resume, True),
}
HANDED["compare"] |= {
    "--test": ("T.npz", lambda given: given.tests, ("T.npz",)),
    "--target": (
        "macs=0.4,params=0.5",
        lambda given: given.targets,
        ({"macs": 0.4, "params": 0.5},),
    ),
    "--criteria": ("l1,snacs:units=flow", lambda given: given.criteria, ("l1", "snacs:units=flow")),
    "--recover": ("bias,none", lambda given: given.recover, ("bias", "none")),
    "--seeds": ("7", lambda given: given.seeds, 7),
    "--repeats": ("2", lambda given: given.repeats, 2),
    "--damage": ("", lambda given: given.damage, True),
    "--tries": ("1", lambda given: given.tries, 1),
}
HANDED["apply"] |= {"--recover": ("bias", lambda given: given.recover, "bias")}
HANDED["sweep"] |= {
    "--target": (
        "macs=0.5,bytes=0.4",
        lambda given: given.goals[0].shares,
        {"macs": 0.5, "bytes": 0.4},
    ),
    "--ratio": ("0.3", lambda given: given.goals, [Ratio(0.3)]),
    "--max-drop": ("0.02", lambda given: given.goals, [Drop(0.02)]),
    "--criterion": ("l2", lambda given: given.criteria, ["l2"]),
    "--allocation": ("scores", lambda given: given.allocation, "scores"),
    "--tries": ("2", lambda given: given.tries, 2),
    "--recover": ("bias", lambda given: given.recover, "bias"),
    "--allow-inexact": ("", lambda given: given.allow_inexact, True),
    "--jobs": ("3", lambda given: given.jobs, 3),
    "--cluster": ("local:2", lambda given: given.cluster, "local:2"),
}


class Handed(Exception):
    """What a command's function was given, one name for each value."""

    def __init__(self, names: tuple[str, ...], values: tuple[Any, ...], more: Any) -> None:
        self.given = SimpleNamespace(**dict(zip(names, values, strict=False)), **more)
        config = getattr(self.given, "config", None)
        if config is not None:
            self.given.__dict__.update({f.name: getattr(config, f.name) for f in fields(config)})


def handed(kit: Kit, command: str, option: str) -> None:
    names, home = {
        "finetune": (("model", "teacher", "config"), "onnxslim_snacs.commands.finetune.finetune"),
        "rotate": (("model", "data"), "onnxslim_snacs.commands.turned.rotate_file"),
        "apply": (("model", "plan"), "onnxslim_snacs.commands.apply.apply_plan"),
        "sweep": (("models", "config"), "onnxslim_snacs.commands.sweep.sweep"),
        "compare": (("model", "config"), "onnxslim_snacs.commands.compare.compare"),
        "export-plan": (("plan", "model"), "onnxslim_snacs.commands.export_plan.export_plan"),
    }[command]

    def note(*values: Any, **more: Any) -> None:
        raise Handed(names, values, more)

    value, read, wanted = HANDED[command][option]
    kit.patch.setattr(home, note)
    line = [command, str(kit.model()), option, *([value] if value else [])]
    line += [] if option == "--data" or command == "export-plan" else ["--data", "D"]
    line += ["--model", "M"] if command == "export-plan" and option != "--model" else []
    line += ["P"] if command == "apply" else []
    line += ["--out", "O"] if command == "sweep" else []
    line += ["--teacher", "T"] if command == "finetune" and option != "--teacher" else []
    with pytest.raises(Handed) as caught:
        raising(line)
    assert read(caught.value.given) == wanted


def raising(line: list[str]) -> int:
    """The command line without what turns errors into exit codes."""
    commands: Any = typer.main.get_command(app)
    return int(commands.main(line, standalone_mode=False) or 0)
