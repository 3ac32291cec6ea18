"""A run whose work is shared out among the workers of a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from onnxslim_snacs.activations.in_common import Common
from onnxslim_snacs.activations.samples import Samples
from onnxslim_snacs.arithmetic.current import arithmetic, arithmetic_for, computing
from onnxslim_snacs.cluster.spread import Spread, spread_over
from onnxslim_snacs.commands.begin import all_samples, begin
from onnxslim_snacs.config import CompressConfig
from onnxslim_snacs.config.memory import InMemory
from onnxslim_snacs.errors import InputRefused, UsageError, foreign
from onnxslim_snacs.model.bounds import bounded_as, memory_bound
from onnxslim_snacs.model.opened import Opened, open_model
from onnxslim_snacs.plan.plan import model_digest
from onnxslim_snacs.plan.work import Work
from onnxslim_snacs.progress import Clock, silent


@contextmanager
def shared_out(
    work: Work, config: CompressConfig, samples: Samples, opened: Opened, cluster: str | None
) -> Iterator[Work]:
    """The same work, of which others take their share as long as it is needed.

    Each worker reads the model and the samples by itself, from where they are read here.

    Args:
        work: the model.
        config: what was asked for.
        samples: to decide by, and to judge by.
        opened: where the model comes from.
        cluster: address of a Dask scheduler, or `local:N`; None for nobody.

    Raises:
        UsageError: the model or the data are not in files, or no cluster answers.
    """
    if cluster is None:
        yield work
        return
    if opened.path is None:
        raise UsageError(
            "--cluster: workers read the model from a file, got one in memory; write it into a "
            "folder that they see, and give its path"
        )
    if isinstance(config.data.path, InMemory) or config.data.labels is not None:
        raise UsageError(
            "--cluster: workers read the samples from files, got some in memory "
            f"{config.data.path or config.data.labels}; write them into a folder that the workers "
            "see, and give its path"
        )
    counts = samples.scoring.samples, samples.judging.samples
    digest = model_digest(opened.graph.proto, opened.graph.base_dir)
    place = str(opened.path.resolve())
    known = partial(known_to_all, place, _travelling(config), digest, counts, memory_bound())
    with spread_over(cluster, known) as spread:
        yield replace(work, spread=_computing(spread, work.session.threads))


def _computing(spread: Spread, threads: int) -> Spread:
    """Tasks are computed with what is computed with here."""
    chosen = arithmetic()
    if chosen.name == "numpy":
        return spread

    def spread_out(opening: Any, given: Any, tasks: Iterable[Any]) -> Iterator[Any]:
        return spread(partial(opened_with, opening, chosen.name, threads), given, tasks)

    return spread_out


def opened_with(
    opening: Callable[[Any, Any], Callable[[Any], Any]],
    name: str,
    threads: int,
    common: Common,
    given: Any,
) -> Callable[[Any], Any]:
    """What does a task in another process, with the arithmetic of the run.

    Args:
        opening: makes what does it, see `cluster.spread.Spread`.
        name: of the arithmetic.
        threads: of it.
        common: what the process knows.
        given: what all tasks have in common.

    Raises:
        UsageError: it is not installed there.
    """
    chosen = arithmetic_for(name, common.session.provider)
    with computing(chosen, threads):
        work = opening(common, given)

    def run(task: Any) -> Any:
        with computing(chosen, threads):
            return work(task)

    return run


def _travelling(config: CompressConfig) -> CompressConfig:
    """What others need to know of what was asked for, wherever they stand."""
    path = config.data.path
    if path is not None and Path(path).exists():
        config = replace(config, data=replace(config.data, path=str(Path(path).resolve())))
    return replace(config, metric=None, require=())  # measured and held here


def known_to_all(
    path: str, config: CompressConfig, digest: str, counts: tuple[int, int], bound: int | None
) -> Common:
    """Understand the model in another process.

    Args:
        path: of the model.
        config: what was asked for.
        digest: of the model.
        counts: numbers of samples, to decide by and to judge by.
        bound: on the memory of the run, on which the sizes of batches depend.

    Raises:
        InputRefused: the model or the samples are others here.
    """
    bounded_as(bound)
    opened = open_model(path)
    if model_digest(opened.graph.proto, opened.graph.base_dir) != digest:
        raise InputRefused(f"--cluster: a worker finds another model at {foreign(path)}")
    begun = begin(opened, config, Clock(silent), silent)
    _, samples = all_samples(begun, config)
    found = samples.scoring.samples, samples.judging.samples
    if found != counts:
        raise InputRefused(
            f"--cluster: a worker finds {sum(found)} samples at {foreign(config.data.path)}, "
            f"expected {sum(counts)}"
        )
    return Common(begun.work.analysis, samples, begun.work.session)
