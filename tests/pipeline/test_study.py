"""A study: variants with seeds, what they share computed once, what fails told, what is new added."""

import json

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from nlift.cli import app
from nlift.errors import ConfigError, NliftError
from nlift.pipeline.study import _Table, results_of, run_study
from nlift.study_config import load_study, runs_of


@pytest.fixture(scope="module")
def files(tiny_run, tmp_path_factory):
    """A study of the tiny experiment: one variant of two cannot be trained."""
    folder = tmp_path_factory.mktemp("study")
    raw = tiny_run.model_dump(mode="json")
    raw |= {"output_dir": str(folder / "runs"), "index": None}
    raw["cluster"]["memory_dir"] = str(tiny_run.root)
    raw["train"] |= {"num_workers": 1, "dev": None, "epochs": 1}
    (folder / "experiment.yaml").write_text(yaml.safe_dump(raw))
    study = {
        "name": "rates",
        "experiment": str(folder / "experiment.yaml"),
        "seeds": [1],
        "cells": [{"name": "slow"}, {"name": "fast", "set": {"train.learning_rate": 1e-3}}],
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    return folder


@pytest.fixture(scope="module")
def ran(files):
    study = load_study(files / "study.yaml")
    planned = runs_of(study, [])
    outcomes = run_study(study, planned)
    return study, planned, outcomes, results_of(outcomes)


def test_every_variant_is_run_and_compared_with_the_first(ran, files):
    _, planned, outcomes, results = ran
    assert [(outcome.run.cell, outcome.run.seed, outcome.error) for outcome in outcomes] == [
        ("slow", 1, ""),
        ("fast", 1, ""),
    ]
    cells = {figure.cell for figure in results.figures}
    assert cells == {"slow", "fast", "base", "bm25", "bm25_plain", "random", "centred", "whitened"}
    assert results.controls == ["base", "random", "centred", "whitened", "bm25", "bm25_plain"]
    metrics = json.loads((planned[1].experiment.folder / "evaluate" / "metrics.json").read_text())
    (fast,) = [row for row in results.figures if (row.set_name, row.metric, row.cell) == ("tiny", "ndcg@10", "fast")]
    assert fast.mean == pytest.approx(metrics["encoders"]["tuned"]["retrieval"]["tiny"]["ndcg@10"])
    base = metrics["encoders"]["base"]["retrieval"]["tiny"]["ndcg@10"]
    assert fast.above_base.difference == pytest.approx(fast.mean - base)
    assert all((figure.above is None) == (figure.cell == "slow") for figure in results.figures)
    sets = {figure.set_name for figure in results.figures if figure.cell == "fast"}
    assert {"tiny", "tiny, hybrid", "pairs"} <= sets
    saved = json.loads((files / "runs" / "rates" / "results.json").read_text())
    assert len(saved["figures"]) == len(results.figures)
    assert not list((files / "runs" / "rates").rglob("*.trec"))  # sixty runs' hits would fill a disk


def test_what_variants_share_is_computed_once(ran):
    _, planned, _, _ = ran
    first, second = (run.experiment.folder for run in planned)
    for stage, file in (("translate", "rows.parquet"), ("triplets", "rows.parquet")):
        assert (first / stage / file).stat().st_ino == (second / stage / file).stat().st_ino
    assert (first / "train" / "manifest.json").read_text() != (second / "train" / "manifest.json").read_text()
    assert not planned[0].experiment.train.base_share and not planned[0].experiment.train.guard


def test_the_command_adds_what_is_new_and_tells_what_fails(ran, files):
    raw = yaml.safe_load((files / "study.yaml").read_text())
    (files / "runs" / "rates" / "broken-s1").mkdir()  # not a run's folder: nothing of nlift's is in it
    (files / "runs" / "rates" / "broken-s1" / "train").mkdir()
    raw["cells"].append({"name": "broken", "set": {"train.learning_rate": 2e-3}})
    (files / "more.yaml").write_text(yaml.safe_dump(raw))
    before = (ran[1][0].experiment.folder / "train" / "manifest.json").stat().st_mtime_ns
    refused = CliRunner().invoke(app, ["study", str(files / "more.yaml")])
    assert refused.exit_code == 2 and "broken-s1" in refused.output
    (files / "runs" / "rates" / "broken-s1" / "train").rmdir()
    stranger = files / "runs" / "other" / "cut-s1" / "train"
    stranger.mkdir(parents=True)
    (stranger / "manifest.json").write_text("{")  # of somebody else, and damaged: nothing to take over
    raw["cells"][-1] = {"name": "extra", "set": {"train.learning_rate": 2e-3}}
    (files / "more.yaml").write_text(yaml.safe_dump(raw))
    result = CliRunner().invoke(app, ["study", str(files / "more.yaml")])
    assert result.exit_code == 0, result.output
    assert (ran[1][0].experiment.folder / "train" / "manifest.json").stat().st_mtime_ns == before
    page = (files / "runs" / "rates" / "report.html").read_text()
    assert "extra" in page and "above the first" in page and "<svg" in page
    assert "NDCG@10" in result.output and "extra" in result.output


def test_seed_zero_counts_and_a_control_counts_once():
    table = _Table()
    for seed in (1, 0):
        table.add("s", "cell", seed, {"ndcg@10": np.full(4, float(seed))}, {"retrieval": {"ndcg@10": float(seed)}})
    for _ in range(2):
        table.add_control("s", "bm25", {"ndcg@10": np.zeros(4)}, {})
    assert {cell: len(seeds) for cell, seeds in table.by_set["s"].items()} == {"cell": 2, "bm25": 1}
    assert [(point["cell"], point["seed"]) for point in table.points] == [("cell", 1), ("cell", 0), ("bm25", None)]


def test_a_set_that_differs_between_variants_is_refused():
    table = _Table()
    table.add("s", "one", 1, {"ndcg@10": np.zeros(4)}, {})
    with pytest.raises(NliftError, match="s: 5 queries with two, 4 with one"):
        table.add("s", "two", 1, {"ndcg@10": np.zeros(5)}, {})


MISTAKES = {
    "unknown": ({"cels": []}, "study.yaml:1: cels: unknown key; did you mean cells?"),
    "none": ({"cells": [], "grid": {}}, "no grid; expected one variant"),
    "twice": ({"cells": [{"name": "a"}, {"name": "a"}]}, "'a' stands twice"),
    "key": ({"cells": [{"name": "a", "set": {"train.learnig_rate": 1}}]}, "a: train.learnig_rate: unknown key"),
    "empty": ({"grid": {"train.epochs": []}}, "train.epochs has no value"),
    "seeds": ({"seeds": [1, 1]}, "one stands twice"),
}


def test_a_wrong_setting_is_told_with_its_line(files, tmp_path):
    raw = yaml.safe_load((files / "study.yaml").read_text())
    begin = f"name: s\nexperiment: {raw['experiment']}\nseeds: [1]\n"
    for rest, line in (
        ("cells:\n  - {name: a}\n  - name: b\n    set:\n      train.epochs: 1\n      train.epoch: 2\n", 9),
        ("set:\n  train.epoch: 1\ncells:\n  - {name: a}\n", 5),
        ("grid:\n  train.epochs: [1]\n  train.epoch: [1, 2]\n", 6),
        ("cells:\n  - {name: a, set: {train.epochs: many}}\n", 5),
    ):
        (tmp_path / "s.yaml").write_text(begin + rest)
        with pytest.raises(ConfigError, match=r"train\.epoch") as caught:
            runs_of(load_study(tmp_path / "s.yaml"), [])
        assert str(caught.value).startswith(f"{tmp_path / 's.yaml'}:{line}: "), caught.value


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line(name, files, tmp_path):
    change, message = MISTAKES[name]
    raw = {**yaml.safe_load((files / "study.yaml").read_text()), **change}
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(raw))
    with pytest.raises(ConfigError) as caught:
        runs_of(load_study(path), [])
    assert message.partition(": ")[2] in str(caught.value) and len(str(caught.value).splitlines()) == 1


def test_a_grid_has_every_combination(files, tmp_path):
    raw = yaml.safe_load((files / "study.yaml").read_text())
    raw |= {"grid": {"train.epochs": [1, 2], "train.temperature": [0.05, 0.1]}, "seeds": [3, 4]}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(raw))
    planned = runs_of(load_study(tmp_path / "study.yaml"), [])
    assert len(planned) == 12 and planned[2].cell == "epochs-1_temperature-0.05"
    assert planned[-1].experiment.train.temperature == 0.1 and planned[-1].experiment.seed == 4
