"""`nlift check`: plan and licences of the experiments in jobs/experiments, offline, with nothing started."""

import re
import socket
from pathlib import Path

import pytest
import ray
from conftest import write_file
from rich.console import Console
from typer.testing import CliRunner

from nlift import cluster
from nlift.cli import app
from nlift.config import load_experiment
from nlift.data import corpus
from nlift.models.encoder import Encoder
from nlift.report import console
from nlift.report.licences import LICENCES, licence

ROOT = Path(__file__).parents[2]
EXPERIMENTS = ROOT / "jobs" / "experiments"
NAMES = ("demo", "paper_pl", "paper_en")
STAGES = {
    "demo": ["nli", "translate", "score", "triplets", "cloze", "train", "evaluate", "index"],
    "paper_pl": ["nli", "translate", "score", "triplets", "train", "evaluate", "index"],
    "paper_en": ["nli", "triplets", "train"],
}


@pytest.fixture
def check(tmp_path, monkeypatch):
    """Runs `nlift check` on a wide terminal, where neither Ray nor the network can be had."""

    def refuse(*args, **kwargs):
        raise AssertionError("nlift check started something")

    monkeypatch.setattr(console, "console", lambda: Console(highlight=False, width=200))
    monkeypatch.setattr(cluster, "connect", refuse)
    monkeypatch.setattr(ray, "init", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)

    def run(name, *changes):
        overrides = [part for change in (f"output_dir={tmp_path / 'runs'}", *changes) for part in ("--set", change)]
        return CliRunner().invoke(app, ["check", str(EXPERIMENTS / f"{name}.yaml"), *overrides])

    yield run
    assert not (tmp_path / "runs").exists()


def cells(output):
    """The rows of the printed tables."""
    lines = [line.strip("│") for line in output.splitlines() if line.startswith("│")]
    return [[cell.strip() for cell in line.split("│")] for line in lines]


def models(experiment):
    """Stage and model of every model that an experiment names."""
    named = {"translate": experiment.translate, "score": experiment.score}
    rows = [[stage, config.model] for stage, config in named.items() if config is not None]
    return [*rows, ["train", experiment.train.base_model]]


@pytest.mark.parametrize("name", NAMES)
def test_prints_plan_and_licences(check, name):
    result = check(name)
    assert result.exit_code == 0, result.output
    rows = cells(result.output)
    assert [row[0] for row in rows if row[1:2] == ["to do"]] == STAGES[name]
    for stage, model in models(load_experiment(EXPERIMENTS / f"{name}.yaml")):
        assert licence(model) != "unknown"
        assert [stage, model, licence(model)] in rows
    assert "nothing was started" in result.output


def test_pairs_of_the_corpus_are_counted(check):
    rows = cells(check("demo", "cloze.pairs_per_document=1").output)
    assert ["cloze", "to do", "987 pairs of embedded:poquad_pl"] in rows
    assert ["evaluate", "to do", "base, tuned, bm25, hybrid on poquad_pl, osm_places_pl, stsb_pl"] in rows


def test_the_data_is_shown_with_what_is_not_usable(check, tmp_path):
    rows = [
        {"premise": f"A man walks his dog in the park at {hour}.", "hypothesis": f"{label} {hour}", "label": label}
        for hour in range(20)
        for label in ("entailment", "contradiction", "contradictory")
    ]
    path = write_file(tmp_path / "pairs [v2].jsonl", rows)
    result = check("demo", f"nli.path={path}", "train.global_batch_size=2")
    assert result.exit_code == 0, result.output
    shown = cells(result.output)
    assert [str(path), "40 of 60 rows taken", "en 100 %, Latin"] in shown
    assert ["", "labels: 20 entailment, 20 contradiction, 20 contradictory", ""] in shown
    assert ["", "set aside: 20 unknown label 'contradictory'", ""] in shown
    assert ["poquad_pl", "3,053 queries of 1,104 documents, 607 of them dev", "pl 100 %, Latin"] in shown
    assert "encoder embedded: bert, 192 dimensions, mean pooling, 512 tokens at most" in result.output


def test_what_is_taken_over_of_an_encoder_is_shown(check, bert, tmp_path):
    encoder = Encoder.load(bert, pooling="cls", prefixes={"query": "query: ", "passage": "passage: "})
    encoder.save(tmp_path / "base")
    output = check("paper_en", f"train.base_model={tmp_path / 'base'}", "train.mlp_head=null").output
    line = next(line for line in output.splitlines() if line.startswith(f"encoder {tmp_path}"))
    assert line.endswith("cls pooling, 64 tokens at most, 'query: ' before query, 'passage: ' before passage")


def test_the_corpus_is_held_once(check, monkeypatch):
    corpus.usable_corpus("embedded:poquad_pl")
    read, reader = [], corpus.read_table
    monkeypatch.setattr(corpus, "read_table", lambda *given, **named: read.append(given) or reader(*given, **named))
    assert check("demo", "evaluate.sets=[]", "train.dev=null", "tune=null").exit_code == 0
    assert len(read) == 1  # the index goes through it a row at a time


def test_an_unknown_model_is_said_to_be(check):
    rows = cells(check("paper_pl", "train.base_model=someone/their-encoder").output)
    assert ["train", "someone/their-encoder", "unknown"] in rows
    assert ["score", "Unbabel/wmt20-comet-qe-da", "Apache-2.0"] in rows


def test_non_commercial_licences_say_so(check):
    output = check("paper_pl", "translate.model=facebook/nllb-200-distilled-600M").output
    assert "CC-BY-NC-4.0 (no commercial use)" in output


@pytest.mark.parametrize("name", ["paper_pl", "paper_en"])
def test_paper_recipe(name):
    train = load_experiment(EXPERIMENTS / f"{name}.yaml").train
    recipe = (train.global_batch_size, train.learning_rate, train.epochs, train.temperature, train.max_length)
    assert recipe == (512, 5e-5, 3, 0.05, 32)
    assert (train.pooling, train.mlp_head) == ("cls", True)


def test_docs_list_the_same_licences():
    text = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([^`]+)` \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", text, re.MULTILINE)
    assert {model: stated for model, _, stated, _ in rows} == LICENCES
    assert len(rows) == len(LICENCES)
    for model, use, _, source in rows:
        assert use.strip() and re.search(r"https://|\]\(\.\./NOTICE\)", source), model


def test_the_plan_says_where_base_and_tuned_cannot_be_compared(check):
    alone = ("train.dev=null", "index=null", "cloze=null", "tune=null")
    assert "too little to compare base and tuned on" in check("demo", *alone).output.replace("\n", " ")
    assert "too little" not in check("demo").output
