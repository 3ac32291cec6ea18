"""`--html` and `snacs-onnx report` write the same page."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Cli

QUICK = ("--ratio", 0.5, "--criterion", "l1")


def test_the_page_is_written_with_the_model(
    cli: Cli, model: Path, data: Path, tmp_path: Path
) -> None:
    html, report, again = (tmp_path / name for name in ("a.html", "a.json", "b.html"))
    cli("compress", model, "--data", data, *QUICK, "--html", html, "--report", report)
    assert "<h2>Group by group</h2>" in html.read_text()
    cli("report", report, "-o", again)
    assert again.read_text() == html.read_text()


def test_what_is_there_is_not_replaced(cli: Cli, model: Path, data: Path, tmp_path: Path) -> None:
    html = tmp_path / "a.html"
    html.write_text("mine")
    cli("compress", model, "--data", data, *QUICK, "--html", html, code=6)
    assert html.read_text() == "mine"
    assert not (tmp_path / "net.slim.onnx").exists()
    report = tmp_path / "a.json"
    report.write_text("{}")
    cli("report", report, code=6)  # a.html
    cli("report", report, "--force", code=3)
    assert html.read_text() == "mine"


def test_released_and_apply_write_pages(cli: Cli, model: Path, data: Path, tmp_path: Path) -> None:
    html, plan = tmp_path / "a.html", tmp_path / "p.json"
    cli("compress", model, *QUICK, "--recover", "none", "--plan-out", plan, "--force")
    line = ("--html", html, "--force")
    for command in (
        ("apply", model, plan),
        ("released", model, "--data", data, "--target", "params=0.9"),
    ):
        cli(*command, *line)
        assert "<h2>Before and after</h2>" in html.read_text()
        html.unlink()


def test_compare_and_sweep_write_pages(cli: Cli, model: Path, data: Path, tmp_path: Path) -> None:
    html, few = tmp_path / "a.html", ("--data", data, "--samples", 60, "--recover", "none")
    compared = ("compare", model, *few, "--criteria", "l1,l2", "--seeds", 1, "--no-damage")
    cli(*compared, "--html", html, "-o", tmp_path / "c")
    text = html.read_text()
    assert "<h2>At macs=0.5</h2>" in text
    assert "<svg" in text
    assert "ns0:" not in text
    again = tmp_path / "b.html"
    cli("report", tmp_path / "c" / "report.json", "-o", again)
    assert again.read_text() == text
    cli(*compared, "--html", html, "-o", tmp_path / "c", code=6)  # it is there
    swept = ("sweep", model, *few, "--out", tmp_path / "s", "--criterion", "l1", "--html", html)
    cli(*swept, "--target", "macs=0.6", "--target", "macs=0.001")
    text = html.read_text()
    assert "1 of 2 runs wrote a model" in text
    summary = tmp_path / "s" / "summary.json"
    cli("report", summary, "-o", again, "--force")
    assert again.read_text() == text
    for wrong in ('{"format": 2, "rows": []}', '{"format": 1, "rows": [{"model": 3}]}'):
        summary.write_text(wrong)
        cli("report", summary, "-o", again, "--force", code=3)
    assert "exit code 4" in text


def test_a_page_shows_times_although_no_budget_asks_for_them(
    cli: Cli, model: Path, data: Path, tmp_path: Path
) -> None:
    html, out = tmp_path / "a.html", tmp_path / "a.onnx"
    line = ("compress", model, "--data", data, *QUICK, "--json", "-o", out)
    assert cli(*line).json()["latency"] is None
    report = cli(*line, "--html", html, "--force").json()
    assert report["latency"]["runs"] >= 15
    assert "ms for a sample" in html.read_text()
