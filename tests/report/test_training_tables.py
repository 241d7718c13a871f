"""Tables of training: a row per configuration, trial, threshold, example and guarded encoder."""

from nlift.report import training_tables


def names(table):
    return [column.name for column in table.columns]


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
    best, failed = training_tables.sweep_table(content, with_seconds=True).rows
    assert best.cells == ("0.001", "2/2", "6", "0.6000", "0.1414", "5")
    assert failed.cells == ("1e+12", "0/1", "6", "failed", "", "2")
    short = training_tables.sweep_table(content)
    assert names(short) == ["train.learning_rate", "finished", "steps", "ndcg@10", "std"]
    assert [row.cells for row in short.rows] == [row.cells[:-1] for row in (best, failed)]
    ends = [row.cells[-1] for row in training_tables.trials_table(content).rows]
    assert ends == ["0.5000, finished at step 6", "0.7000, finished at step 6", "the loss is nan"]


def test_thresholds():
    rows = training_tables.thresholds_table([{"min_score": None, "pairs": 4, "triplets": 2}]).rows
    assert [row.cells for row in rows] == [("none", "4", "2")]


def test_one_seed_has_no_deviation():
    row = {"config": {"train.learning_rate": 1e-3}, "seeds": 1, "finished": 1, "mean": 0.5, "std": None}
    content = {"metric": "ndcg@10", "trials": [trial(1e-3, 1, 0.5)], "configurations": [row]}
    assert names(training_tables.sweep_table(content)) == ["train.learning_rate", "finished", "steps", "ndcg@10"]


def test_examples_have_their_comet():
    table = training_tables.examples_table("worst", [{"source": "a", "target": "b", "comet": -0.0934}])
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
    table = training_tables.guard_table(verdict(sets=2))
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
    table = training_tables.guard_table(verdict(chosen="tuned"))
    assert names(table) == ["encoder", "ndcg@10, 60 dev queries of places", ""]
    assert [row.cells[1:] for row in table.rows][:2] == [("0.700", "kept"), ("0.688", "")]


def test_a_line_says_what_was_kept_and_how_far_it_is_above_the_others():
    assert training_tables.guard_line(verdict(sets=2)) == (
        "25% base kept, by ndcg@10 on 60 dev queries of places: "
        "-0.020 [-0.030, -0.010] to tuned, +0.250 [+0.240, +0.260] to base"
    )
    assert training_tables.guard_line(verdict(chosen="base")).endswith("places: -0.020 [-0.030, -0.010] to tuned")


def test_a_line_without_others_ends_with_what_was_looked_at():
    assert training_tables.guard_line(verdict(above={})) == "25% base kept, by ndcg@10 on 60 dev queries of places"
