"""The command line: parse, build a config, call the library once, print.

Heavy imports happen inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from onnxslim_snacs.config import CompressConfig, DataConfig
from onnxslim_snacs.errors import FileSystemError, LimitExceeded, SnacsError, UsageError, foreign

if TYPE_CHECKING:
    from rich.progress import TaskID

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Make trained networks physically smaller when all you have is the .onnx file.",
)
stdout, stderr = Console(), Console(stderr=True)

Model = Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="The model.")]
Json = Annotated[bool, typer.Option("--json", help="Write JSON to stdout.")]
Force = Annotated[bool, typer.Option("--force", help="Replace files that exist.")]
Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="PATH",
        help=".npz, .npy, a folder of them, a folder of images, or module:function; "
        "without it: seeded random inputs.",
    ),
]
Threads = Annotated[int, typer.Option("--threads", min=1, help="Threads of ONNX Runtime.")]
Provider = Annotated[str, typer.Option("--provider", help="auto, cpu or cuda.")]
Seed = Annotated[int, typer.Option("--seed", help="For everything that is drawn.")]
InputShape = Annotated[
    list[str] | None,
    typer.Option(
        "--input-shape",
        metavar="NAME=1,3,H,W",
        help="Sizes of an input whose dynamic dimensions cannot be guessed (repeatable).",
    ),
]
Inexact = Annotated[bool, typer.Option("--allow-inexact", help="Let normalisations lose channels.")]


@app.command()
def compress(
    model: Model,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Default: MODEL.slim.onnx.")
    ] = None,
    data: Data = None,
    samples: Annotated[int | None, typer.Option(help="Use at most so many samples.")] = None,
    mean: Annotated[str | None, typer.Option(help="Of images, e.g. 0.485,0.456,0.406.")] = None,
    std: Annotated[str | None, typer.Option(help="Of images, e.g. 0.229,0.224,0.225.")] = None,
    size: Annotated[str | None, typer.Option(help="Of images: H,W.")] = None,
    layout: Annotated[str, typer.Option(help="Of images: NCHW or NHWC.")] = "NCHW",
    input_shape: InputShape = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="Share to KEEP of params, macs, bytes or latency, e.g. macs=0.5 (repeatable).",
        ),
    ] = None,
    ratio: Annotated[
        float | None, typer.Option(help="Remove this share of the units of every group.")
    ] = None,
    auto: Annotated[
        bool, typer.Option("--auto", help="Remove what --max-drop tolerates (the default).")
    ] = False,
    max_drop: Annotated[float, typer.Option(help="Tolerated drop for --auto.")] = 0.01,
    criterion: Annotated[str, typer.Option(help="See `snacs-onnx criteria`.")] = "snacs",
    as_released: Annotated[
        bool, typer.Option("--as-released", help="The released SNACS formulas, edges only.")
    ] = False,
    groups: Annotated[
        int | None, typer.Option(help="SNACS: filter groups per layer instead of single filters.")
    ] = None,
    recover: Annotated[str, typer.Option(help="none.")] = "none",
    allow_inexact: Inexact = False,
    protect: Annotated[
        list[str] | None, typer.Option(metavar="GLOB", help="Nodes or tensors that keep all.")
    ] = None,
    multiple_of: Annotated[int, typer.Option(help="Round kept channels up to multiples.")] = 1,
    seed: Seed = 0,
    threads: Threads = 1,
    provider: Provider = "auto",
    plan_out: Annotated[Path | None, typer.Option(help="Write the plan here.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write the report here as JSON.")] = None,
    json: Json = False,
    force: Force = False,
) -> None:
    """Make a model smaller: score, plan, cut, prove, write."""
    if auto and (target or ratio is not None):
        raise UsageError("--auto excludes --target and --ratio")
    config = CompressConfig(
        data=DataConfig(
            path=data,
            samples=samples,
            mean=_floats("--mean", mean, (0.0,)),
            std=_floats("--std", std, (1.0,)),
            size=_pair("--size", size),
            layout=layout,
            input_shapes=_shapes(input_shape),
        ),
        target=_targets(target),
        ratio=ratio,
        max_drop=max_drop,
        criterion=criterion,
        as_released=as_released,
        groups=groups,
        recover=recover,
        allow_inexact=allow_inexact,
        protect=tuple(protect or ()),
        multiple_of=multiple_of,
        seed=seed,
        threads=threads,
        provider=provider,
    )
    from onnxslim_snacs.model.text import write_text
    from onnxslim_snacs.pipeline import compress as run
    from onnxslim_snacs.plan.plan import plan_to_json
    from onnxslim_snacs.report import print_report, report_to_json

    target_file = out or model.with_name(f"{model.stem}.slim.onnx")
    _refuse_existing([target_file, plan_out, report], force)
    if data is None:
        stderr.print(
            "[bold yellow]warning:[/bold yellow] no --data: random inputs are used, and what they "
            "say about accuracy means little; give some samples of real data"
        )
    with _progress() as progress:
        done = run(model, config, out=target_file, overwrite=force, progress=progress)
    if plan_out is not None:
        write_text(plan_to_json(done.plan), plan_out, overwrite=force)
    if report is not None:
        write_text(report_to_json(done.report), report, overwrite=force)
    if json:
        sys.stdout.write(report_to_json(done.report))
    else:
        print_report(done.report, stdout)


@app.command()
def inspect(
    model: Model,
    input_shape: InputShape = None,
    allow_inexact: Inexact = False,
    why: Annotated[
        str | None, typer.Option(metavar="TENSOR", help="Explain why a tensor is pinned.")
    ] = None,
    json: Json = False,
) -> None:
    """What can be pruned, what cannot, and why."""
    from onnxslim_snacs.inspection import inspect as run
    from onnxslim_snacs.inspection import inspection_to_json, print_inspection

    result = run(model, input_shapes=_shapes(input_shape), allow_inexact=allow_inexact, why=why)
    if json:
        sys.stdout.write(inspection_to_json(result))
    else:
        print_inspection(result, stdout)


@app.command()
def apply(
    model: Model,
    plan: Annotated[Path, typer.Argument(metavar="PLAN.json", help="The plan.")],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Default: MODEL.slim.onnx.")
    ] = None,
    input_shape: InputShape = None,
    threads: Threads = 1,
    json: Json = False,
    force: Force = False,
) -> None:
    """Replay a plan: the same file, byte for byte."""
    from onnxslim_snacs.pipeline import apply_plan
    from onnxslim_snacs.plan.plan import load_plan
    from onnxslim_snacs.report import print_report, report_to_json

    target = out or model.with_name(f"{model.stem}.slim.onnx")
    _refuse_existing([target], force)
    shapes = DataConfig(input_shapes=_shapes(input_shape))
    done = apply_plan(
        model, load_plan(plan), out=target, overwrite=force, data=shapes, threads=threads
    )
    if json:
        sys.stdout.write(report_to_json(done.report))
    else:
        print_report(done.report, stdout)


@app.command()
def verify(
    model: Model,
    out: Annotated[Path, typer.Argument(metavar="OUT.onnx", help="The cut model.")],
    plan: Annotated[Path, typer.Option("--plan", help="The plan that leads to it.")],
    threads: Threads = 1,
    json: Json = False,
) -> None:
    """Prove that a cut model computes what its plan says."""
    import json as encoder
    from dataclasses import asdict

    from onnxslim_snacs.pipeline import verify_files
    from onnxslim_snacs.plan.plan import load_plan
    from onnxslim_snacs.verify import require

    proof = verify_files(model, out, load_plan(plan), threads=threads)
    if json:
        sys.stdout.write(encoder.dumps(asdict(proof)) + "\n")
    require(proof)
    if not json:
        stdout.print(f"proved: max relative difference {proof.max_rel_diff:.2g} ({proof.oracle})")


@app.command()
def bench(
    model: Model,
    out: Annotated[Path, typer.Argument(metavar="OUT.onnx", help="The other model.")],
    data: Data = None,
    input_shape: InputShape = None,
    batch: Annotated[int, typer.Option(min=1, help="Samples in a run, if the model allows.")] = 1,
    threads: Threads = 1,
    provider: Provider = "auto",
    json: Json = False,
) -> None:
    """Size, work and time of two models side by side."""
    from onnxslim_snacs.sidebyside import print_comparison, side_by_side, to_json

    config = DataConfig(path=data, input_shapes=_shapes(input_shape))
    result = side_by_side(model, out, config, batch=batch, threads=threads, provider=provider)
    if json:
        sys.stdout.write(to_json(result))
    else:
        print_comparison(result, stdout)


@app.command()
def criteria(json: Json = False) -> None:
    """List the criteria."""
    import json as encoder

    from onnxslim_snacs.scores import CRITERIA

    if json:
        sys.stdout.write(encoder.dumps({c.name: c.summary for c in CRITERIA.values()}) + "\n")
        return
    for criterion in CRITERIA.values():
        stdout.print(f"{criterion.name:12} {criterion.summary}")


def main() -> None:
    """Run, and end with the exit code that belongs to what happened."""
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _terminated)
    try:
        app()
    except SnacsError as error:
        stderr.print(f"error: {error}", markup=False, soft_wrap=True)
        sys.exit(error.exit_code)
    except MemoryError:
        stderr.print("error: not enough memory")
        sys.exit(LimitExceeded.exit_code)
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        if os.environ.get("SNACS_ONNX_DEBUG"):
            raise
        stderr.print(
            f"internal error: {type(error).__name__}: {foreign(error)} "
            "(set SNACS_ONNX_DEBUG=1 for the traceback, and please report it)",
            markup=False,
            soft_wrap=True,
        )
        sys.exit(1)


def _terminated(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """A bar on stderr for each stage that reports."""
    from rich.progress import Progress

    with Progress(console=stderr, transient=True, disable=not stderr.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}

        def update(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield update


def _refuse_existing(paths: list[Path | None], force: bool) -> None:
    for path in paths:
        if path is not None and not force and path.exists():
            raise FileSystemError(f"{path} exists; --force replaces it")


def _targets(items: list[str] | None) -> dict[str, float]:
    return {key: _number("--target", value) for key, value in _pairs("--target", items)}


def _shapes(items: list[str] | None) -> dict[str, tuple[int, ...]]:
    found = {}
    for name, text in _pairs("--input-shape", items):
        numbers = [_number("--input-shape", part) for part in text.split(",")]
        if any(n < 1 or n != int(n) for n in numbers):
            raise UsageError(f"--input-shape {name}={text}: expected positive whole numbers")
        found[name] = tuple(int(n) for n in numbers)
    return found


def _pairs(option: str, items: list[str] | None) -> Iterator[tuple[str, str]]:
    for item in items or []:
        key, equals, value = item.rpartition("=")
        if not equals or not key:
            raise UsageError(f"{option} {item}: expected KEY=VALUE")
        yield key, value


def _number(option: str, text: Any) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise UsageError(f"{option}: {text!r} is not a number") from error


def _floats(option: str, text: str | None, default: tuple[float, ...]) -> tuple[float, ...]:
    return default if text is None else tuple(_number(option, part) for part in text.split(","))


def _pair(option: str, text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    numbers = [int(_number(option, part)) for part in text.replace("x", ",").split(",")]
    if len(numbers) == 1:
        numbers *= 2
    if len(numbers) != 2:
        raise UsageError(f"{option} {text}: expected H,W")
    return numbers[0], numbers[1]
