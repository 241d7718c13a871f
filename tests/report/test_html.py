"""The report: one page, self-contained, with every number; names in it are text and not markup."""

import json
from html.parser import HTMLParser

import pyarrow.dataset as pads
import pytest
from conftest import RETRIEVAL, STS, encoder_metrics
from rich.console import Console

from nlift.config import Experiment
from nlift.data.database import open_database
from nlift.data.files import write_json
from nlift.data.schema import ScoredPair, to_table
from nlift.evaluation import comet_summary
from nlift.pipeline import tune
from nlift.pipeline.stage_folder import StageFolder
from nlift.report import console, html, training_tables

ENCODERS = {
    "base": encoder_metrics({"sts_pl": {**STS, "spearman": 0.1}}, {"places": {**RETRIEVAL, "ndcg@10": 0.2}}),
    "tuned": encoder_metrics(
        {"sts_pl": STS}, {"places": RETRIEVAL}, {"places": {"uniformity": -2.5, "alignment": 0.3}}
    ),
    "bm25": encoder_metrics({}, {"places": {**RETRIEVAL, "ndcg@10": 0.4}}),
}


class Page(HTMLParser):
    """Table rows as lists of cell texts, and every tag that was opened."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.tags, self.attributes, self.in_cell = [], [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self.in_cell = True

    def handle_endtag(self, tag):
        self.in_cell = self.in_cell and tag not in ("td", "th")

    def handle_data(self, data):
        if self.in_cell:
            self.rows[-1][-1] += data


@pytest.fixture
def experiment(tmp_path):
    sets = [{"name": "places", "kind": "retrieval", "path": "p"}]
    return Experiment(
        name="tiny", output_dir=str(tmp_path), nli={"path": "a.tsv"}, evaluate={"sets": sets}, train={"dev": "places"}
    )


def written(experiment, encoders=ENCODERS):
    folder = experiment.folder / "evaluate"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.json").write_text(json.dumps({"encoders": encoders}))
    path = html.write(experiment)
    assert path == experiment.folder / "report.html"
    return path.read_text()


def measured_rows(experiment):
    """The rows of the table of encoders."""
    return Page(written(experiment).partition("<h2>Settings</h2>")[0]).rows


def test_the_page_needs_nothing_else(experiment):
    page = Page(text := written(experiment))
    assert {"script", "link", "img", "iframe"}.isdisjoint(page.tags)
    assert not [value for name, value in page.attributes if name in ("src", "href")] and "@import" not in text
    assert page.tags.count("svg") == 4 and "Of places only the test part is measured" in text


def test_a_set_is_named_once_with_its_size(experiment):
    rows = measured_rows(experiment)
    assert [row[0] for row in rows[1:]] == ["sts_pl40 pairs", "", "places10 queries, 1000 documents", "", ""]
    assert rows[5][1:4] == ["tuned", "", "0.500"]


def test_the_console_and_the_page_show_the_same_cells(experiment, capsys, monkeypatch):
    monkeypatch.setattr(console, "console", lambda: Console(width=200))
    console.show_metrics({"encoders": ENCODERS})
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    printed = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines]
    header, *rows = measured_rows(experiment)
    shown = {row[1] + header[i] + row[i] for row in rows for i in range(2, len(row)) if row[i]}
    names = ["spearman", "ndcg@10", "recall@10", "recall@100", "uniformity", "alignment"]
    cells = {row[1] + name + cell for row in printed for name, cell in zip(names, row[2:], strict=True) if cell}
    assert cells and cells < shown
    assert {row[0] for row in printed} == {"sts_pl", "places"}
    columns = [1, *map(header.index, names)]
    assert [[row[i] for i in columns] for row in rows] == [row[1:] for row in printed]


def test_nothing_to_show(experiment):
    assert html.write(experiment) is None
    assert not experiment.folder.exists()


def test_a_training_of_one_step_is_shown(experiment):
    with StageFolder("train", experiment.folder / "train", {}).writing() as output:
        (output.path / "log.jsonl").write_text('{"step": 1, "loss": 2.5}\n')
    text = html.write(experiment).read_text()
    assert "loss by step" in text and "Encoders" not in text and "Sweep" not in text


def test_a_finished_sweep_is_shown(experiment, monkeypatch, capsys):
    sets = [{"name": "places", "kind": "retrieval", "path": "embedded:poquad_pl"}]
    space = {"train.temperature": {"uniform": [0.04, 0.1]}}
    sweep = {"space": space, "num_trials": 2, "metric": "ndcg@10", "scheduler": "none"}
    swept = experiment.override({"nli.path": "embedded", "evaluate.sets": sets, "tune": sweep})
    trials = [
        {"config": {"train.temperature": rate}, "seed": 1, "status": status, "value": value, "steps": 6, "seconds": 2.5}
        | {"error": error, "history": [[3, value], [6, value]]}
        for rate, status, value, error in [(0.05, "finished", 0.5, None), (0.09, "failed", None, "<b>[red]bad")]
    ]
    rows = [
        {"config": trial["config"], "seeds": 1, "finished": 1, "mean": trial["value"], "std": None} for trial in trials
    ]
    content = {"metric": "ndcg@10", "trials": trials, "configurations": rows}
    with tune.STAGE.folder(swept).writing() as output:
        write_json(output.path / "trials.json", content)
    text = html.write(swept).read_text()
    page = Page(text)
    assert page.tags.count("svg") == 3 and "b" not in page.tags
    assert "2 configurations, 2 trials: 1 finished, 1 failed; by dev ndcg@10, higher is better." in text
    assert ["0.05", "1/1", "6", "0.5000", "2"] in page.rows and ["0.09", "1", "<b>[red]bad"] in page.rows
    monkeypatch.setattr(console, "console", lambda: Console(width=200, highlight=False))
    console.show_sweep(swept)
    printed = capsys.readouterr().out
    cells = [[cell.strip() for cell in line.strip("│").split("│")] for line in printed.splitlines() if line[:1] == "│"]
    assert cells == [row[:-1] for row in page.rows if row[1:2] == ["1/1"]]
    assert "failed   train.temperature 0.09, seed 1: <b>[red]bad" in printed
    assert f"report   {swept.folder / 'report.html'}" in printed


def test_the_page_shows_what_the_stages_left(experiment):
    with StageFolder("train", experiment.folder / "train", {}).writing() as output:
        output.rows_in = output.rows_out = 1234
        lines = ({"step": step, "loss": 1 / step} for step in (1, 2, 3))
        (output.path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows = [ScoredPair(str(i), "p", f"h{i}", "neutral", "P", f"H{i}", 0.5, 0.1 * i) for i in range(4)]
    with (
        StageFolder("score", experiment.folder / "score", {}).writing() as output,
        open_database(output.path) as database,
    ):
        database.add("scored", pads.dataset(to_table(rows, ScoredPair)))
        write_json(output.path / "quality.json", comet_summary.summarise(database))
        kept = comet_summary.thresholds(database, "scored", require_negative=True)
    with StageFolder("triplets", experiment.folder / "triplets", {}).writing() as output:
        write_json(output.path / "thresholds.json", kept)
    text = written(experiment)
    assert "loss by step" in text and "<polyline" in text
    assert "5 distinct sentences; mean 0.220, median 0.200" in text  # P once, H0 to H3
    assert "<summary>worst 5 translations</summary>" in text and "<th>triplets</th>" in text
    assert "<caption>kept by min_score</caption>" in text
    rows = Page(text).rows
    assert ["0.2", "2", "0"] in rows  # H2 and H3
    assert [list(row.cells) for row in training_tables.thresholds_table(kept).rows] == [
        row for row in rows if len(row) == 3
    ][1:12]
    assert ["p", "P", "0.500"] in rows
    assert [row[0] for row in rows if row[0] in ("nli", "score", "triplets", "train")] == [
        "score",
        "triplets",
        "train",
    ] * 2  # what they did, and what they were made from
    assert next(row for row in rows if row[0] == "train")[2:5] == ["1234", "1234", "0"]


def test_names_are_escaped(experiment):
    nasty = '<img src=x onerror="alert(1)">'
    results = {nasty: encoder_metrics({nasty: STS}, {nasty: RETRIEVAL})}
    changed = experiment.override(
        {"evaluate.sets": [{"name": nasty, "kind": "sts", "path": "p"}], "train.dev": nasty, "train.base_model": nasty}
    )
    page = Page(text := written(changed, results))
    assert "img" not in page.tags and not [name for name, _ in page.attributes if name == "onerror"]
    assert "&lt;img" in text


def guarded(chosen, name="places"):
    """What guard.json has of three encoders."""
    rows = [("tuned", 0.7), ("base", 0.6), ("base, whitened", 0.1)]
    above = [{"mean": 0.125, "low": 0.0625, "high": 0.25}]
    return {
        "chosen": chosen,
        "sets": [{"name": f"60 dev queries of {name}", "metric": "ndcg@10", "queries": 60}],
        "candidates": [{"name": name, "figures": [figure], "held_back": False} for name, figure in rows],
        "above": {"tuned": above, "base": above},
    }


def test_the_page_shows_base_and_tuned_beside_each_other(experiment):
    """Also where no loss was logged."""
    with StageFolder("train", experiment.folder / "train", {}).writing() as output:
        write_json(output.path / "guard.json", guarded("tuned"))
    text = written(experiment)
    page = Page(text)
    assert "<h2>Training</h2>" in text and "<caption>base, tuned and their averages</caption>" in text
    assert ["encoder", "ndcg@10, 60 dev queries of places", ""] in page.rows
    assert ["tuned", "0.700", "kept"] in page.rows and ["base, whitened", "0.100", ""] in page.rows
    assert "tuned kept, by ndcg@10 on 60 dev queries of places: +0.125 [+0.062, +0.250] to base." in text
    assert text.count("kept, by") == 1


def test_a_page_without_a_guard_says_nothing_of_one(experiment):
    assert "kept, by" not in written(experiment) and "<h2>Training</h2>" not in written(experiment)


def test_the_page_shows_the_guard_of_a_sweep(experiment):
    sets = [{"name": "places", "kind": "retrieval", "path": "embedded:poquad_pl"}]
    sweep = {"space": {"train.temperature": {"choice": [0.05]}}, "scheduler": "none"}
    swept = experiment.override({"nli.path": "embedded", "evaluate.sets": sets, "tune": sweep})
    trial = {"config": {"train.temperature": 0.05}, "seed": 1, "status": "finished", "value": 0.5, "steps": 6}
    trial |= {"seconds": 2.5, "error": None, "history": [[6, 0.5]]}
    row = {"config": trial["config"], "seeds": 1, "finished": 1, "mean": 0.5, "std": None}
    with tune.STAGE.folder(swept).writing() as output:
        write_json(output.path / "trials.json", {"metric": "ndcg@10", "trials": [trial], "configurations": [row]})
        write_json(output.path / "guard.json", guarded("base"))
    text = html.write(swept).read_text()
    line = "base kept, by ndcg@10 on 60 dev queries of places: +0.125 [+0.062, +0.250] to tuned."
    assert text.index("<h2>Sweep</h2>") < text.index(line) and "<h2>Training</h2>" not in text


def test_every_set_that_something_was_chosen_on_is_named(experiment):
    sets = [{"name": name, "kind": "sts", "path": "p"} for name in ("more", "left", "pairs")]
    changed = experiment.override({"evaluate.sets": sets, "train.dev": "pairs", "train.guard": ["more"]})
    assert "Of more and pairs only the test part is measured" in written(changed)


def test_names_in_the_guard_are_escaped(experiment):
    with StageFolder("train", experiment.folder / "train", {}).writing() as output:
        write_json(output.path / "guard.json", guarded("tuned", "<img src=x>"))
    text = written(experiment)
    assert "img" not in Page(text).tags and text.count("queries of &lt;img") == 2
