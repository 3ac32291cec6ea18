"""Results of many runs, each kept as soon as it is there: what is done is not done again."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

from onnxslim_snacs.config.plain import from_plain
from onnxslim_snacs.errors import FileSystemError, SnacsError, UsageError, foreign
from onnxslim_snacs.model.atomic import put_text
from onnxslim_snacs.model.text import read_text
from onnxslim_snacs.report.report import to_json

T = TypeVar("T")

#: Characters that names of files may have from what users type, and how many of them.
_OTHERS, _LONGEST = re.compile(r"[^A-Za-z0-9.=,_-]"), 60


@dataclass(frozen=True, slots=True)
class RunStore:
    """A folder with a file for each result, in which stands of what it is the result.

    Attributes:
        folder: where it lies; made with the first result.
    """

    folder: Path

    def place(self, name: str) -> Path:
        """The file of a result."""
        return self.folder / f"{name}.json"

    def find(self, name: str, key: str) -> Any:
        """A result as JSON has it; None if it is not there, not whole, or of something else."""
        try:
            said = json.loads(read_text(self.place(name)))
            return said["result"] if said["key"] == key else None
        except (SnacsError, ValueError, TypeError, KeyError, RecursionError):
            return None

    def find_as(self, kind: type[T], name: str, key: str) -> T | None:
        """The same as a dataclass; None as well if an older version has written other fields."""
        found = self.find(name, key)
        try:
            return None if found is None else from_plain(kind, found, name)
        except UsageError:
            return None

    def put(self, name: str, key: str, result: object) -> None:
        """Keep a result.

        Args:
            name: without an ending.
            key: what it depends on: the same key, the same result.
            result: a dataclass, or what JSON knows.

        Raises:
            FileSystemError: it cannot be written.
        """
        make_folder(self.folder)
        put_text(self.place(name), to_json({"key": key, "result": result}))


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it.

    Raises:
        FileSystemError: that is not possible.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileSystemError(f"{foreign(folder)}: {error.strerror}") from error


def plain_name(text: str) -> str:
    """What users type, as a part of the name of a file; different texts have different names."""
    name = _OTHERS.sub("+", text)
    if len(name) <= _LONGEST and "+" not in name:
        return name
    return f"{name[:_LONGEST]}-{sha256(text.encode()).hexdigest()[:8]}"
