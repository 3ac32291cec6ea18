"""The tables of `compare` and `sweep` as pages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree.ElementTree import Element, fromstring

from onnxslim_snacs.errors import foreign
from onnxslim_snacs.report.grid import Row
from onnxslim_snacs.report.markup import Child, document, el, table
from onnxslim_snacs.report.page import section
from onnxslim_snacs.report.pareto import pareto_svg
from onnxslim_snacs.report.pictures import share_bar
from onnxslim_snacs.report.trials import TrialRow, Trials


def trials_page(done: Trials) -> str:
    """What `compare` has found as HTML: the advice, the plot, a table for each budget."""
    name = foreign(Path(done.model).name)
    return document(
        f"{name} · snacs-onnx compare",
        el("h1", name, ": criteria side by side"),
        el("p", foreign(done.folder), class_="faint path"),
        *section("What to take", el("p", foreign(done.advice))),
        *section("What is left, how good it is, and how long it takes", _plot(done)),
        *(part for target in _targets(done) for part in _budget(done, target)),
    )


def _targets(done: Trials) -> list[str]:
    return list(dict.fromkeys(row.target for row in done.standings))


def _plot(done: Trials) -> Element:
    picture = fromstring(pareto_svg(done))
    for part in picture.iter():  # within HTML, SVG has no name space
        part.tag = part.tag.rpartition("}")[2]
    picture.set("width", picture.get("viewBox", "0 0 900 0").split()[2])
    return el("div", picture, class_="wide plot")


def _budget(done: Trials, target: str) -> Iterator[Element]:
    what = "answers that agree" if done.is_top1 else "1 - relative error"
    rows = sorted(
        (row for row in done.standings if row.target == target),
        key=lambda row: -row.value,
    )
    heads = ("criterion", "recovery", what, "relative error", "top-1", "seconds", "")
    yield from section(f"At {foreign(target)}", table(heads, [_standing(row) for row in rows]))


def _standing(row: TrialRow) -> tuple[Child, ...]:
    if row.good is None:
        return (foreign(row.criterion), foreign(row.recover), foreign(row.error), "", "", "", "")
    return (
        foreign(row.criterion),
        foreign(row.recover),
        _spread(row.good, 100),
        _spread(row.rel_error, 1),
        _spread(row.top1, 100),
        f"{row.seconds:.1f}",
        "nothing is quicker and better" if row.best else "",
    )


def _spread(pair: tuple[float, float] | None, scale: float) -> str:
    if pair is None:
        return ""
    digits, unit = (2, " %") if scale == 100 else (3, "")
    mean, spread = (scale * number for number in pair)
    return f"{mean:.{digits}f}" + (f" ± {spread:.{digits}f}" if spread else "") + unit


def rows_page(rows: Sequence[Row]) -> str:
    """The table of `sweep` as HTML, and why some runs wrote nothing."""
    good = [row for row in rows if not row.code]
    heads = ("model", "goal", "criterion", "MACs", "", "params", "error", "agreement", "top-1", "s")
    lines: list[tuple[Child, ...]] = [
        (
            el("span", foreign(Path(row.model).name), title=foreign(row.model), class_="name"),
            foreign(row.goal),
            foreign(row.criterion),
            _percent(row.macs),
            "" if row.macs is None else share_bar(row.macs),
            _percent(row.params),
            "" if row.rel_error is None else f"{row.rel_error:.3g}",
            _percent(row.agreement),
            _percent(row.accuracy_after),
            f"{row.seconds:.0f}",
        )
        for row in good
    ]
    failed = [
        el(
            "p",
            el("span", foreign(Path(row.model).name), class_="name"),
            f", {foreign(row.goal)}, {foreign(row.criterion)}: exit code {row.code}: ",
            foreign(row.reason),
        )
        for row in rows
        if row.code
    ]
    return document(
        "snacs-onnx sweep",
        el("h1", f"{len(good)} of {len(rows)} runs wrote a model"),
        *section("What they wrote", table(heads, lines) if lines else None),
        *section("What wrote nothing, and why", *failed),
    )


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"
