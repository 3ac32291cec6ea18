"""Why a run ends before anything is cut: nothing could be proved, or nothing would go."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from onnxslim_snacs.config import Budget, CompressConfig, Drop, Goal, Ratio
from onnxslim_snacs.decide.choose import ROUNDING, Choice
from onnxslim_snacs.errors import InputRefused, NothingToPrune, UsageError, foreign
from onnxslim_snacs.ir.explain import pin_reason
from onnxslim_snacs.ir.types import Pin
from onnxslim_snacs.ops.analyse import Analysis
from onnxslim_snacs.ops.dropout import in_training
from onnxslim_snacs.scores.criterion import Criterion


def require_runnable(analysis: Analysis, whole: str) -> None:
    """Make sure that ONNX Runtime can run all of the model, if that is needed.

    A model with an operator that ONNX Runtime does not have can still be cut around it.

    Args:
        analysis: the model.
        whole: what needs to run all of the model, "" if nothing does.

    Raises:
        InputRefused: it cannot.
    """
    if whole and not analysis.facts.ran:
        raise InputRefused(
            f"{whole} has to run the model, and ONNX Runtime cannot (--criterion l1 with --ratio "
            f"does without): {analysis.facts.note}"
        )


def require_certain(analysis: Analysis) -> None:
    """Make sure that the model gives one answer: that of a Dropout in training mode is drawn.

    Raises:
        InputRefused: it has such a node.
    """
    drawn = [node.name for part in analysis.parts() for node in part.nodes if in_training(node)]
    if drawn:
        more = f" and {len(drawn) - 1} more" if len(drawn) > 1 else ""
        raise InputRefused(
            f"the model is random: {foreign(drawn[0])}{more} (Dropout) is in training mode, so "
            "that two runs differ and nothing can be measured; export the model for inference, or "
            "set the input training_mode to false (and back again in the compressed model)"
        )


def needs_running(config: CompressConfig, criterion: Criterion) -> str:
    """Which option asks for running all of the model, "" if none does."""
    if criterion.needs_data:
        return f"--criterion {criterion.name}"
    goal = config.goal
    if config.blocks or config.finetune is not None:
        return "--blocks" if config.blocks else "--finetune"
    if isinstance(goal, Budget) and {"latency", "macs"} & set(goal.shares):
        return "--target " + " ".join(goal.shares)
    if config.measures_curves:
        return "--allocation curves"
    return "--max-drop" if isinstance(goal, Drop) else ""


def frozen_groups(
    analysis: Analysis, config: CompressConfig, criterion: Criterion
) -> frozenset[str]:
    """Groups that stay whatever their scores.

    Raises:
        InputRefused: the model cannot be run, and has to be.
        UsageError: a pattern of `--protect` matches nothing.
    """
    require_runnable(analysis, needs_running(config, criterion))
    return protected_groups(analysis, config.protect)


def protected_groups(analysis: Analysis, patterns: Sequence[str]) -> frozenset[str]:
    """Groups that lie on a tensor, or on an output of a node, whose name matches a pattern.

    Raises:
        UsageError: a pattern matches no node and no tensor.
    """
    tensors: set[str] = set()
    for pattern in patterns:
        found: set[str] = set()
        for node in analysis.nodes:
            whole = bool(node.proto.name) and fnmatchcase(node.proto.name, pattern)
            found.update(o for o in node.outputs if whole or fnmatchcase(o, pattern))
            found.update(i for i in node.inputs if i and fnmatchcase(i, pattern))
        if not found:
            raise UsageError(f"--protect {pattern}: no node and no tensor has such a name")
        tensors |= found
    return frozenset(
        g.id for g in analysis.ir.groups if any(m.axis.tensor in tensors for m in g.members)
    )


def require_prunable(analysis: Analysis, frozen: frozenset[str]) -> None:
    """Make sure that any group has a unit to spare.

    Raises:
        NothingToPrune: none has; with the reasons.
    """
    able = [group for group in analysis.ir.groups if group.units > 1]
    if not able:
        raise NothingToPrune("no channel of this model can go: " + explain(analysis))
    if all(group.id in frozen for group in able):
        raise NothingToPrune("--protect covers every channel that could go")


def explain(analysis: Analysis) -> str:
    """The first reasons why nothing can go."""
    pins = analysis.ir.pins or tuple(
        pin_reason(item)
        for item in analysis.ir.stated
        if isinstance(item.fact, Pin) and not item.fact.structural
    )
    first = {(pin.op, pin.reason): pin for pin in reversed(pins)}
    shown = [first[key] for key in dict.fromkeys((pin.op, pin.reason) for pin in pins)]
    inside = [pin for pin in shown if pin.op != "graph"]
    said = [f"{foreign(pin.axis)} ({foreign(pin.op)}): {pin.reason}" for pin in inside or shown]
    return "; ".join(said[:5]) or "it has no layer whose channels are summed over"


def require_cut(goal: Goal, choice: Choice) -> None:
    """Make sure that the decision removes something, unless everything was asked to stay.

    Raises:
        NothingToPrune: it does not.
    """
    if any(not stays.all() for stays in choice.kept.values()) or _asks_for_nothing(goal):
        return
    if isinstance(goal, Drop):
        _explain_drop(goal.most, choice)
    raise NothingToPrune(
        "no unit goes: --multiple-of, --protect and --ratio leave every group as it is"
    )


def _asks_for_nothing(goal: Goal) -> bool:
    if isinstance(goal, Ratio):
        return goal.share == 0
    return isinstance(goal, Budget) and min(goal.shares.values()) == 1


def _explain_drop(most: float, choice: Choice) -> None:
    too_much = [(share, drop) for share, drop in choice.tried if drop > most + ROUNDING]
    if not too_much:
        return
    share, drop = min(too_much)
    raise NothingToPrune(
        f"--max-drop {most:g} lets nothing go: the mildest cut that removes something, "
        f"{100 * share:.2f} % of the units, drops {drop:.4f}; allow more, or give a --target"
    )
