"""Every option arrives where it acts: seen in what is run, decided and written, not in a config.

Which options there are is asked of the command line itself, so that a new one needs a case here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import typer

from onnxslim_snacs.cli.app import app
from onnxslim_snacs.config import CompressConfig, DataConfig, ReleasedConfig
from onnxslim_snacs.config.fields import in_files
from tests.cli.arriving.handed import HANDED, handed
from tests.cli.arriving.kit import QUICK, STEPS, Kit
from tests.cli.arriving.of_compress import (
    allocation,
    allow_inexact,
    allow_slower,
    arithmetic,
    block_order,
    blocks,
    cluster,
    criterion,
    drop,
    effort,
    finetune_minutes,
    judge,
    max_drop,
    multiple_of,
    option,
    protect,
    provider,
    ratio,
    recover,
    seed,
    target,
    threads,
    tries,
    width,
)
from tests.cli.arriving.of_data import (
    bgr,
    class_folders,
    data,
    fit,
    input_shape,
    layout,
    mean,
    preset,
    sample_axis,
    samples,
    size,
    std,
)
from tests.cli.arriving.of_others import (
    apply_input_shape,
    apply_threads,
    bench_batch,
    bench_data,
    bench_input_shape,
    bench_provider,
    bench_sample_axis,
    bench_threads,
    inspect_allow_inexact,
    inspect_input_shape,
    inspect_why,
    verify_input_shape,
    verify_plan,
    verify_threads,
)
from tests.cli.arriving.of_released import (
    released_groups,
    released_images,
    released_max_drop,
    released_phi,
    released_provider,
    released_samples,
    released_save,
    released_seed,
    released_target,
    released_threads,
)
from tests.cli.conftest import Cli

Case = Callable[[Kit], None]
CASES: dict[str, Case] = {
    "compress --data": lambda kit: data(kit, lambda *line: kit.compress(*QUICK, *line)),
    "compress --samples": samples,
    "compress --mean": mean,
    "compress --std": std,
    "compress --size": size,
    "compress --layout": layout,
    "compress --fit": fit,
    "compress --bgr": bgr,
    "compress --preset": preset,
    "compress --class-folders": lambda kit: class_folders(
        kit, lambda *line, **more: kit.compress(*QUICK, *line, **more)
    ),
    "compress --input-shape": lambda kit: input_shape(
        kit, lambda *line: kit.compress(*QUICK, *line, text=STEPS)
    ),
    "compress --target": target,
    "compress --ratio": ratio,
    "compress --max-drop": max_drop,
    "compress --judge": judge,
    "compress --allow-slower": allow_slower,
    "compress --criterion": criterion,
    "compress --allocation": allocation,
    "compress --blocks": blocks,
    "compress --block-order": block_order,
    "compress --drop": drop,
    "compress --finetune": finetune_minutes,
    "compress --effort": effort,
    "compress --tries": tries,
    "compress --option": option,
    "compress --recover": recover,
    "compress --allow-inexact": allow_inexact,
    "compress --protect": protect,
    "compress --width": width,
    "compress --sample-axis": lambda kit: sample_axis(
        kit, lambda *line: kit.compress(*QUICK, *line, text=STEPS)
    ),
    "released --sample-axis": lambda kit: sample_axis(
        kit, lambda *line: kit.run("released", "--target", "params=0.6", *line, text=STEPS)
    ),
    "bench --sample-axis": bench_sample_axis,
    "compress --multiple-of": multiple_of,
    "compress --seed": seed,
    "compress --threads": threads,
    "compress --provider": provider,
    "compress --arithmetic": arithmetic,
    "compress --cluster": cluster,
    "released --data": lambda kit: data(
        kit, lambda *line: kit.run("released", "--target", "params=0.6", *line)
    ),
    "released --samples": released_samples,
    "released --mean": released_images("--mean", "0.1,0.2,0.3"),
    "released --std": released_images("--std", "0.1,0.2,0.3"),
    "released --size": released_images("--size", "5,7"),
    "released --layout": released_images("--layout", "NHWC"),
    "released --fit": released_images("--fit", "letterbox"),
    "released --bgr": released_images("--bgr"),
    "released --preset": released_images("--preset", "imagenet"),
    "released --class-folders": lambda kit: class_folders(
        kit, lambda *line, **more: kit.run("released", "--target", "params=0.6", *line, **more)
    ),
    "released --input-shape": lambda kit: input_shape(
        kit, lambda *line: kit.run("released", "--target", "params=0.6", *line, text=STEPS)
    ),
    "released --target": released_target,
    "released --max-drop": released_max_drop,
    "released --groups": released_groups,
    "released --phi": released_phi,
    "released --save": released_save,
    "released --seed": released_seed,
    "released --threads": released_threads,
    "released --provider": released_provider,
    "inspect --input-shape": inspect_input_shape,
    "inspect --allow-inexact": inspect_allow_inexact,
    "inspect --why": inspect_why,
    "apply --input-shape": apply_input_shape,
    "apply --threads": apply_threads,
    "verify --plan": verify_plan,
    "verify --input-shape": verify_input_shape,
    "verify --threads": verify_threads,
    "bench --data": bench_data,
    "bench --input-shape": bench_input_shape,
    "bench --batch": bench_batch,
    "bench --threads": bench_threads,
    "bench --provider": bench_provider,
}
#: Options that other tests are about, and where.
ELSEWHERE = {
    "--out": "test_files",
    "--plan-out": "test_files",
    "--report": "test_files",
    "--html": "test_page_files",
    "--progress": "test_progress",
    "--quiet": "test_progress",
    "--verbose": "test_progress",
    "--require": "test_gate",
    "--simplify": "test_simplify",
    "--metadata": "test_gate",
    "--force": "test_exit_codes",
    "--json": "test_commands",
    "--auto": "test_budgets",
    "--config": "test_config_file",
    "--print-config": "test_config_file",
    "--max-memory": "test_watch",
    "--max-time": "test_watch",
}
#: Fields that are typed by another name.
NAMES = {
    "path": "--data",
    "input_shapes": "--input-shape",
    "options": "--option",
    "sample_axes": "--sample-axis",
    "metric": "--judge",
}
HANDED["export-plan"] = {
    "--model": ("M.onnx", lambda given: str(given.model), "M.onnx"),
    "--state-dict": ("S.pt", lambda given: str(given.state_dict), "S.pt"),
    "--format": ("torch", lambda given: given.format, "torch"),
}


def typed_options() -> list[str]:
    """Every option of every command, as the command line itself lists them."""
    commands: Any = typer.main.get_command(app)
    return [
        f"{name} {max(parameter.opts, key=len)}"
        for name, command in commands.commands.items()
        for parameter in command.params
        if parameter.opts[0].startswith("-") and max(parameter.opts, key=len) not in ELSEWHERE
    ]


@pytest.fixture
def kit(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kit:
    return Kit(cli, tmp_path, monkeypatch)


@pytest.mark.parametrize("option", typed_options())
def test_option_arrives(option: str, kit: Kit) -> None:
    command, name = option.split()
    if option not in CASES and name in HANDED.get(command, {}):
        handed(kit, command, name)
        return
    assert option in CASES, f"{option}: nothing shows that it arrives"
    CASES[option](kit)


@pytest.mark.parametrize(
    "field",
    [
        f"{command} {field.name}"
        for command, config in (("compress", CompressConfig), ("released", ReleasedConfig))
        for field in (*fields(DataConfig), *fields(config))
        if field.name != "data" and in_files(field)
    ],
)
def test_every_field_of_the_configuration_is_an_option(field: str) -> None:
    command, name = field.split()
    typed = NAMES.get(name, f"--{name.replace('_', '-')}")
    if (command, name) == ("released", "params"):
        typed = "--target"
    assert typed in ELSEWHERE or f"{command} {typed}" in typed_options()
