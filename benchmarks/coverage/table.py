"""The sweep's rows as a Markdown table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

Row = Mapping[str, Any]

_HEAD = (
    "file", "status", "proof", "ORT levels", "params kept", "inexact", "MACs kept", "groups",
    "analyse s", "prune s", "prove s", "peak MiB", "onnxsim", "Torch-Pruning", "pins",
)  # fmt: skip

_PEERS = (("onnxsim", "onnxsim"), ("Torch-Pruning", "torch_pruning"))


def markdown(rows: Mapping[str, Row]) -> str:
    """A summary and one line for each file."""
    lines = [*summary(rows), "", _line(_HEAD), _line(["---"] * len(_HEAD))]
    lines += [_line(_cells(name, row)) for name, row in rows.items()]
    return "\n".join(lines) + "\n"


def put_into(text: str, mark: str, block: str) -> str:
    """The text with what stands between the comments `mark` and `end of mark` replaced."""
    start, end = f"<!-- {mark} -->\n", f"<!-- end of {mark} -->"
    before, rest = text.split(start)
    return before + start + block + end + rest.split(end, 1)[1]


def summary(rows: Mapping[str, Row]) -> list[str]:
    """The figures by which the sweep is judged."""
    kept = [row["params_kept"] for row in rows.values() if row["status"] == "cut"]
    nothing = sum(row["status"] == "nothing" for row in rows.values())
    behind = [name for name, row in rows.items() if is_behind(row)]
    return [
        f"- {len(rows)} files: {len(kept)} cut and proved, {nothing} with nothing to cut, "
        f"{len(rows) - len(kept) - nothing} not right",
        f"- median params kept: {median(kept) if kept else float('nan'):.3f}",
        *[_peer_summary(rows, *names) for names in _PEERS],
        f"- behind the better of the two: {', '.join(behind) or 'none'}",
    ]


def _peer_summary(rows: Mapping[str, Row], label: str, tool: str) -> str:
    kept = [k for row in rows.values() if (k := peer_kept(row, tool)) is not None]
    middle = f", median params kept {median(kept):.3f}" if kept else ""
    return f"- {label}: {len(kept)} files with a result that runs{middle}"


def peer_kept(row: Row, tool: str) -> float | None:
    """Params that a peer keeps; None where it has no result that runs."""
    result = row.get(tool) or {}
    return result.get("kept") if result.get("runs") else None


def is_behind(row: Row) -> bool:
    """Whether a peer leaves fewer parameters."""
    peers = [k for tool in ("onnxsim", "torch_pruning") if (k := peer_kept(row, tool)) is not None]
    return bool(peers) and row.get("params_kept", 1.0) > min(peers) + 5e-4


def _cells(name: str, row: Row) -> Sequence[str]:
    seconds = row.get("seconds", {})
    proof = row.get("max_rel_diff")
    return [
        name,
        row["status"] if row["status"] != "error" else f"error in {row.get('stage', 'start')}",
        "" if proof is None else f"{proof:.1e}",
        "".join(str(level) for level in row.get("levels", [])),
        _share(row.get("params_kept")),
        _inexact(row),
        _share(row.get("macs_kept")),
        str(row.get("groups", "")),
        *[f"{seconds[s]:.2f}" if s in seconds else "" for s in ("analyse", "prune", "prove")],
        f"{row.get('peak_mib', float('nan')):.0f}",
        _peer(row, "onnxsim"),
        _peer(row, "torch_pruning"),
        "; ".join(f"{count} x {reason}" for reason, count in list(row.get("pins", {}).items())[:4]),
    ]


def _inexact(row: Row) -> str:
    """Params kept with --allow-inexact; a star where the proof fails."""
    found = row.get("inexact") or {}
    if "error" in found:
        return "error"
    return _share(found.get("params_kept")) + ("" if found.get("proved", True) else "*")


def _peer(row: Row, tool: str) -> str:
    result = row.get(tool)
    if not result:
        return ""
    if "kept" not in result:
        return "fails"
    return _share(result["kept"]) if result.get("runs") else f"broken ({_share(result['kept'])})"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(c.replace("|", "/").replace("\n", " ") for c in cells) + " |"
