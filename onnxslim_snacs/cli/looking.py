"""Commands that write nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onnxslim_snacs.cli import options
from onnxslim_snacs.cli.arguments import (
    DEFAULT,
    Inexact,
    LimitOptions,
    Model,
    Provider,
    Threads,
    keep_within,
)
from onnxslim_snacs.cli.data import Data, InputShape, SampleAxis
from onnxslim_snacs.cli.showing import Json
from onnxslim_snacs.cli.terminal import (
    screen,
    write_stdout,
)
from onnxslim_snacs.config import (
    DataConfig,
)
from onnxslim_snacs.errors import UsageError, foreign


def inspect(
    model: Model,
    *,
    input_shape: InputShape = None,
    allow_inexact: Inexact = False,
    why: Annotated[
        str | None,
        typer.Option(metavar="TENSOR", help="Explain why a tensor (or a node's output) stays."),
    ] = None,
    limits: LimitOptions,
    json: Json = False,
) -> None:
    """What can be pruned, what cannot, and why."""
    keep_within(limits)
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


def verify(
    model: Model,
    out: Annotated[Path, typer.Argument(metavar="OUT.onnx", help="The cut model.")],
    *,
    plan: Annotated[Path, typer.Option("--plan", help="The plan that leads to it.")],
    input_shape: InputShape = None,
    threads: Threads = 1,
    limits: LimitOptions,
    json: Json = False,
) -> None:
    """Prove that a cut model computes what its plan says."""
    keep_within(limits)
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


def bench(
    model: Model,
    out: Annotated[Path, typer.Argument(metavar="OUT.onnx", help="The other model.")],
    *,
    data: Data = None,
    input_shape: InputShape = None,
    sample_axis: SampleAxis = None,
    batch: Annotated[int, typer.Option(min=1, help="Samples in a run, if the model allows.")] = 1,
    threads: Threads = 1,
    provider: Provider = DEFAULT.provider,
    limits: LimitOptions,
    json: Json = False,
) -> None:
    """Size, work and time of two models side by side."""
    keep_within(limits)
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


def schema(
    name: Annotated[str, typer.Argument(metavar="report|plan|config", help="Of what.")],
) -> None:
    """Print the JSON Schema of a report, a plan or a configuration."""
    from onnxslim_snacs.report.schemas import PUBLISHED, SCHEMAS

    found = {file.partition("-")[0]: file for file in SCHEMAS}
    if name not in found:
        raise UsageError(f"schema {foreign(name)}: expected one of {', '.join(found)}")
    write_stdout((PUBLISHED / found[name]).read_text())
