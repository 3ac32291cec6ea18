"""Options that are declared once: where they stand in a command, and what its function gets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer
from typer.testing import CliRunner

from onnxslim_snacs.cli.option_groups import Gathered, gathering

Width = Annotated[int, typer.Option("--width", help="Across.")]
Height = Annotated[int, typer.Option("--height", help="Upwards.")]


def area(width: Width = 2, height: Height = 3) -> int:
    return width * height


def label(name: Annotated[str, typer.Option("--name")] = "it") -> str:
    return f"<{name}>"


WidthInFeet = Annotated[int, typer.Option("--width", help="In feet.")]


def plain(*, width: Annotated[int, Gathered(area)], deep: Annotated[bool, typer.Option()]) -> None:
    """The value has the name of one of its options."""
    typer.echo(f"{width} {deep}")


def strict(
    first: Annotated[str, typer.Argument()],
    *,
    tall: Annotated[int, typer.Option("--tall")] = 1,
    size: Annotated[int, Gathered(area, {"width": WidthInFeet}, required=("width",))],
    # two groups, of which one makes what an option of the other is called
    height: Annotated[str, Gathered(label)],
) -> None:
    typer.echo(f"{first} {tall} {size} {height}")


def app_of(command: Callable[..., None]) -> typer.Typer:
    app = typer.Typer()
    app.command()(gathering(command))
    return app


def ran(command: Callable[..., None], *line: str) -> tuple[int, str]:
    ended = CliRunner().invoke(app_of(command), line)
    return ended.exit_code, ended.output


def test_the_function_gets_what_its_options_make() -> None:
    assert ran(plain, "--deep") == (0, "6 True\n")
    assert ran(plain, "--width", "5", "--no-deep") == (0, "15 False\n")


def test_a_command_may_say_otherwise() -> None:
    assert ran(strict, "a", "--width", "7", "--name", "x") == (0, "a 1 21 <x>\n")
    code, told = ran(strict, "a")
    assert code == 2
    assert "--width" in told


def test_options_stand_where_the_value_does() -> None:
    command = typer.main.get_command(app_of(strict))
    names = [parameter.name for parameter in command.params]
    assert names[:5] == ["first", "tall", "width", "height", "name"]
    _, told = ran(strict, "--help")
    assert "In feet." in told
    assert "Across." not in told
