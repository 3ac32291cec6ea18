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

#: The stages that do what the peers do: they read a file, find out what belongs together, and cut.
_STAGES = ("load", "analyse", "score", "prune")
_PEERS = (("onnxsim", "onnxsim"), ("Torch-Pruning", "torch_pruning"))


def markdown(rows: Mapping[str, Row]) -> str:
    """A summary and one line for each file."""
    lines = [*summary(rows), "", _line(_HEAD), _line(["---"] * len(_HEAD))]
    lines += [_line(_cells(name, row)) for name, row in rows.items()]
    return "\n".join(lines) + "\n"


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
        *[line for names in _PEERS if (line := _beside(rows, *names))],
        f"- behind the better of the two: {', '.join(behind) or 'none'}",
    ]


def _peer_summary(rows: Mapping[str, Row], label: str, tool: str) -> str:
    kept = [k for row in rows.values() if (k := peer_kept(row, tool)) is not None]
    middle = f", median params kept {median(kept):.3f}" if kept else ""
    return f"- {label}: {len(kept)} files with a result that runs{middle}"


def _beside(rows: Mapping[str, Row], label: str, tool: str) -> str:
    """Time and memory on the files that both have cut; "" if there are none."""
    both = [r for r in rows.values() if r["status"] == "cut" and peer_kept(r, tool) is not None]
    if not both:
        return ""
    seconds = [(sum(r["seconds"][s] for s in _STAGES), r[tool]["seconds"]) for r in both]
    peaks = [(r["peak_mib"], r[tool]["peak_mib"]) for r in both]
    proofs = median(r["seconds"]["prove"] for r in both)
    return (
        f"- beside {label}, medians of {len(both)} files that both cut: "
        f"{_against(seconds, '.2f', 's')}, without our proof, which takes {proofs:.2f} s more; "
        f"peak {_against(peaks, '.0f', 'MiB')}"
    )


def _against(pairs: Sequence[tuple[float, float]], digits: str, unit: str) -> str:
    """Medians of ours and of theirs, of ours as a multiple of theirs, and how often it is more."""
    ours, theirs = (median(column) for column in zip(*pairs, strict=True))
    ratios = [a / b for a, b in pairs]
    more = sum(ratio > 1 for ratio in ratios)
    return (
        f"{ours:{digits}} {unit} against {theirs:{digits}} {unit} "
        f"({median(ratios):.2f} times, more on {more}, at most {max(ratios):.1f} times)"
    )


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
    """Params kept, seconds and peak MiB of a result that runs; else what is wrong with it."""
    result = row.get(tool)
    if not result:
        return ""
    if "kept" not in result:
        return "fails"
    if not result.get("runs"):
        return f"broken ({_share(result['kept'])})"
    return f"{_share(result['kept'])} / {result['seconds']:.2f} s / {result['peak_mib']:.0f} MiB"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(c.replace("|", "/").replace("\n", " ") for c in cells) + " |"
