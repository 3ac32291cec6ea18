"""The errors of snacs-onnx: one root, one leaf for each way in which a run can end.

Every leaf carries the exit code with which the command line ends.  A message names the file or the
node, what was expected, what was found, and what to do; it never carries more than 300 characters
that came out of a model.
"""

from __future__ import annotations

import re

_MAX_FOREIGN = 300
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class SnacsError(Exception):
    """Root of all errors that this package raises on purpose."""

    exit_code = 1


class InternalError(SnacsError):
    """A broken promise of ours: please report it."""

    exit_code = 1


class UsageError(SnacsError):
    """An option that does not exist, or options that exclude each other."""

    exit_code = 2


class InputRefused(SnacsError):
    """The model, the data or the plan cannot be used."""

    exit_code = 3


class NothingToPrune(SnacsError):
    """No unit can be removed, or the target lies beyond what can be removed."""

    exit_code = 4


class ProofFailed(SnacsError):
    """The rewritten model does not compute what the plan says; nothing was written."""

    exit_code = 5


class FileSystemError(SnacsError):
    """A file could not be read or written."""

    exit_code = 6


class LimitExceeded(SnacsError):
    """A bound on memory, time or size was met before the work began."""

    exit_code = 7


def foreign(text: object) -> str:
    """Make text that came out of a model fit to print.

    Args:
        text: a name or a message from an untrusted file.

    Returns:
        The text with control characters escaped, cut to 300 characters.
    """
    escaped = _CONTROL.sub(lambda match: f"\\x{ord(match.group()):02x}", str(text))
    return escaped if len(escaped) <= _MAX_FOREIGN else escaped[: _MAX_FOREIGN - 1] + "…"
