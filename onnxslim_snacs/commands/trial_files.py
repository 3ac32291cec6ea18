"""The folder in which `compare` keeps its results, a file for each run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from onnxslim_snacs.commands.run_store import RunStore, make_folder, plain_name
from onnxslim_snacs.errors import FileSystemError, UsageError, foreign
from onnxslim_snacs.judge.damage import Damage
from onnxslim_snacs.model.atomic import put_text
from onnxslim_snacs.model.text import read_text
from onnxslim_snacs.plan.plan import Plan
from onnxslim_snacs.plan.written import plan_to_json
from onnxslim_snacs.report.report import to_json
from onnxslim_snacs.report.trials import Scoring, TrialRun, Trials

if TYPE_CHECKING:
    from onnxslim_snacs.commands.trial_runs import Entry

#: What says whose results a folder holds; the whole.
_IDENTITY, _REPORT, _PLOT = "identity.txt", "report.json", "pareto.svg"
_DAMAGE = "damage"


@dataclass(frozen=True, slots=True)
class TrialFiles:
    """A folder of results.

    Attributes:
        store: keeps them.
        identity: of the model, the samples and the settings: what all of them depend on.
    """

    store: RunStore
    identity: str

    def has_trial(self, criterion: str, seed: int, target: str, recover: str) -> bool:
        """Whether a run is through."""
        return self._trial(_run_name(criterion, seed, target, recover)) is not None

    def has_scoring(self, criterion: str, seed: int) -> bool:
        """Whether a criterion was held against damage."""
        return self._scoring(_scoring_name(criterion, seed)) is not None

    def put_trial(self, trial: TrialRun) -> None:
        """Keep the result of a run."""
        self.store.put(_name_of(trial), self.identity, trial)

    def put_scoring(self, scoring: Scoring) -> None:
        """Keep what is known of a criterion."""
        self.store.put(_scoring_name(scoring.criterion, scoring.seed), self.identity, scoring)

    def put_plan(self, trial: TrialRun, plan: Plan) -> str:
        """Keep a plan.

        Returns:
            The name of its file in the folder.
        """
        place = self.store.place(f"plan-{_name_of(trial).removeprefix('run-')}")
        put_text(place, plan_to_json(plan))
        return place.name

    def damage(self) -> Damage | None:
        """The damage of single units, if it was measured."""
        stored = self.store.find(_DAMAGE, self.identity)
        if stored is None:
            return None
        units = {name: np.asarray(v, dtype=np.int64) for name, v in stored["units"].items()}
        raw, refit = (
            {name: np.asarray(v, dtype=np.float64) for name, v in stored[key].items()}
            for key in ("raw", "refit")
        )
        return Damage(units, raw, refit)

    def put_damage(self, damage: Damage) -> None:
        """Keep the damage of single units."""
        self.store.put(_DAMAGE, self.identity, damage)

    def all(
        self, jobs: Sequence[tuple[Entry, int]], keys: Sequence[tuple[str, str]]
    ) -> tuple[list[TrialRun], list[Scoring]]:
        """What was asked for, as it lies in the folder.

        Raises:
            FileSystemError: somebody has taken results away.
        """
        runs = [_run_name(entry.name, seed, *key) for key in keys for entry, seed in jobs]
        scorings = [_scoring_name(entry.name, seed) for entry, seed in jobs]
        trials = [self._trial(name) or self._lost(name) for name in runs]
        return trials, [self._scoring(name) or self._lost(name) for name in scorings]

    def finish(self, done: Trials, plot: str) -> None:
        """Keep the whole."""
        put_text(self.store.folder / _REPORT, to_json(done))
        put_text(self.store.folder / _PLOT, plot)

    def _trial(self, name: str) -> TrialRun | None:
        return self.store.find_as(TrialRun, name, self.identity)

    def _scoring(self, name: str) -> Scoring | None:
        return self.store.find_as(Scoring, name, self.identity)

    def _lost(self, name: str) -> NoReturn:
        raise FileSystemError(f"{foreign(self.store.place(name))} was kept, and is gone")


def _name_of(trial: TrialRun) -> str:
    return _run_name(trial.criterion, trial.seed, trial.target, trial.recover)


def _run_name(criterion: str, seed: int, target: str, recover: str) -> str:
    return f"run-{plain_name(criterion)}-{seed}-{plain_name(target)}-{recover}"


def _scoring_name(criterion: str, seed: int) -> str:
    return f"scores-{plain_name(criterion)}-{seed}"


def open_folder(folder: Path, identity: str, *, overwrite: bool) -> TrialFiles:
    """The folder of results, made if it is not there.

    Args:
        folder: where it lies.
        identity: of the model, the samples and the settings.
        overwrite: begin anew where it holds results of others.

    Raises:
        UsageError: it holds results of another model, other data or other settings.
        FileSystemError: it is no folder, or one with other contents.
    """
    shown = foreign(folder)
    if folder.exists() and not folder.is_dir():
        raise FileSystemError(f"{shown} is a file: give the name of a folder")
    place = folder / _IDENTITY
    if folder.is_dir() and not place.exists() and any(folder.iterdir()):
        raise FileSystemError(f"{shown} holds other files: give an empty folder, or a new one")
    if place.exists() and read_text(place) != identity:
        if not overwrite:
            raise UsageError(
                f"{shown} holds results of another model, other samples or settings: give another "
                "folder, or --force to begin anew"
            )
        _empty(folder)
    make_folder(folder)
    put_text(place, identity)
    return TrialFiles(RunStore(folder), identity)


def _empty(folder: Path) -> None:
    """Remove results, and nothing else."""
    names = re.compile(r"(run|scores|plan)-.*\.json|damage\.json|report\.json|pareto\.svg")
    for path in folder.iterdir():
        if path.is_file() and names.fullmatch(path.name):
            path.unlink()
