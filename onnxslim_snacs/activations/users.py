"""Functions that the user names, or gives: found, called, and answered for if they fail."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from onnxslim_snacs.errors import Ended, InputRefused, SnacsError, UsageError, foreign


def find_function(option: str, name: str, else_expected: str = "") -> Callable[..., Any]:
    """The function `module:function` or `file.py:function`; the current folder is searched, too.

    Args:
        option: the option that names it.
        name: the module and the function.
        else_expected: what the option takes beside, as the beginning of a list.

    Raises:
        UsageError: there is no such function.
        InputRefused: its module fails when it is imported.
    """
    module, _, function = name.rpartition(":")
    if module.endswith(".py"):
        return _callable(option, name, lambda: getattr(_loaded(Path(module)), function))
    if not all(part.isidentifier() for part in (*module.split("."), function)):
        raise UsageError(f"{option} {foreign(name)}: expected {else_expected}module:function")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    return _callable(option, name, lambda: getattr(importlib.import_module(module), function))


def files_of_function(name: object) -> tuple[Path, ...]:
    """The file that `file.py:function`, or `module:function`, lies in, if it lies hereabouts."""
    module, colon, _ = name.rpartition(":") if isinstance(name, str) else ("", "", "")
    if not colon:
        return ()
    path = Path(module if module.endswith(".py") else f"{module.replace('.', '/')}.py")
    return (path,) if path.is_file() else ()


def _loaded(path: Path) -> ModuleType:
    """The module in a file, whose own folder is searched for what it imports."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ModuleNotFoundError(f"no file {path}")
    sys.path.insert(0, str(path.parent.resolve()))
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def _callable(option: str, name: str, find: Callable[[], Any]) -> Callable[..., Any]:
    try:
        found = find()
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
