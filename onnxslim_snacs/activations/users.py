"""Functions that the user names, or gives: found, called, and answered for if they fail."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from onnxslim_snacs.errors import Ended, InputRefused, SnacsError, UsageError, foreign


def find_function(option: str, name: str, else_expected: str = "") -> Callable[..., Any]:
    """The function `module:function`; the current folder is searched, too.

    Args:
        option: the option that names it.
        name: the module and the function.
        else_expected: what the option takes beside, as the beginning of a list.

    Raises:
        UsageError: there is no such function.
        InputRefused: its module fails when it is imported.
    """
    module, _, function = name.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), function)):
        raise UsageError(f"{option} {foreign(name)}: expected {else_expected}module:function")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found = getattr(importlib.import_module(module), function)
    except (Ended, MemoryError):
        raise
    except (ModuleNotFoundError, AttributeError, ValueError) as error:
        raise UsageError(f"{option} {foreign(name)}: {foreign(error)}") from error
    except (Exception, SystemExit) as error:  # whatever the user's code raises
        raise InputRefused(
            f"{option} {foreign(name)} cannot be imported: {raised(error)}"
        ) from error
    if not callable(found):
        raise UsageError(f"{option} {foreign(name)} is not a function")
    call: Callable[..., Any] = found
    return call


@contextmanager
def answered_for(name: str) -> Iterator[None]:
    """Turn whatever code of the user's raises into a refusal that says whose fault it is.

    Args:
        name: whose code runs within.

    Raises:
        InputRefused: with what was raised.
    """
    try:
        yield
    except (SnacsError, Ended, MemoryError, GeneratorExit):
        raise
    except (Exception, SystemExit) as error:
        raise InputRefused(f"{foreign(name)} failed: {raised(error)}") from error


def raised(error: BaseException) -> str:
    """An exception of the user's in words."""
    what = "sys.exit" if isinstance(error, SystemExit) else type(error).__name__
    return foreign(f"{what}: {error}")
