"""The errors of snacs-onnx: one root, one leaf for each way in which a run can end.

Every leaf carries the exit code with which the command line ends.  A message names the file or the
node, what was expected, what was found, and what to do; it never carries more than 300 characters
that came out of a model.
"""

from __future__ import annotations

import re

_MAX_FOREIGN = 300
#: Control characters, and what changes the order or the look of the text around it without being
#: seen: bidirectional marks, joiners, tags, halves of surrogate pairs.
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u08e2\u115f\u1160\u180b-\u180f"
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ud800-\udfff\ufe00-\ufe0f\ufeff\uffa0"
    "\ufff0-\ufffb\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)

NOT_ENOUGH = "not enough memory; nothing was written (see --max-memory; fewer --samples need less)"
#: What libraries say that have no exception of their own for it.
NO_MEMORY = (
    *("bad_alloc", "bad allocation", "Failed to allocate", "can't allocate memory"),
    *("BFCArena::AllocateRaw", "exceeds the supported maximum", "larger than max_size()"),
    *("vector::_M_", "Integer overflow", "SafeInt"),
)


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


class RuntimeRefused(InputRefused):
    """ONNX Runtime does not take a model, or fails on it.

    Attributes:
        said: its own message, whole and not fit to print.
    """

    def __init__(self, said: str) -> None:
        super().__init__(foreign(said))
        self.said = said


class ShapesDisagree(InputRefused):
    """What a model declares of its shapes does not fit what its operators do."""


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


class RequirementMissed(SnacsError):
    """The result is not what `--require` asks for; nothing was written."""

    exit_code = 8


class Ended(SystemExit):
    """A signal ends the run; the code is 128 and its number.  No part of somebody's sys.exit."""


def foreign(text: object) -> str:
    """Make text that came out of a model fit to print.

    Args:
        text: a name or a message from an untrusted file.

    Returns:
        The text with control characters and bidirectional marks escaped, cut to 300 characters.
    """
    escaped = visible(str(text)[: _MAX_FOREIGN + 1])
    return escaped if len(escaped) <= _MAX_FOREIGN else escaped[: _MAX_FOREIGN - 1] + "…"


def visible(text: str, but: str = "") -> str:
    """Escape what a terminal would obey instead of show.

    Args:
        text: any text.
        but: characters that stay as they are.
    """
    return _UNSEEN.sub(lambda found: found[0] if found[0] in but else _escape(found[0]), text)


def _escape(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
