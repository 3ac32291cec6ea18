"""Sources that docstrings name can be opened."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CITED = re.compile(r"\bmethods? ((?:\d\.\d(?:, )?)+)")
ELSEWHERE = re.compile(
    r"\b(?:snacs\.md|criteria_and_recovery|reliability P\d|house\.md|design\.md)"
)


def sources() -> list[Path]:
    folders = [p for p in (ROOT / "onnxslim_snacs").iterdir() if p.is_dir() and p.name != "passes"]
    folders += [ROOT / "passes", ROOT / "tests"]
    return [path for folder in folders for path in folder.rglob("*.py")]


def test_every_section_that_is_named_is_there() -> None:
    text = (ROOT / "docs" / "method.md").read_text()
    sections = set(re.findall(r"^### (\d\.\d) ", text, re.MULTILINE))
    cited = {
        section
        for path in sources()
        for found in CITED.findall(path.read_text())
        for section in found.split(", ")
    }
    assert len(cited) >= 12
    assert cited <= sections


def test_no_source_lies_outside_the_repository() -> None:
    here = Path(__file__)
    found = {path.name for path in sources() if path != here and ELSEWHERE.search(path.read_text())}
    assert found == set()


def test_links_between_documents_lead_somewhere() -> None:
    documents = [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *ROOT.glob("benchmarks/**/*.md"),
    ]
    broken = [
        (path.name, target)
        for path in documents
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text())
        if "://" not in target and not (path.parent / target).exists()
    ]
    assert broken == []
