"""A README whose tables are written by the benchmark that measured them."""

from __future__ import annotations

from pathlib import Path


def put_into(readme: Path, mark: str, block: str) -> None:
    """Replace what stands between the comments `mark` and `end of mark`.

    Args:
        readme: the file.
        mark: what the comments say.
        block: whole lines.

    Raises:
        ValueError: the file has no such comments, or has them twice.
    """
    text = readme.read_text()
    begin, end = f"<!-- {mark} -->\n", f"<!-- end of {mark} -->"
    if text.count(begin) != 1 or text.count(end) != 1:
        raise ValueError(f"{readme}: expected {begin.strip()} and {end}, once each")
    before, rest = text.split(begin)
    readme.write_text(before + begin + block + end + rest.split(end)[1])
