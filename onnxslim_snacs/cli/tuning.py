"""The command that trains."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from onnxslim_snacs.cli.arguments import (
    TRAINING,
    Force,
    HtmlOut,
    MaxMemory,
    Model,
    Provider,
    ReportOut,
    Seed,
    Threads,
    allowance,
    keep_within,
)
from onnxslim_snacs.cli.bars import progress_bars
from onnxslim_snacs.cli.data import DataOptions
from onnxslim_snacs.cli.panels import one_of
from onnxslim_snacs.cli.showing import ShowingOptions
from onnxslim_snacs.cli.signals import (
    heed_interrupts,
    told_of_writing,
)
from onnxslim_snacs.cli.terminal import (
    finish,
    screen,
    write_stdout,
)
from onnxslim_snacs.cli.worker import keeps
from onnxslim_snacs.config import LOSSES, FinetuneConfig
from onnxslim_snacs.errors import foreign


def finetune(
    model: Model,
    *,
    teacher: Annotated[
        Path,
        typer.Option("--teacher", metavar="ORIGINAL.onnx", help="The model that it was made from."),
    ],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Default: MODEL.tuned.onnx.")
    ] = None,
    data: DataOptions,
    minutes: Annotated[float, typer.Option(help="How long to train.")] = TRAINING.minutes,
    steps: Annotated[
        int | None,
        typer.Option(help="Instead: how many batches; the result is then the same on each run."),
    ] = None,
    loss: Annotated[
        str, one_of("--loss", LOSSES, "By the teacher's answers, by labels, or by both.")
    ] = TRAINING.loss,
    features: Annotated[
        float, typer.Option(help="Weight of the distance at the ends of blocks; 0: answers alone.")
    ] = TRAINING.features,
    batch: Annotated[int, typer.Option(help="Samples in a batch.")] = TRAINING.batch,
    rate: Annotated[float, typer.Option(help="Largest learning rate.")] = TRAINING.rate,
    augment: Annotated[
        str, typer.Option(help="How samples are changed: flip,shift,mix, some of them, or none.")
    ] = ",".join(TRAINING.augment),
    sparse: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="Drive units to zero and remove them; this share of the MACs is left (OTO).",
        ),
    ] = TRAINING.sparse,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from OUT.checkpoint, if it is there.")
    ] = False,
    seed: Seed = TRAINING.seed,
    threads: Threads = TRAINING.threads,
    provider: Provider = TRAINING.provider,
    report: ReportOut = None,
    html: HtmlOut = None,
    max_memory: MaxMemory = None,
    showing: ShowingOptions,
    force: Force = False,
) -> None:
    """Train a smaller model by the original's answers; Ctrl-C ends it with the best so far."""
    keep_within(allowance(max_memory))
    config = FinetuneConfig(
        data=data,
        minutes=minutes,
        steps=steps,
        loss=loss,
        features=features,
        batch=batch,
        rate=rate,
        augment=() if augment == "none" else tuple(augment.split(",")),
        sparse=sparse,
        seed=seed,
        threads=threads,
        provider=provider,
    )
    from onnxslim_snacs.commands.finetune import finetune as train
    from onnxslim_snacs.report import to_json
    from onnxslim_snacs.report.training import TrainingReport, print_training

    written = out or model.with_name(f"{model.stem}.tuned.onnx")
    note = written.with_name(f"{written.name}.checkpoint")
    keeps(f"{foreign(note)} holds where training stood, if it had come that far (--resume)")

    def told(done: TrainingReport) -> None:
        bars.stop()
        if showing.json:
            write_stdout(to_json(done))
        else:
            print_training(done, screen())
        finish()

    with progress_bars(showing) as bars:
        train(
            model,
            teacher,
            config,
            out=written,
            report_out=report,
            html_out=html,
            checkpoint=note,
            resume=resume,
            overwrite=force,
            stop=heed_interrupts(),
            progress=told_of_writing(bars.progress),
            told=told,
        )
