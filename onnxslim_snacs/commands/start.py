"""How every run begins, and what it gives in the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from onnx import ModelProto

from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.session import SessionConfig, resolve_provider
from onnxslim_snacs.model.starts import Hint
from onnxslim_snacs.ops.analyse import analyse
from onnxslim_snacs.plan.cost import cost_model
from onnxslim_snacs.plan.plan import Plan
from onnxslim_snacs.plan.work import Work
from onnxslim_snacs.progress import Clock, Progress
from onnxslim_snacs.report.report import Report


@dataclass(frozen=True, slots=True)
class Setup:
    """How a model is to be worked on.

    Attributes:
        provider: auto, cpu or cuda.
        threads: threads of ONNX Runtime.
        seed: for everything that is drawn.
        allow_inexact: let normalisations lose channels.
        input_shapes: sizes of inputs that cannot be guessed.
        examples: shapes of samples, None for an extent that is free.
        effort: a key of `config.spending.EFFORTS`.
    """

    provider: str = "cpu"
    threads: int = 1
    seed: int = 0
    allow_inexact: bool = False
    input_shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    examples: Sequence[Hint] = ()
    effort: str = "normal"


@dataclass(frozen=True, slots=True)
class Compressed:
    """What `compress` gives.

    Attributes:
        model: the smaller model.
        plan: what was cut.
        report: what happened.
    """

    model: ModelProto
    plan: Plan
    report: Report


def open_work(
    name: Path | str,
    graph: ModelGraph,
    setup: Setup,
    clock: Clock,
    progress: Progress,
    turned: ModelGraph | None = None,
) -> Work:
    """Understand a model that was loaded.

    Args:
        name: where it was read from.
        graph: the model.
        setup: how it is to be worked on.
        clock: notes how long each stage takes.
        progress: told (stage, done, total).
        turned: the model in other bases, if that is what is cut.

    Raises:
        UsageError: the provider is not there.
        InputRefused: the model cannot be understood.
    """
    session = SessionConfig(resolve_provider(setup.provider), setup.threads)
    with clock.stage("analyse"):
        analysis = analyse(
            graph if turned is None else turned,
            allow_inexact=setup.allow_inexact,
            input_shapes=setup.input_shapes,
            examples=setup.examples,
        )
        costs = cost_model(analysis)
    ready = graph if turned is None else turned
    return Work(
        str(name),
        graph,
        analysis,
        ready,
        costs,
        session,
        setup.seed,
        clock,
        progress,
        setup.effort,
    )
