"""How a run of `compress` begins: a model that is understood, and its samples."""

from __future__ import annotations

from dataclasses import dataclass

from onnxslim_snacs.activations.samples import Samples, split
from onnxslim_snacs.activations.sources import CalibrationSource
from onnxslim_snacs.commands.planned import share_aside
from onnxslim_snacs.commands.sampled import named_samples, settled_samples
from onnxslim_snacs.commands.simplified import Simplified, simplify
from onnxslim_snacs.commands.start import Setup, open_work
from onnxslim_snacs.commands.turned import Turned, turn
from onnxslim_snacs.config import CompressConfig
from onnxslim_snacs.ir.keep import KeepMap
from onnxslim_snacs.model.graph import ModelGraph
from onnxslim_snacs.model.opened import Opened
from onnxslim_snacs.model.session import SessionConfig, resolve_provider
from onnxslim_snacs.plan.work import Work
from onnxslim_snacs.progress import Clock, Progress


@dataclass(frozen=True, slots=True)
class Begun:
    """A model that is understood.

    Attributes:
        work: the model.
        simpler: what onnxslim has made of it, if it was to.
        turned: the model with its streams turned, if it was to be.
        given: the samples that the user names.
    """

    work: Work
    simpler: Simplified | None
    turned: Turned | None
    given: CalibrationSource | None


def begin(opened: Opened, config: CompressConfig, clock: Clock, progress: Progress) -> Begun:
    """Understand a model, simplified and turned as far as that was asked for.

    Args:
        opened: the model.
        config: what was asked for.
        clock: notes how long each stage takes.
        progress: told (stage, done, total).

    Raises:
        SnacsError: the model or the data cannot be used.
    """
    graph, simpler = opened.graph, None
    if config.simplify:
        with clock.stage("simplify"):
            simpler = simplify(graph, config.data.input_shapes)
            graph = simpler.graph
    with clock.stage("data"):
        given = named_samples(config.data, graph, config.seed)
    turned = _turned(graph, config, given, clock)
    present = None if turned is None else turned.graph
    work = open_work(opened.name, graph, _setup(config, given), clock, progress, present)
    return Begun(work, simpler, turned, given)


def _setup(config: CompressConfig, given: CalibrationSource | None) -> Setup:
    return Setup(
        provider=config.provider,
        threads=config.threads,
        seed=config.seed,
        allow_inexact=config.loosens_norms,
        input_shapes=config.data.input_shapes,
        examples=given.shapes() if given is not None else (),
        effort=config.effort,
    )


def _turned(
    graph: ModelGraph, config: CompressConfig, given: CalibrationSource | None, clock: Clock
) -> Turned | None:
    """The model with its streams turned, if that was asked for."""
    if config.width != "rotate" or given is None:
        return None
    session = SessionConfig(resolve_provider(config.provider), config.threads)
    with clock.stage("rotate"):
        return turn(graph, split(given, share_aside(config)).scoring, session, config.data)


def all_samples(begun: Begun, config: CompressConfig) -> tuple[CalibrationSource, Samples]:
    """The samples of a run, and the same as those to decide by and those to judge by.

    Args:
        begun: the model.
        config: what was asked for.
    """
    source = settled_samples(begun.given, config.data, begun.work)
    macs = begun.work.costs.cost(KeepMap({})).macs
    return source, split(source, share_aside(config), macs)
