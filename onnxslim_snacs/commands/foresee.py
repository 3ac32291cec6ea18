"""What a run will take, from the time that the original has taken for its own answers.

The factors are what runs of ResNet-56, YOLOX-nano, a ViT and the bundled model have taken, with one
thread; single stages were up to three times faster or slower, and the bar corrects itself.
"""

from __future__ import annotations

from onnxslim_snacs.activations.samples import Samples
from onnxslim_snacs.config import CompressConfig, Drop, Ratio
from onnxslim_snacs.decide.decide import DEPTHS
from onnxslim_snacs.decide.drops import ATTEMPT, COMPARED
from onnxslim_snacs.decide.slopes import curve_samples
from onnxslim_snacs.ir.keep import KeepMap
from onnxslim_snacs.judge.judge import Judge
from onnxslim_snacs.plan.work import Work
from onnxslim_snacs.progress import Foreseen
from onnxslim_snacs.recovery.accept import recovery_samples

#: Seconds for the score of a unit, and runs of the model for that of a sample.
_UNIT, _SCORED = 2e-3, 2.5
#: Runs of the model for a point of a curve, for a sample of a re-fit, and seconds for a layer.
_CURVE, _REFIT, _LAYER = 0.6, 8.0, 0.06
#: Seconds of a proof beside its runs.
_PROOF = 0.1
#: Seconds of a run that may be repeated a few dozen times only to be shown.
_QUICK = 0.1
#: Multiply-accumulates in a second where the model could not be timed.
_RATE = 1e10


def foresee(work: Work, config: CompressConfig, samples: Samples, judge: Judge | None) -> Foreseen:
    """What the stages from scoring on are expected to take.

    Args:
        work: the model.
        config: what was asked for.
        samples: what there is to score with and to judge by.
        judge: has run the original already.
    """
    macs = work.costs.cost(KeepMap({})).macs
    run = _seconds_of_a_run(work, judge, macs)
    groups = [group for group in work.analysis.ir.groups if group.units > 1]
    units, layers = sum(group.units for group in groups), len(work.analysis.ir.sinks)
    count, judging = samples.scoring.samples, samples.judging.samples
    whole = min(count, recovery_samples(work.analysis, count, work.spending.samples))
    refits = config.recover in ("auto", "least-squares") and not samples.scoring.is_random
    light = max(COMPARED[0], min(COMPARED[1], count // 3)) if refits else 0
    seconds = {"score": _UNIT * units + _SCORED * count * run}
    if config.measures_curves:
        seconds["allocate"] = len(groups) * min(count, curve_samples(macs)) * _CURVE * run
    attempts = 0 if isinstance(config.goal, Ratio) else config.tries
    if isinstance(config.goal, Drop):
        attempts, light = DEPTHS, min(ATTEMPT, count) if refits else 0
    elif not (config.measures_curves and refits):
        attempts = 0
    seconds["decide"] = attempts * ((2 * light + judging) * run + _LAYER * layers / 4)
    seconds["proof"] = _PROOF + 8 * run
    if refits:
        seconds["recover"] = (_REFIT * whole + judging) * run + _LAYER * layers
    if config.finetune is not None:
        seconds["train"] = 60.0 * config.finetune
    return Foreseen(seconds, count + judging, macs, _cheaper(seconds))


def is_quick(work: Work, judge: Judge) -> bool:
    """Whether a run of the model is so short that some dozen of them cost nothing."""
    return _seconds_of_a_run(work, judge, 0) <= _QUICK


def _seconds_of_a_run(work: Work, judge: Judge | None, macs: int) -> float:
    """Seconds for one sample, from the original's answers to those by which it is judged."""
    spent = work.clock.seconds.get("drift", 0.0)
    if judge is None or not spent:
        return macs / _RATE
    runs = judge.source.samples * (1 if judge.blend is None else 2)
    return spent / max(1, runs)


def _cheaper(seconds: dict[str, float]) -> tuple[str, ...]:
    """What makes the longest stages shorter."""
    means = {
        "score": "fewer --samples or --criterion l2",
        "allocate": "--allocation uniform",
        "decide": "a --target with --tries 0",
        "recover": "fewer --samples",
    }
    longest = sorted(means, key=lambda name: -seconds.get(name, 0.0))[:2]
    return tuple(dict.fromkeys(means[name] for name in longest))
