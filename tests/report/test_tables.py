"""Tables: every number in its row, the same for the console and the page."""

import pytest
from conftest import RETRIEVAL, STS, encoder_metrics

from nlift.config import Experiment
from nlift.pipeline.stage import StageFolder
from nlift.report import tables

ENCODERS = {
    "tuned": encoder_metrics(
        {"sts_pl": STS}, {"places": RETRIEVAL}, {"places": {"uniformity": -2.5, "alignment": 0.3}}
    ),
    "base": encoder_metrics({"sts_pl": {**STS, "spearman": 0.1}}, {"places": {**RETRIEVAL, "ndcg@10": 0.2}}),
    "hybrid": encoder_metrics({}, {"places": {**RETRIEVAL, "ndcg@10": 0.6}}),
    "bm25": encoder_metrics({}, {"places": {**RETRIEVAL, "ndcg@10": 0.4}}),
}


def names(table):
    return [column.name for column in table.columns]


def test_a_row_per_set_and_encoder_with_its_numbers():
    table = tables.encoders_table(ENCODERS, tables.all_metrics())
    assert names(table)[:4] == ["set", "encoder", "spearman", "ndcg@10"]
    assert [row.cells[1] for row in table.rows] == ["base", "tuned", "base", "bm25", "tuned", "hybrid"]
    assert [row.cells[0] for row in table.rows] == ["sts_pl"] * 2 + ["places"] * 4
    assert [row.first for row in table.rows] == [True, False, True, False, False, False]
    assert [row.note for row in table.rows if row.note] == ["40 pairs", "10 queries, 1000 documents"]
    assert table.rows[0].cells[2:] == ("0.100", *[""] * 7)
    assert table.rows[2].cells[2:4] == ("", "0.200")
    numbers = ("", "0.500", "0.625", "0.750", "0.250", "0.125", "-2.500", "0.300")
    assert table.rows[4].cells == ("places", "tuned", *numbers)
    assert [row.cells[1] for row in table.rows if row.strong] == ["tuned", "tuned"]


def test_the_short_table_has_the_same_cells():
    long, short = (tables.encoders_table(ENCODERS, metrics()) for metrics in (tables.all_metrics, tables.short_metrics))
    places = [names(long).index(name) for name in names(short)]
    assert [tuple(row.cells[i] for i in places) for row in long.rows] == [row.cells for row in short.rows]
    assert len(places) == 8 < len(names(long))


def test_baselines_stand_before_the_tuned_encoder_and_others_after():
    others = {"e5": encoder_metrics(), "e5+bm25": encoder_metrics()}
    assert tables.ordered({**others, **ENCODERS}) == ["base", "bm25", "tuned", "hybrid", "e5", "e5+bm25"]
    assert tables.set_names(ENCODERS) == ["sts_pl", "places"]
    assert tables.encoders_table(ENCODERS, []).title == "base, bm25, tuned and hybrid"
    assert tables.encoders_table(others, []).title == "encoders"


def trial(rate, seed, value, status="finished"):
    error = "the loss is nan" if status == "failed" else None
    config = {"train.learning_rate": rate}
    ended = {"status": status, "value": value, "steps": 6, "seconds": 2.5, "error": error}
    return {"config": config, "seed": seed, **ended}


def test_a_row_per_configuration_and_per_trial():
    content = {
        "metric": "ndcg@10",
        "trials": [trial(1e-3, 1, 0.5), trial(1e-3, 2, 0.7), trial(1e12, 1, None, "failed")],
        "configurations": [
            {"config": {"train.learning_rate": 1e-3}, "seeds": 2, "finished": 2, "mean": 0.6, "std": 0.1414},
            {"config": {"train.learning_rate": 1e12}, "seeds": 1, "finished": 0, "mean": None, "std": None},
        ],
    }
    best, failed = tables.sweep_table(content, with_seconds=True).rows
    assert best.cells == ("0.001", "2/2", "6", "0.6000", "0.1414", "5")
    assert failed.cells == ("1e+12", "0/1", "6", "failed", "", "2")
    short = tables.sweep_table(content)
    assert names(short) == ["train.learning_rate", "finished", "steps", "ndcg@10", "std"]
    assert [row.cells for row in short.rows] == [row.cells[:-1] for row in (best, failed)]
    ends = [row.cells[-1] for row in tables.trials_table(content).rows]
    assert ends == ["0.5000, finished at step 6", "0.7000, finished at step 6", "the loss is nan"]


def test_thresholds():
    rows = tables.thresholds_table([{"min_score": None, "pairs": 4, "triplets": 2}]).rows
    assert [row.cells for row in rows] == [("none", "4", "2")]


@pytest.mark.parametrize("name", ["nli", "cloze"])
def test_stages_that_are_there_in_their_order(tmp_path, name):
    experiment = Experiment(name="tiny", output_dir=str(tmp_path), nli={"path": "a.tsv"})
    for written in ("train", name):
        with StageFolder(written, experiment.folder / written, {}).writing() as output:
            output.rows_in, output.rows_out = 5, 4
    table = tables.stages_table(experiment)
    assert [row.cells[0] for row in table.rows] == [name, "train"]
    assert table.rows[0].cells[2:5] == ("5", "4", "0")


def test_one_seed_has_no_deviation():
    row = {"config": {"train.learning_rate": 1e-3}, "seeds": 1, "finished": 1, "mean": 0.5, "std": None}
    content = {"metric": "ndcg@10", "trials": [trial(1e-3, 1, 0.5)], "configurations": [row]}
    assert names(tables.sweep_table(content)) == ["train.learning_rate", "finished", "steps", "ndcg@10"]


def test_the_stages_of_a_run_in_their_order(tmp_path):
    experiment = Experiment(name="tiny", output_dir=str(tmp_path), nli={"path": "a.tsv"})
    for name in ("index", "nli", "somebody's"):
        with StageFolder(name, experiment.folder / name, {}).writing() as output:
            output.rows_in, output.rows_out = 5, 4
    (experiment.folder / "train").mkdir()
    rows = tables.stages_table(experiment).rows
    assert [row.cells[0] for row in rows] == ["nli", "index"]
    assert [row.cells[2:5] for row in rows] == [("5", "4", "0")] * 2


def test_examples_have_their_comet():
    table = tables.examples_table("worst", [{"source": "a", "target": "b", "comet": -0.0934}])
    assert table.title == "worst 1 translations" and table.rows[0].cells == ("a", "b", "-0.093")


def verdict(chosen="25% base", above=None, sets=1):
    """What guard.json has; of the encoders one is chosen, and the tuned one is held back."""
    figures = {"tuned": [0.7, 0.1], "25% base": [0.6875, 0.5], "base": [0.5, 0.625], "base, whitened": [0.4, 0.6]}
    tuned, base = (
        [{"mean": mean, "low": mean - 0.01, "high": mean + 0.01}, {"mean": 9, "low": 9, "high": 9}]
        for mean in (-0.02, 0.25)
    )
    rows = [
        {"name": name, "figures": values[:sets], "held_back": name == "tuned" and sets > 1}
        for name, values in figures.items()
    ]
    judged = [{"name": "60 dev queries of places", "metric": "ndcg@10"}, {"name": "pairs", "metric": "spearman"}]
    above = {"tuned": tuned, "base": base} if above is None else above
    return {"chosen": chosen, "sets": judged[:sets], "candidates": rows, "above": above}


def test_a_row_per_encoder_of_the_guard_with_its_figures():
    table = tables.guard_table(verdict(sets=2))
    assert names(table) == ["encoder", "ndcg@10, 60 dev queries of places", "spearman, pairs", ""]
    assert [column.words for column in table.columns] == [True, False, False, True]
    assert [row.cells for row in table.rows] == [
        ("tuned", "0.700", "0.100", "loses too much"),
        ("25% base", "0.688", "0.500", "kept"),
        ("base", "0.500", "0.625", ""),
        ("base, whitened", "0.400", "0.600", ""),
    ]
    assert [row.strong for row in table.rows] == [False, True, False, False]


def test_the_guard_of_one_set_has_one_figure():
    table = tables.guard_table(verdict(chosen="tuned"))
    assert names(table) == ["encoder", "ndcg@10, 60 dev queries of places", ""]
    assert [row.cells[1:] for row in table.rows][:2] == [("0.700", "kept"), ("0.688", "")]


def test_a_line_says_what_was_kept_and_how_far_it_is_above_the_others():
    assert tables.guard_line(verdict(sets=2)) == (
        "25% base kept, by ndcg@10 on 60 dev queries of places: "
        "-0.020 [-0.030, -0.010] to tuned, +0.250 [+0.240, +0.260] to base"
    )
    assert tables.guard_line(verdict(chosen="base")).endswith("places: -0.020 [-0.030, -0.010] to tuned")


def test_a_line_without_others_ends_with_what_was_looked_at():
    assert tables.guard_line(verdict(above={})) == "25% base kept, by ndcg@10 on 60 dev queries of places"
