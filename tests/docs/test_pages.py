"""Every command and every program in the documents runs."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.docs.makers import MAKERS
from tests.docs.pages import ROOT, do, documents, is_elsewhere, said, steps


def pages() -> list[object]:
    """The documents with anything to do in them."""
    found: list[object] = []
    for path in documents():
        text = path.read_text()
        if any(True for _ in steps(text)):
            marks = [pytest.mark.slow] if said(text, "slow") else []
            found.append(pytest.param(path, id=path.name, marks=marks))
    return found


@pytest.mark.parametrize("page", pages())
def test_what_a_document_asks_for_can_be_done(page: Path, tmp_path: Path) -> None:
    text = page.read_text()
    for library in said(text, "needs").split():
        if find_spec(library) is None:
            pytest.skip(f"{library} is not installed")
    for name in said(text, "files").split():
        MAKERS[name](tmp_path)
    for step in steps(text):
        if step.title or step.python or not is_elsewhere(step.text):
            do(step, tmp_path)


def test_commands_that_are_not_run_here_are_few() -> None:
    """Whatever else stands in a block of commands is run."""
    typed = [
        step.text
        for path in documents()
        for step in steps(path.read_text())
        if not step.title and not step.python
    ]
    left = {command for command in typed if is_elsewhere(command)}
    assert len(left) <= 8, left


def test_blocks_say_what_they_are() -> None:
    """A command in a block without a language would be run by nobody."""
    bare = [
        (path.name, block)
        for path in documents()
        if path.name != "method.md"
        for block in re.findall(r"^```\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)
    ]
    assert [
        name
        for name, block in bare
        if re.search(r"^\$? ?(snacs-onnx|python|pip|make) ", block, re.M)
    ] == []


def test_every_page_is_short_and_linked_from_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    for path in (ROOT / "docs").glob("*.md"):
        if path.name == "method.md":
            continue
        assert f"docs/{path.name}" in readme, path.name
        assert len(path.read_text().splitlines()) <= 110, path.name
