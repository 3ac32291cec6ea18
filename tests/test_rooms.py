"""The rooms of the package, lowest first, and that none imports from one above it."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "onnxslim_snacs"

#: Lowest first.  `CONTRIBUTING.md` explains them in the same order.
ROOMS = (
    "errors",
    "config",
    "progress",
    "cluster",
    "ir",
    "model",
    "torch_graph",
    "arithmetic",
    "ops",
    "activations",
    "layers",
    "plan",
    "scores",
    "passes",
    "proof",
    "judge",
    "recovery",
    "training",
    "decide",
    "blocks",
    "report",
    "commands",
    "pipelines",
    "cli",
)
#: On the package's root without being rooms: its face, and the way in by `python -m`.
DOORS = {"__init__", "__main__"}


def modules() -> Iterator[tuple[str, Path]]:
    """(dotted name without the package's, file) of every module, the link `passes` resolved."""
    for folder, prefix in ((PACKAGE, ()), (ROOT / "passes", ("passes",))):
        for path in sorted(folder.rglob("*.py")):
            inside = path.relative_to(folder).with_suffix("").parts
            if prefix or inside[0] != "passes":
                yield ".".join((*prefix, *inside)), path


def room_of(name: str) -> str:
    return name.split(".")[0]


def imports(path: Path) -> Iterator[str]:
    """What a file imports of the package, within functions and for types as well."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (
            n.removeprefix("onnxslim_snacs.") for n in found if n.startswith("onnxslim_snacs.")
        )


def test_the_root_holds_rooms_and_nothing_else() -> None:
    found = {
        path.stem
        for path in PACKAGE.iterdir()
        if path.suffix == ".py" or (path.is_dir() and path.name != "__pycache__")
    }
    assert found == {*ROOMS, *DOORS}


@pytest.mark.parametrize("room", ROOMS)
def test_no_room_imports_from_one_above_it(room: str) -> None:
    """Torn open once: `ir` importing `ops.registry` turned this red."""
    inside = [(name, path) for name, path in modules() if room_of(name) == room]
    assert inside
    upwards = [
        f"{name} imports {target}"
        for name, path in inside
        for target in imports(path)
        if room_of(target) in ROOMS and ROOMS.index(room_of(target)) > ROOMS.index(room)
    ]
    assert upwards == []


def test_no_base_name_stands_twice() -> None:
    """But for families of operators: their rules in `ops`, what torch makes of them beside."""
    names = Counter(
        path.stem
        for name, path in modules()
        if path.stem != "__init__" and not name.startswith("torch_graph.operators.")
    )
    assert {name: count for name, count in names.items() if count > 1} == {}


def test_no_class_name_stands_twice() -> None:
    found = Counter(
        node.name
        for _, path in modules()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    )
    assert {name: count for name, count in found.items() if count > 1} == {}


def test_contributing_lists_the_rooms_in_this_order() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    table = text[text.index("| room |") :]
    rows = [line.split("`")[1] for line in table.splitlines()[2 : 2 + len(ROOMS)]]
    assert rows == [f"{r}/" if (PACKAGE / r).is_dir() else f"{r}.py" for r in ROOMS]
