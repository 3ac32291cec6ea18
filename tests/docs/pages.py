"""What stands in the documents to be typed, and running it.

In a document, fenced blocks are:

- `bash` and `console`: commands, in a console those behind `$ `; each has to end with 0, or with
  what an HTML comment before the block says: `<!-- ends with 4 -->`;
- `python`: a program, run in the same folder after what stands before it; with `title="NAME"`
  behind the language, and every other block with a title, a file of that name instead;
- anything else: to be read.

Comments at the top say what the folder holds at first (`<!-- files: classifier -->`, see `makers`),
what has to be installed (`<!-- needs: torch -->`), and whether it takes long (`<!-- slow -->`).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

_BLOCK = re.compile(
    r"(?:<!-- ends with (?P<code>\d+) -->\n)?"
    r"^```(?P<language>\w+)(?P<more>[^\n]*)\n(?P<text>.*?)^```",
    re.MULTILINE | re.DOTALL,
)
_TITLE = re.compile(r'title="([^"]+)"')
#: Commands that install or build something: what shows that they work instead.
ELSEWHERE = {
    "make demo": "tests/docs/test_pages.py runs what it prints",
    "make test": "this very run",
    "pip install": "tests/test_wheel.py",
    "docker": "there is no container in a test",
    "olive run": "tests/pipelines/test_olive.py",
}


@dataclass(frozen=True)
class Step:
    """One thing to do.

    Attributes:
        text: the command or the program; what the file holds.
        python: whether it is a program.
        title: the file that is to be written, "" if it is to be run.
        code: how it has to end.
    """

    text: str
    python: bool = False
    title: str = ""
    code: int = 0


def documents() -> list[Path]:
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def steps(text: str) -> Iterator[Step]:
    """Everything that a document asks its reader to do, in its order."""
    for block in _BLOCK.finditer(text):
        title = _TITLE.search(block["more"])
        code = int(block["code"] or 0)
        if title is not None:
            yield Step(block["text"], title=title[1])
        elif block["language"] == "python":
            yield Step(block["text"], python=True, code=code)
        elif block["language"] in ("bash", "console"):
            typed = _typed(block["text"], block["language"] == "console")
            yield from (Step(line, code=code) for line in typed)


def said(text: str, word: str) -> str:
    """What the comment `<!-- word: ... -->` holds, "" if there is none."""
    found = re.search(rf"^<!-- {word}:? ?(.*?) ?-->$", text, re.MULTILINE)
    return "" if found is None else found[1] or word


def _typed(text: str, console: bool) -> Iterator[str]:
    """The commands of a block; a backslash at the end of a line joins it with the next one."""
    for line in text.replace("\\\n", " ").splitlines():
        if console and not line.startswith("$ "):
            continue
        line = line.removeprefix("$ ").strip()
        if line and not line.startswith("#"):
            yield line


def is_elsewhere(command: str) -> bool:
    return any(command.startswith(start) for start in ELSEWHERE)


def do(step: Step, folder: Path) -> str:
    """Do it, and give what was printed.

    Raises:
        AssertionError: it ended otherwise than it should.
    """
    if step.title:
        place = folder / step.title
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(step.text)
        return ""
    command = [sys.executable, "-c", step.text] if step.python else ["bash", "-c", step.text]
    ended = subprocess.run(
        command, cwd=folder, env=_environment(folder), capture_output=True, text=True, check=False
    )
    assert ended.returncode == step.code, (
        f"{step.text}\nended with {ended.returncode}\n{ended.stdout}{ended.stderr}"
    )
    return ended.stdout


def _environment(folder: Path) -> dict[str, str]:
    """The same, with `snacs-onnx` and `python` as a reader has them."""
    tools = folder / ".tools"
    tools.mkdir(exist_ok=True)
    for name, call in {"snacs-onnx": "-m onnxslim_snacs", "python": ""}.items():
        tool = tools / name
        tool.write_text(f'#!/bin/sh\nexec "{sys.executable}" {call} "$@"\n')
        tool.chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "120",
    }
