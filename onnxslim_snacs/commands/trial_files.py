"""The folder in which `compare` keeps its results, a file for each run."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from onnxslim_snacs.config.plain import from_plain
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

T = TypeVar("T")

#: What says whose results a folder holds; what is measured of single units; the whole.
_IDENTITY, _DAMAGE, _REPORT, _PLOT = "identity.txt", "damage.json", "report.json", "pareto.svg"


@dataclass(frozen=True, slots=True)
class TrialFiles:
    """A folder of results.

    Attributes:
        folder: where it lies.
    """

    folder: Path

    def has_trial(self, criterion: str, seed: int, target: str, recover: str) -> bool:
        """Whether a run is through."""
        return self._trial(criterion, seed, target, recover).exists()

    def has_scoring(self, criterion: str, seed: int) -> bool:
        """Whether a criterion was held against damage."""
        return self._scoring(criterion, seed).exists()

    def put_trial(self, trial: TrialRun) -> None:
        """Keep the result of a run."""
        place = self._trial(trial.criterion, trial.seed, trial.target, trial.recover)
        put_text(place, to_json(trial))

    def put_scoring(self, scoring: Scoring) -> None:
        """Keep what is known of a criterion."""
        put_text(self._scoring(scoring.criterion, scoring.seed), to_json(scoring))

    def put_plan(self, trial: TrialRun, plan: Plan) -> str:
        """Keep a plan.

        Returns:
            The name of its file in the folder.
        """
        place = self._trial(trial.criterion, trial.seed, trial.target, trial.recover)
        place = place.with_name(f"plan-{place.name.removeprefix('run-')}")
        put_text(place, plan_to_json(plan))
        return place.name

    def damage(self) -> Damage | None:
        """The damage of single units, if it was measured."""
        place = self.folder / _DAMAGE
        if not place.exists():
            return None
        stored = json.loads(read_text(place))
        units = {name: np.asarray(v, dtype=np.int64) for name, v in stored["units"].items()}
        raw, refit = (
            {name: np.asarray(v, dtype=np.float64) for name, v in stored[key].items()}
            for key in ("raw", "refit")
        )
        return Damage(units, raw, refit)

    def put_damage(self, damage: Damage) -> None:
        """Keep the damage of single units."""
        put_text(self.folder / _DAMAGE, to_json(damage))

    def all(
        self, jobs: Sequence[tuple[Entry, int]], keys: Sequence[tuple[str, str]]
    ) -> tuple[list[TrialRun], list[Scoring]]:
        """What was asked for, as it lies in the folder."""
        trials = [
            _read(TrialRun, self._trial(entry.name, seed, *key))
            for key in keys
            for entry, seed in jobs
        ]
        return trials, [_read(Scoring, self._scoring(entry.name, seed)) for entry, seed in jobs]

    def finish(self, done: Trials, plot: str) -> None:
        """Keep the whole."""
        put_text(self.folder / _REPORT, to_json(done))
        put_text(self.folder / _PLOT, plot)

    def _trial(self, criterion: str, seed: int, target: str, recover: str) -> Path:
        return self.folder / f"run-{_slug(criterion)}-{seed}-{_slug(target)}-{recover}.json"

    def _scoring(self, criterion: str, seed: int) -> Path:
        return self.folder / f"scores-{_slug(criterion)}-{seed}.json"


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
    folder.mkdir(exist_ok=True)
    put_text(place, identity)
    return TrialFiles(folder)


def _empty(folder: Path) -> None:
    """Remove results, and nothing else."""
    names = re.compile(r"(run|scores|plan)-.*\.json|damage\.json|report\.json|pareto\.svg")
    for path in folder.iterdir():
        if path.is_file() and names.fullmatch(path.name):
            path.unlink()


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.=,_-]", "+", text)


def _read(kind: type[T], place: Path) -> T:
    return from_plain(kind, json.loads(read_text(place)), place.name)
