"""The command line: parse, build a config, call the library once, print.

Heavy imports happen inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from onnxslim_snacs import __version__
from onnxslim_snacs.cli import options
from onnxslim_snacs.cli.signals import (
    begin,
    end_on_signals,
    heed_interrupts,
    ignore_signals,
    told_of_writing,
)
from onnxslim_snacs.cli.terminal import (
    ProgressBars,
    finish,
    guard_streams,
    progress_bars,
    screen,
    write_stdout,
)
from onnxslim_snacs.cli.worker import is_done, limit_memory, limit_seconds, watched_by
from onnxslim_snacs.config import (
    CompressConfig,
    DataConfig,
    FinetuneConfig,
    ReleasedConfig,
    check_config,
    check_finetune,
    check_released,
)
from onnxslim_snacs.errors import (
    NO_MEMORY,
    FileSystemError,
    LimitExceeded,
    SnacsError,
    UsageError,
    foreign,
)
from onnxslim_snacs.progress import silent

if TYPE_CHECKING:
    from onnxslim_snacs.commands.start import Compressed

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

#: What options are if nobody gives them is said once, in `config`.
_DEFAULT, _DATA, _RELEASED = CompressConfig(), DataConfig(), ReleasedConfig()
_TRAINING = FinetuneConfig()

_NOT_ENOUGH = "not enough memory; nothing was written (see --max-memory; fewer --samples need less)"

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
Samples = Annotated[int | None, typer.Option(help="Use at most so many samples.")]
Mean = Annotated[str | None, typer.Option(help="Of images, e.g. 0.485,0.456,0.406.")]
Std = Annotated[str | None, typer.Option(help="Of images, e.g. 0.229,0.224,0.225.")]
Size = Annotated[str | None, typer.Option(help="Of images: H,W.")]
Layout = Annotated[str, typer.Option(help="Of images: NCHW or NHWC.")]
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
SampleAxis = Annotated[
    list[str] | None,
    typer.Option(
        "--sample-axis",
        metavar="NAME=1",
        help="The axis of an input along which its samples lie, if not the first (repeatable).",
    ),
]
ReportOut = Annotated[Path | None, typer.Option("--report", help="Write the report here as JSON.")]
MaxMemory = Annotated[
    str | None,
    typer.Option(
        "--max-memory",
        metavar="SIZE",
        help="Bytes that the run may take, e.g. 4G; three quarters of what is free if not given.",
    ),
]
MaxTime = Annotated[
    float | None, typer.Option("--max-time", metavar="SECONDS", help="End the run after so long.")
]
Inexact = Annotated[bool, typer.Option("--allow-inexact", help="Let normalisations lose channels.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Make trained networks physically smaller when all you have is the .onnx file."""


@app.command()
def compress(
    model: Model,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Default: MODEL.slim.onnx.")
    ] = None,
    data: Data = None,
    samples: Samples = None,
    mean: Mean = None,
    std: Std = None,
    size: Size = None,
    layout: Layout = _DATA.layout,
    input_shape: InputShape = None,
    sample_axis: SampleAxis = None,
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
    max_drop: Annotated[
        float | None, typer.Option(help="Tolerated drop for --auto; 0.01 if not given.")
    ] = None,
    allow_slower: Annotated[
        bool, typer.Option("--allow-slower", help="With --target latency: write it in any case.")
    ] = False,
    criterion: Annotated[str, typer.Option(help="See `snacs-onnx criteria`.")] = _DEFAULT.criterion,
    allocation: Annotated[
        str,
        typer.Option(help="How groups share the cut: curves (measured), uniform or scores."),
    ] = _DEFAULT.allocation,
    tries: Annotated[
        int, typer.Option(help="With --target: allocations that are recovered and compared.")
    ] = _DEFAULT.tries,
    option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="An option of the criterion, see `snacs-onnx criteria` (repeatable).",
        ),
    ] = None,
    recover: Annotated[
        str, typer.Option(help="Re-fit what is left: auto, none, bias, stats or least-squares.")
    ] = _DEFAULT.recover,
    allow_inexact: Inexact = False,
    width: Annotated[
        str, typer.Option(help="The width of transformers: exact (stays), refit or rotate.")
    ] = _DEFAULT.width,
    protect: Annotated[
        list[str] | None, typer.Option(metavar="GLOB", help="Nodes or tensors that keep all.")
    ] = None,
    multiple_of: Annotated[
        str,
        typer.Option(
            metavar="N|auto",
            help="Round kept channels up to multiples; auto: those that this machine runs fastest.",
        ),
    ] = "1",
    seed: Seed = _DEFAULT.seed,
    threads: Threads = _DEFAULT.threads,
    provider: Provider = _DEFAULT.provider,
    plan_out: Annotated[Path | None, typer.Option(help="Write the plan here.")] = None,
    report: ReportOut = None,
    max_memory: MaxMemory = None,
    max_time: MaxTime = None,
    json: Json = False,
    force: Force = False,
) -> None:
    """Make a model smaller: score, plan, cut, prove, write."""
    _keep_within(max_memory, max_time)
    if (target or ratio is not None) and (auto or max_drop is not None):
        raise UsageError("--auto and --max-drop exclude --target and --ratio")
    config = CompressConfig(
        data=_data_config(data, samples, mean, std, size, layout, input_shape, sample_axis),
        target=options.targets(target),
        ratio=ratio,
        max_drop=_DEFAULT.max_drop if max_drop is None else max_drop,
        allow_slower=allow_slower,
        criterion=criterion,
        allocation=allocation,
        tries=tries,
        options=options.settings(option),
        recover=recover,
        allow_inexact=allow_inexact,
        width=width,
        protect=tuple(protect or ()),
        multiple_of=options.multiple(multiple_of),
        seed=seed,
        threads=threads,
        provider=provider,
    )
    from onnxslim_snacs.commands.compress import compress as make_smaller
    from onnxslim_snacs.report.make import NO_DATA

    check_config(config)
    if data is None:
        _warn([NO_DATA])
    with progress_bars() as bars:
        make_smaller(
            model,
            config,
            out=out or _beside(model),
            plan_out=plan_out,
            report_out=report,
            overwrite=force,
            progress=told_of_writing(bars.progress),
            told=lambda done: _show(done, json=json, bars=bars),
        )


@app.command()
def released(
    model: Model,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Default: MODEL.slim.onnx.")
    ] = None,
    data: Data = None,
    samples: Samples = None,
    mean: Mean = None,
    std: Std = None,
    size: Size = None,
    layout: Layout = _DATA.layout,
    input_shape: InputShape = None,
    sample_axis: SampleAxis = None,
    target: Annotated[
        list[str] | None,
        typer.Option(metavar="params=SHARE", help="Share of the connections' weights to KEEP."),
    ] = None,
    max_drop: Annotated[
        float | None, typer.Option(help="Without a target: the tolerated drop; 0.01 if not given.")
    ] = None,
    groups: Annotated[
        int | None, typer.Option(help="Filter groups per layer instead of single filters.")
    ] = None,
    seed: Seed = _RELEASED.seed,
    threads: Threads = _RELEASED.threads,
    provider: Provider = _RELEASED.provider,
    report: ReportOut = None,
    max_memory: MaxMemory = None,
    max_time: MaxTime = None,
    json: Json = False,
    force: Force = False,
) -> None:
    """SNACS by the formulas of its authors' code: connections become zero."""
    _keep_within(max_memory, max_time)
    wanted = options.targets(target)
    if set(wanted) - {"params"}:
        raise UsageError(f"--target {' '.join(wanted)}: `released` knows params alone")
    if target and max_drop is not None:
        raise UsageError("--max-drop excludes --target")
    config = ReleasedConfig(
        data=_data_config(data, samples, mean, std, size, layout, input_shape, sample_axis),
        params=wanted.get("params"),
        max_drop=_RELEASED.max_drop if max_drop is None else max_drop,
        groups=groups,
        seed=seed,
        threads=threads,
        provider=provider,
    )
    from onnxslim_snacs.commands.released import compress_as_released
    from onnxslim_snacs.report.make import NO_DATA

    check_released(config)
    if data is None:
        _warn([NO_DATA])
    with progress_bars() as bars:
        compress_as_released(
            model,
            config,
            out=out or _beside(model),
            report_out=report,
            overwrite=force,
            progress=told_of_writing(bars.progress),
            told=lambda done: _show(done, json=json, bars=bars),
        )


@app.command()
def finetune(
    model: Model,
    teacher: Annotated[
        Path,
        typer.Option("--teacher", metavar="ORIGINAL.onnx", help="The model that it was made from."),
    ],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Default: MODEL.tuned.onnx.")
    ] = None,
    data: Data = None,
    samples: Samples = None,
    mean: Mean = None,
    std: Std = None,
    size: Size = None,
    layout: Layout = _DATA.layout,
    input_shape: InputShape = None,
    sample_axis: SampleAxis = None,
    minutes: Annotated[float, typer.Option(help="How long to train.")] = _TRAINING.minutes,
    steps: Annotated[
        int | None,
        typer.Option(help="Instead: how many batches; the result is then the same on each run."),
    ] = None,
    loss: Annotated[
        str, typer.Option(help="distil (the teacher's answers), labels, or both.")
    ] = _TRAINING.loss,
    batch: Annotated[int, typer.Option(help="Samples in a batch.")] = _TRAINING.batch,
    rate: Annotated[float, typer.Option(help="Largest learning rate.")] = _TRAINING.rate,
    augment: Annotated[
        str, typer.Option(help="How samples are changed: flip,shift,mix, some of them, or none.")
    ] = ",".join(_TRAINING.augment),
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from OUT.checkpoint, if it is there.")
    ] = False,
    seed: Seed = _TRAINING.seed,
    threads: Threads = _TRAINING.threads,
    provider: Provider = _TRAINING.provider,
    report: ReportOut = None,
    max_memory: MaxMemory = None,
    json: Json = False,
    force: Force = False,
) -> None:
    """Train a smaller model by the original's answers; Ctrl-C ends it with the best so far."""
    _keep_within(max_memory, None)
    config = FinetuneConfig(
        data=_data_config(data, samples, mean, std, size, layout, input_shape, sample_axis),
        minutes=minutes,
        steps=steps,
        loss=loss,
        batch=batch,
        rate=rate,
        augment=() if augment == "none" else tuple(augment.split(",")),
        seed=seed,
        threads=threads,
        provider=provider,
    )
    check_finetune(config)
    from onnxslim_snacs.commands.finetune import finetune as train
    from onnxslim_snacs.report import to_json
    from onnxslim_snacs.report.training import print_training

    written = out or model.with_name(f"{model.stem}.tuned.onnx")
    with progress_bars() as bars:
        _, done = train(
            model,
            teacher,
            config,
            out=written,
            report_out=report,
            checkpoint=written.with_name(f"{written.name}.checkpoint"),
            resume=resume,
            overwrite=force,
            stop=heed_interrupts(),
            progress=told_of_writing(bars.progress),
        )
    if json:
        write_stdout(to_json(done))
    else:
        print_training(done, screen())


def _data_config(
    data: str | None,
    samples: int | None,
    mean: str | None,
    std: str | None,
    size: str | None,
    layout: str,
    input_shape: list[str] | None,
    sample_axis: list[str] | None,
) -> DataConfig:
    return DataConfig(
        path=data,
        samples=samples,
        mean=options.floats("--mean", mean, _DATA.mean),
        std=options.floats("--std", std, _DATA.std),
        size=options.size("--size", size),
        layout=layout,
        input_shapes=options.shapes(input_shape),
        sample_axes=options.axes(sample_axis),
    )


@app.command()
def rotate(
    model: Model,
    data: Data,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Default: MODEL.rotated.onnx.")
    ] = None,
    samples: Samples = None,
    mean: Mean = None,
    std: Std = None,
    size: Size = None,
    layout: Layout = _DATA.layout,
    input_shape: InputShape = None,
    sample_axis: SampleAxis = None,
    seed: Seed = _DEFAULT.seed,
    threads: Threads = _DEFAULT.threads,
    provider: Provider = _DEFAULT.provider,
    json: Json = False,
    force: Force = False,
) -> None:
    """Turn residual streams into principal components, so that the width of a model can be cut."""
    from onnxslim_snacs.commands.turned import rotate_file, width_notes
    from onnxslim_snacs.report import to_json

    place = out or model.with_name(f"{model.stem}.rotated.onnx")
    turned = rotate_file(
        model,
        _data_config(data, samples, mean, std, size, layout, input_shape, sample_axis),
        out=place,
        overwrite=force,
        provider=provider,
        threads=threads,
        seed=seed,
        progress=told_of_writing(silent),
    )
    if json:
        write_stdout(to_json({"output": str(place), **width_notes(turned)}))
        return
    for stream in turned.streams:
        screen().print(
            f"a stream of {stream.width} channels behind {stream.norms} normalisations: "
            "{} / {} / {} of them carry 90 / 99 / 99.9 %".format(*stream.carried)
        )
    screen().print(f"max relative difference {turned.difference:.2g}, allowed {turned.allowed:.2g}")


@app.command()
def inspect(
    model: Model,
    input_shape: InputShape = None,
    allow_inexact: Inexact = False,
    why: Annotated[
        str | None,
        typer.Option(metavar="TENSOR", help="Explain why a tensor (or a node's output) stays."),
    ] = None,
    max_memory: MaxMemory = None,
    max_time: MaxTime = None,
    json: Json = False,
) -> None:
    """What can be pruned, what cannot, and why."""
    _keep_within(max_memory, max_time)
    from onnxslim_snacs.commands.inspect import inspect as look
    from onnxslim_snacs.report import to_json
    from onnxslim_snacs.report.console import print_inspection

    result = look(
        model, input_shapes=options.shapes(input_shape), allow_inexact=allow_inexact, why=why
    )
    if json:
        write_stdout(to_json(result))
    else:
        print_inspection(result, screen())


@app.command()
def apply(
    model: Model,
    plan: Annotated[Path, typer.Argument(metavar="PLAN.json", help="The plan.")],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Default: MODEL.slim.onnx.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="PATH",
            help="The samples of `compress`, to re-fit what is left again as the plan says.",
        ),
    ] = None,
    samples: Samples = None,
    mean: Mean = None,
    std: Std = None,
    size: Size = None,
    layout: Layout = _DATA.layout,
    input_shape: InputShape = None,
    sample_axis: SampleAxis = None,
    recover: Annotated[
        str,
        typer.Option(
            help="auto: as the plan says; none: the raw cut; or bias, stats, least-squares."
        ),
    ] = _DEFAULT.recover,
    threads: Annotated[
        int | None,
        typer.Option("--threads", min=1, help="Threads of ONNX Runtime; the plan's if not given."),
    ] = None,
    report: ReportOut = None,
    max_memory: MaxMemory = None,
    max_time: MaxTime = None,
    json: Json = False,
    force: Force = False,
) -> None:
    """Replay a plan: the same file, byte for byte, with the same data and threads."""
    _keep_within(max_memory, max_time)
    from onnxslim_snacs.commands.apply import apply_plan

    with progress_bars() as bars:
        apply_plan(
            model,
            plan,
            out=out or _beside(model),
            report_out=report,
            overwrite=force,
            data=_data_config(data, samples, mean, std, size, layout, input_shape, sample_axis),
            recover=recover,
            threads=threads,
            progress=told_of_writing(bars.progress),
            told=lambda done: _show(done, json=json, bars=bars),
        )


@app.command()
def verify(
    model: Model,
    out: Annotated[Path, typer.Argument(metavar="OUT.onnx", help="The cut model.")],
    plan: Annotated[Path, typer.Option("--plan", help="The plan that leads to it.")],
    input_shape: InputShape = None,
    threads: Threads = _DEFAULT.threads,
    max_memory: MaxMemory = None,
    max_time: MaxTime = None,
    json: Json = False,
) -> None:
    """Prove that a cut model computes what its plan says."""
    _keep_within(max_memory, max_time)
    from onnxslim_snacs.commands.verify import (
        require_verified,
        verified_json,
        verified_words,
        verify_files,
    )
    from onnxslim_snacs.plan.written import load_plan
    from onnxslim_snacs.report import to_json

    shapes = options.shapes(input_shape)
    found = verify_files(model, out, load_plan(plan), input_shapes=shapes, threads=threads)
    if json:
        write_stdout(to_json(verified_json(found)))
    require_verified(found, out)
    if not json:
        screen().print(verified_words(found), soft_wrap=True)


@app.command()
def bench(
    model: Model,
    out: Annotated[Path, typer.Argument(metavar="OUT.onnx", help="The other model.")],
    data: Data = None,
    input_shape: InputShape = None,
    sample_axis: SampleAxis = None,
    batch: Annotated[int, typer.Option(min=1, help="Samples in a run, if the model allows.")] = 1,
    threads: Threads = _DEFAULT.threads,
    provider: Provider = _DEFAULT.provider,
    max_memory: MaxMemory = None,
    max_time: MaxTime = None,
    json: Json = False,
) -> None:
    """Size, work and time of two models side by side."""
    _keep_within(max_memory, max_time)
    from onnxslim_snacs.commands.bench import side_by_side
    from onnxslim_snacs.report import to_json
    from onnxslim_snacs.report.console import print_comparison

    config = DataConfig(
        path=data,
        input_shapes=options.shapes(input_shape),
        sample_axes=options.axes(sample_axis),
    )
    result = side_by_side(model, out, config, batch=batch, threads=threads, provider=provider)
    if json:
        write_stdout(to_json(result))
    else:
        print_comparison(result, screen())


@app.command()
def criteria(json: Json = False) -> None:
    """List the criteria."""
    from onnxslim_snacs.report import to_json
    from onnxslim_snacs.scores import CRITERIA

    if json:
        listed = {
            c.name: {
                "summary": c.summary,
                "needs": c.needs,
                "options": {o.name: o.summary for o in c.options},
            }
            for c in CRITERIA.values()
        }
        write_stdout(to_json(listed))
        return
    width = max(map(len, CRITERIA))
    for criterion in CRITERIA.values():
        line = f"{criterion.name:{width}}  {criterion.summary}"
        screen().print(line, markup=False, soft_wrap=True)
        for option in criterion.options:
            line = f"{'':{width}}  --option {option.name}=...: {option.summary}"
            screen().print(line, markup=False, soft_wrap=True)


def _beside(model: Path) -> Path:
    return model.with_name(f"{model.stem}.slim.onnx")


def _show(done: Compressed, *, json: bool, bars: ProgressBars | None = None) -> None:
    """Show the result, and make sure that it has arrived: its files come into their places then."""
    from onnxslim_snacs.report import print_report, to_json
    from onnxslim_snacs.report.make import NO_DATA

    if bars is not None:
        bars.stop()
    _warn([text for text in done.report.warnings if text != NO_DATA])  # told before the work
    if json:
        write_stdout(to_json(done.report))
    else:
        print_report(done.report, screen())
    finish()


def _keep_within(max_memory: str | None, max_time: float | None) -> None:
    if max_memory is not None:
        limit_memory(options.memory(max_memory))
    if max_time is None:
        return
    if not 0 < max_time < math.inf:
        raise UsageError(f"--max-time {max_time:g}: expected a positive number of seconds")
    limit_seconds(max_time)


def main(wire: int | None = None) -> None:
    """Run, and end with the exit code that belongs to what happened.

    Args:
        wire: the pipe to the process that watches over this one, if any does.
    """
    if wire is None:
        end_on_signals()
    guard_streams()
    watched_by(wire)
    code = run(sys.argv[1:])
    # A signal while Python shuts down would kill the process, although the model is written.
    ignore_signals()
    is_done()
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run one command.

    Args:
        arguments: what was typed after the name of the program.

    Returns:
        The exit code; what went wrong is told in one line on stderr.
    """
    begin()
    try:
        code = _invoke(arguments)
        finish()
        return code
    except SnacsError as error:
        return _complain(f"error: {error}", error.exit_code)
    except MemoryError:
        return _complain(f"error: {_NOT_ENOUGH}", LimitExceeded.exit_code)
    except OSError as error:
        what = f"{foreign(error.filename)}: " if error.filename else ""
        text = f"error: {what}{foreign(error.strerror or error)}"
        return _complain(text, FileSystemError.exit_code)
    except Exception as error:
        if any(text in str(error) for text in NO_MEMORY):  # no library's class for it is another's
            return _complain(f"error: {_NOT_ENOUGH}", LimitExceeded.exit_code)
        if os.environ.get("SNACS_ONNX_DEBUG"):
            raise
        return _complain(
            f"internal error: {type(error).__name__}: {foreign(error)} "
            "(set SNACS_ONNX_DEBUG=1 for the traceback, and please report it)",
            1,
        )


def _invoke(arguments: Sequence[str]) -> int:
    """Typer ends every command by leaving the program; the code is all that is wanted of that."""
    try:
        app(list(arguments), prog_name="snacs-onnx")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _complain(text: str, code: int) -> int:
    screen(stderr=True).print(text, markup=False, soft_wrap=True)
    return code


def _warn(texts: Sequence[str]) -> None:
    for text in texts:
        screen(stderr=True).print(
            f"[bold yellow]warning:[/bold yellow] {escape(foreign(text))}", soft_wrap=True
        )
