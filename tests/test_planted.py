"""The planted bugs: each can still be planted, and each is found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.planted import BUGS, ROOT, Planted, copied, is_found, outcome

EVERY = pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)


@EVERY
def test_its_place_is_there(bug: Planted) -> None:
    """A change of the source takes the bug along: it has to be plantable, and its test there."""
    assert (ROOT / bug.file).read_text().count(bug.right) == 1
    file, name = bug.test.split("::")
    assert f"def {name.partition('[')[0]}(" in (ROOT / file).read_text()


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with copied() as made:
        yield made


@pytest.mark.slow
@EVERY
def test_it_is_found(bug: Planted, folder: Path) -> None:
    assert outcome(bug.test, folder) == 0
    assert is_found(bug, folder), f"{bug.name}: {bug.test} stays green"
