"""What a result has to be worth: `agreement>=0.98`, `metric>=0.9`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from onnxslim_snacs.errors import UsageError, foreign

#: What may be required, and which way is better.
REQUIRED: Mapping[str, str] = {
    "agreement": ">=",
    "accuracy": ">=",
    "metric": ">=",
    "error": "<=",
    "params": "<=",
    "macs": "<=",
    "bytes": "<=",
    "latency": "<=",
}


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on a result.

    Attributes:
        name: of what, a key of `REQUIRED`.
        bound: what it has to reach, or to stay below.
    """

    name: str
    bound: float

    @property
    def words(self) -> str:
        """As it is typed."""
        return f"{self.name}{REQUIRED[self.name]}{self.bound:g}"

    def holds(self, value: float) -> bool:
        """Whether a value meets it."""
        return value >= self.bound if REQUIRED[self.name] == ">=" else value <= self.bound


def requirement(text: str) -> Requirement:
    """A condition from its text.

    Raises:
        UsageError: it is none.
    """
    found = re.fullmatch(r"\s*([a-z]+)\s*(>=|<=)\s*([^\s<>=]+)\s*", text)
    name = found[1] if found else ""
    if found is None or REQUIRED.get(name) != found[2]:
        known = ", ".join(f"{key}{way}NUMBER" for key, way in REQUIRED.items())
        raise UsageError(f"--require {foreign(text)}: expected one of {known}")
    try:
        bound = float(found[3])
    except ValueError:
        bound = math.nan
    if not math.isfinite(bound):
        raise UsageError(f"--require {foreign(text)}: {foreign(found[3])} is not a number")
    return Requirement(name, bound)
