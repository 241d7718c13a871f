"""Names with brackets, codes of emoji, control characters: printed and drawn as they are, on one line."""

import json
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from conftest import RETRIEVAL, STS, encoder_metrics

from nlift.config import Experiment
from nlift.data.files import write_json
from nlift.evaluation import comet_summary
from nlift.pipeline import tune
from nlift.pipeline.stage import DataSize, StageResult
from nlift.pipeline.stage_folder import StageFolder
from nlift.report import charts, console, html, stage_tables, sweep_charts, vector_charts
from nlift.report.tables import Column, Row, Table
from nlift.search.hits import Hit
from nlift.settings import SearchSpace

NAMES = [
    "docs [v2].jsonl",
    "sts[dev]",
    "[/sts]",
    "[bold]x[/]",
    "[/]",
    "[@click=app.quit]x",
    "[link=http://x]y",
    "[red",
    "\\[red]",
    "ends with \\",
    "\\",
    ":smile: :warning:",
    "a\\[b]\\",
    "100% {x} %s",
    "<b>&\"'",
    "żółw 北京",
]


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


def test_a_table(name, capsys):
    console.draw(
        Table(name, (Column(name, words=True), Column(name)), (Row((name, name)), Row((name, name), strong=True)))
    )
    title, *rest = capsys.readouterr().out.splitlines()
    assert title.strip() == name
    cells = [[cell.strip() for cell in line.strip("┃│").split("┃" if "┃" in line else "│")] for line in rest]
    assert [row for row in cells if len(row) == 2] == [[name, name]] * 3


def test_a_query_and_its_hits(name, capsys):
    console.show_hits(name, [Hit(name, 0.5, name, name, {}), Hit(name, 0.25, "", name, {})])
    assert capsys.readouterr().out == f"{name}\n  1. 0.500 {name}  {name}: {name}\n  2. 0.250 {name}  {name}\n"


def test_metrics(name, capsys):
    encoders = {name: encoder_metrics({name: STS}, {name: RETRIEVAL})}
    translation = {name: {name: {"chrf": 0.5, "pairs": 3}}}
    console.show_metrics({"encoders": encoders, "translation": translation, "quality": translation})
    printed = capsys.readouterr().out
    assert printed.count(name) >= 6
    assert printed.endswith(f"quality {name}: {name} chrf 0.500 (3 pairs)\n")


@pytest.fixture
def experiment(tmp_path, name):
    corpus = name.replace("/", "|")
    sets = [{"name": name, "kind": "sts", "path": corpus}]
    return Experiment(
        name="tiny",
        output_dir=str(tmp_path / corpus),
        nli={"path": "embedded"},
        translate={"model": name, "candidates": [name, "embedded"]},
        evaluate={"sets": sets},
        index={"corpus": corpus},
    )


def with_quality(experiment, name):
    example = {"source": name, "target": name, "comet": 0.5}
    comet = {"mean": 0.5, "median": 0.5, "deciles": [0.1, 0.2]}
    summary = {"sentences": 3, "comet": comet, "histogram": {"counts": [1, 2], "edges": [0, 0.5, 1]}}
    with StageFolder("translate", experiment.folder / "translate", {}).writing() as output:
        candidates = [{"model": name, "mean": 0.5, "median": 0.5, "translated": 3}]
        output.notes |= {"chosen": name, "candidates": candidates}
    with StageFolder("score", experiment.folder / "score", {}).writing() as output:
        write_json(output.path / comet_summary.FILE, {**summary, "examples": {"worst": [example]}})
    with StageFolder("triplets", experiment.folder / "triplets", {}).writing() as output:
        write_json(output.path / "thresholds.json", [{"min_score": 0.1, "pairs": 2, "triplets": 1}])


def test_the_quality_of_translations(experiment, name, capsys):
    with_quality(experiment, name)
    console.show_quality(experiment)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"translations {name}, transformers"
    assert f"  {name}: mean 0.500, median 0.500, 3 pairs" in lines and f"  0.500  {name} -> {name}" in lines
    assert lines[-1] == f"more in {experiment.folder / 'score' / comet_summary.FILE}"


def test_paths_at_the_end_of_a_run(experiment, capsys):
    experiment.folder.mkdir(parents=True)
    (experiment.folder / "report.html").touch()
    console.show_run(experiment, [StageResult("train", 0.0, {}), StageResult("index", 0.0, {})])
    lines = capsys.readouterr().out.splitlines()
    assert (
        f"report   {experiment.folder / 'report.html'}" in lines and f"bundles  {experiment.folder / 'index'}" in lines
    )


def test_the_plan(experiment, name, capsys):
    plain = {"evaluate.sets": [], "index": None, "translate.model": "embedded", "translate.candidates": []}
    console.draw(stage_tables.plan_table(experiment.override(plain), DataSize(3, 3, {}, 0)))
    console.draw(stage_tables.models_table(experiment))
    printed = capsys.readouterr().out
    assert printed.splitlines()[0] == f"tiny: {experiment.folder}"
    assert f"│ {name} " in printed


def swept(experiment, error):
    sets = [{"name": "places", "kind": "retrieval", "path": "embedded:poquad_pl"}]
    space = {"train.query_prefix": {"choice": [error, "b"]}}
    sweep = {"space": space, "num_trials": 2, "metric": "ndcg@10", "scheduler": "none"}
    changed = experiment.override({"evaluate.sets": sets, "train.dev": "places", "nli.path": "embedded", "tune": sweep})
    trials = [
        {
            "config": {"train.query_prefix": model},
            "seed": 1,
            "status": status,
            "value": value,
            "steps": 6,
            "seconds": 2.5,
        }
        | {"error": error if status == "failed" else None, "history": [[3, value], [6, value]]}
        for model, status, value in [("b", "finished", 0.5), (error, "failed", None)]
    ]
    rows = [
        {"config": trial["config"], "seeds": 1, "finished": 1, "mean": trial["value"], "std": None} for trial in trials
    ]
    with tune.STAGE.folder(changed).writing() as output:
        write_json(output.path / "trials.json", {"metric": "ndcg@10", "trials": trials, "configurations": rows})
    return changed


def test_a_sweep_with_a_trial_that_failed(tmp_path, name, capsys):
    experiment = swept(Experiment(name="tiny", output_dir=str(tmp_path), nli={"path": "a"}), name)
    console.show_sweep(experiment)
    printed = capsys.readouterr().out
    assert f"failed   train.query_prefix {name}, seed 1: {name}\n" in printed and f" {name} │" in printed
    assert_drawn(html.write(experiment).read_text(), name)


class Page(HTMLParser):
    """Texts of a page, and its tags."""

    def __init__(self, text):
        super().__init__()
        self.texts, self.tags = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)

    def handle_data(self, data):
        self.texts.append(data)


def assert_drawn(text, name):
    page = Page(text)
    assert "b" not in page.tags and any(name in shown for shown in page.texts)


def test_the_page(experiment, name):
    with_quality(experiment, name)
    folder = experiment.folder / "evaluate"
    folder.mkdir()
    metrics = {"encoders": {name: encoder_metrics({name: STS}, {name: RETRIEVAL})}}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    assert_drawn(html.write(experiment.override({"train.base_model": name})).read_text(), name)


def test_plots(name):
    space = {"train.base_model": SearchSpace(choice=[name, "b"])}
    row = {"config": {"train.base_model": name}, "mean": 0.5}
    trial = {**row, "value": 0.5, "status": "finished", "seed": 1, "history": [[1, 0.5]]}
    for svg in (
        charts.bar_chart({name: {name: 0.5}}, name),
        charts.scatter([(0.1, 0.2, name)], name, name),
        vector_charts.geometry_map({name: {"base": (-2.0, 0.5)}}),
        sweep_charts.parallel(space, [row], name, lower_is_better=False),
        sweep_charts.histories([trial], "ndcg@10", lower_is_better=False),
        sweep_charts.best_so_far([trial], "ndcg@10", lower_is_better=False),
    ):
        assert any(name in (element.text or "") for element in ElementTree.fromstring(svg).iter())


LONG = "/" + "/".join(["a folder with a long name"] * 12)


def test_a_long_path_is_on_one_line_where_it_is_no_terminal(capsys):
    console.draw(Table(LONG, (Column("path", words=True), Column("n")), (Row((LONG, "1")),)))
    console.show_hits(LONG, [Hit(LONG, 0.5, LONG, "text", {})])
    console.show_metrics({"encoders": {}, "quality": {LONG: {LONG: {"pearson": 0.5, "pairs": 3}}}})
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if LONG in line] == [line for line in lines if "long name" in line]
    assert sum(LONG in line for line in lines) == 5


@pytest.mark.parametrize("odd", ["a\x1b[31mred", "a\rb", "a\nb", "a\x07", "a\x00b", "a\x9b31m", "a\ud83d"])
def test_control_characters_are_shown_and_do_nothing(odd, capsys):
    shown = "a" + repr(odd[1:])[1:-1]
    console.draw(Table(odd, (Column(odd, words=True),), (Row((odd,)),)))
    console.show_hits(odd, [Hit(odd, 0.5, odd, "text", {})])
    printed = capsys.readouterr().out
    assert printed.count(shown) == 6 and odd not in printed


def test_joined_emoji_and_letters_stay_whole(capsys):
    for text in ("👩‍🚀", "می‌خواهم", "naïve\u00a0x"):
        console.show_hits(text, [])
        assert capsys.readouterr().out.splitlines()[0] == text


def test_a_page_of_control_characters_is_written(tmp_path):
    experiment = Experiment(name="tiny", output_dir=str(tmp_path), nli={"path": "a"})
    folder = experiment.folder / "evaluate"
    folder.mkdir(parents=True)
    metrics = {"encoders": {"a\x00\ud83d": encoder_metrics({"s\x1b": STS}, {})}}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    text = html.write(experiment).read_text()
    assert "a\\x00\\ud83d" in text and "s\\x1b" in text and "\x1b" not in text
