"""What a person reads in the terminal: names are text and not markup; paths are where things stand."""

import pytest
from rich.console import Console

from nlift.config import Experiment
from nlift.pipeline.stage import StageResult
from nlift.report import console
from nlift.report.tables import Column, Row, Table
from nlift.search.hits import Hit


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setattr(console, "console", lambda: Console(highlight=False, width=200))


def test_nothing_in_a_table_is_markup(capsys):
    table = Table(
        "runs/[demo]/[red]x", (Column("[bold]name", words=True),), (Row(("[green]a cell wider than the title",)),)
    )
    console.draw(table)
    printed = capsys.readouterr().out
    assert all(text in printed for text in ("runs/[demo]/[red]x", "[bold]name", "[green]a cell"))


def test_a_line_stands_between_groups(capsys):
    rows = (Row(("a",), first=True), Row(("b",)), Row(("c",), first=True, strong=True))
    console.draw(Table("t", (Column("x"),), rows))
    lines = [line.strip("│ ") for line in capsys.readouterr().out.splitlines()]
    assert lines.index("b") - lines.index("a") == 1 and lines.index("c") - lines.index("b") == 2


def test_hits_are_short_and_numbered(capsys):
    hits = [Hit("d[1]", 0.6914, "A [red]title", "some\n  text " * 20, {}), Hit("d2", 0.5, "", "[b]", {})]
    console.show_hits("what [is] it?", hits)
    query, first, second = capsys.readouterr().out.splitlines()
    assert query == "what [is] it?" and second == "  2. 0.500 d2  [b]"
    assert first.startswith("  1. 0.691 d[1]  A [red]title: some text some text") and first.endswith("…")
    console.show_hits("nothing", [])
    assert "nothing found" in capsys.readouterr().out


def test_the_end_of_a_run_names_what_is_there(tmp_path, capsys):
    experiment = Experiment(name="tiny", output_dir=str(tmp_path), nli={"path": "a.tsv"})
    console.show_run(experiment, [StageResult("train", 0.0, {})])
    printed = capsys.readouterr().out
    assert printed.startswith("nothing to do: every stage is done\nencoder  ") and "report" not in printed
    experiment.folder.mkdir()
    page = experiment.folder / "report.html"
    page.touch()
    console.show_run(experiment, [StageResult("nli", 90.0, {})])
    assert capsys.readouterr().out == f"report   {page}\n1.5 minutes\n"
