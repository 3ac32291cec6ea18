"""Options that several commands share, declared once: a command's function gets one value for all.

    def make(width: Width = 1, height: Height = 1) -> Area: ...

    def command(model: Model, *, area: Annotated[Area, Gathered(make)]) -> None: ...

`gathering(command)` is what typer is given: at the place of `area` it has the options of `make`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args


@dataclass(frozen=True, slots=True)
class Gathered:
    """Marks a parameter of a command whose value is made of several options.

    Attributes:
        make: its parameters are the options, in the order of `--help`; it gives the value.
        instead: option -> how it is declared for this command alone.
        required: options that this command cannot do without.
    """

    make: Callable[..., object]
    instead: Mapping[str, Any] = field(default_factory=dict)
    required: tuple[str, ...] = ()

    def options(self) -> Iterator[inspect.Parameter]:
        """The options, as parameters of a command."""
        for name, option in inspect.signature(self.make, eval_str=True).parameters.items():
            yield option.replace(
                kind=inspect.Parameter.KEYWORD_ONLY,
                annotation=self.instead.get(name, option.annotation),
                default=option.empty if name in self.required else option.default,
            )


def gathering(command: Callable[..., None]) -> Callable[..., None]:
    """The command as the command line has it: each `Gathered` parameter is its options."""
    shown: list[inspect.Parameter] = []
    groups: dict[str, tuple[Gathered, list[str]]] = {}
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        found = next((a for a in get_args(parameter.annotation) if isinstance(a, Gathered)), None)
        if found is None:
            # a command is called by name alone, so that options may follow what has a default
            shown.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        options = list(found.options())
        shown += options
        groups[parameter.name] = found, [option.name for option in options]

    @functools.wraps(command)
    def run(**typed: Any) -> None:
        made = {
            name: group.make(**{option: typed.pop(option) for option in options})
            for name, (group, options) in groups.items()
        }
        command(**typed, **made)

    vars(run)["__signature__"] = inspect.Signature(shown)
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in shown}
    return run
