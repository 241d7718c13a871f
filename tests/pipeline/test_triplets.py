"""The stage `triplets`: which rows it reads, what it writes and drops."""

import json

import pytest

from nlift.config import Experiment
from nlift.data.files import read_rows
from nlift.data.schema import NLIPair, ScoredPair, TranslatedPair, Triplet
from nlift.errors import DataError
from nlift.evaluation import comet_summary
from nlift.pipeline import nli, score, translate, triplets
from nlift.pipeline.stage_folder import Output, StageFolder


def pairs(*rows):
    """Pairs from (premise, hypothesis, first letter of the label)."""
    labels = {label[0]: label for label in ("entailment", "neutral", "contradiction")}
    return [
        NLIPair(f"{i}", premise, hypothesis, labels[letter]) for i, (premise, hypothesis, letter) in enumerate(rows)
    ]


def experiment(tmp_path, **settings):
    return Experiment.model_validate(
        {"name": "a", "output_dir": str(tmp_path), "nli": {"path": "embedded"}, **settings}
    )


def test_triplets_are_made_from_the_last_stage_that_there_is(tmp_path):
    upstream = triplets.STAGE.upstream
    assert upstream(experiment(tmp_path)) is score.STAGE and score.STAGE.writes is ScoredPair
    assert upstream(experiment(tmp_path, score=None)) is translate.STAGE and translate.STAGE.writes is TranslatedPair
    assert upstream(experiment(tmp_path, score=None, translate=None)) is nli.STAGE and nli.STAGE.writes is NLIPair


@pytest.fixture
def english(tmp_path):
    """An experiment without translation, its pairs written."""
    english_only = experiment(tmp_path, score=None, translate=None)
    with StageFolder("nli", english_only.folder / "nli", {}).writing() as output:
        output.write_rows(pairs(("p", "a", "e"), ("p", "x", "c"), ("q", "b", "e")), NLIPair)
    return english_only


def test_write_counts_and_stores(english, tmp_path):
    output = Output(tmp_path)
    triplets.STAGE.run(english.override({"triplets.require_negative": False}), output)
    assert read_rows(tmp_path, Triplet) == [Triplet("0", "p", "a", "x"), Triplet("2", "q", "b", None)]
    assert (output.rows_in, output.rows_out, output.notes) == (3, 2, {"built": 2, "dropped": {}})


def test_nothing_left_says_so(tmp_path):
    english_only = experiment(tmp_path, score=None, translate=None)
    with StageFolder("nli", english_only.folder / "nli", {}).writing() as output:
        output.write_rows(pairs(("p", "a", "e")), NLIPair)
    with pytest.raises(DataError, match="none of 0 left of 1 pairs"):
        triplets.STAGE.run(english_only, Output(tmp_path))


def test_dropped_rows_are_listed_and_counts_add_up(tmp_path):
    filtered = experiment(tmp_path, **{"triplets": {"require_negative": False, "filter": {"min_score": 0.5}}})
    rows = [ScoredPair(str(i), f"p{i}", f"h{i}", "entailment", f"P{i}", f"H{i}", 0.9, i / 10) for i in range(8)]
    with StageFolder("score", filtered.folder / "score", {}).writing() as output:
        output.write_rows(rows, ScoredPair)
    output = Output(tmp_path)
    triplets.STAGE.run(filtered, output)
    dropped = [json.loads(line) for line in (tmp_path / "dropped.jsonl").read_text().splitlines()]
    assert [line["row"]["positive"] for line in dropped] == ["H0", "H1", "H2", "H3", "H4"]
    assert output.notes == {"built": 8, "dropped": {"COMET below 0.5": 5}} and output.rows_out == 3
    kept = {row["min_score"]: row["triplets"] for row in comet_summary.read_thresholds(tmp_path)}
    assert (kept[None], kept[0.5]) == (8, 3)


def test_pairs_without_scores_have_no_thresholds(english, tmp_path):
    triplets.STAGE.run(english, Output(tmp_path))
    assert comet_summary.read_thresholds(tmp_path) == []


SCORES = [(0.9, 0.1, 0.9), (0.4, 0.5, 0.6), (0.3, 0.3, None), (0.4, 0.4, 0.4)]  # of anchor, positive, negative


@pytest.fixture
def four(tmp_path):
    """An experiment with four premises, scored."""
    scored = experiment(tmp_path, **{"triplets": {"require_negative": False}})
    rows = []
    for i, (anchor, positive, negative) in enumerate(SCORES):
        rows.append(ScoredPair(f"{i}", f"p{i}", f"h{i}", "entailment", f"P{i}", f"H{i}", anchor, positive))
        if negative is not None:
            rows.append(ScoredPair(f"{i}n", f"p{i}", f"n{i}", "contradiction", f"P{i}", f"N{i}", anchor, negative))
    with StageFolder("score", scored.folder / "score", {}).writing() as output:
        output.write_rows(rows, ScoredPair)
    return scored


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"keep_share": 0.5}, "13"),
        ({"keep_share": 0.5, "over": "mean"}, "01"),
        ({"keep_share": 0.25}, "1"),  # of two that score the same the first
        ({"keep_share": 0.5, "keeps": "worst"}, "02"),
        ({"keep_share": 0.25, "keeps": "worst", "over": "mean"}, "2"),
        ({"keep_share": 1}, "0123"),
        ({"min_score": 0.2, "keep_share": 0.67}, "13"),  # the share is one of what is left
    ],
)
def test_the_best_share_is_kept_in_its_order(four, tmp_path, settings, kept):
    output = Output(tmp_path)
    triplets.STAGE.run(four.override({"triplets.filter": settings}), output)
    assert "".join(row.pair_id for row in read_rows(tmp_path, Triplet)) == kept
    dropped = [json.loads(line) for line in (tmp_path / "dropped.jsonl").read_text().splitlines()]
    assert sorted([line["row"]["pair_id"] for line in dropped] + list(kept)) == list("0123")
    why = f"not in the {settings.get('keeps', 'best')} {settings['keep_share']:g}"
    assert {line["reason"] for line in dropped} <= {why, "COMET below 0.2"}
    assert sum(output.notes["dropped"].values()) == len(dropped) and not (tmp_path / triplets.JUDGED).exists()


def test_nothing_left_names_the_commonest_reason(tmp_path):
    filtered = experiment(tmp_path, **{"triplets": {"require_negative": False, "filter": {"min_score": 2}}})
    with StageFolder("score", filtered.folder / "score", {}).writing() as output:
        output.write_rows([ScoredPair("0", "p", "h", "entailment", "P", "H", 0.9, 0.9)], ScoredPair)
    with pytest.raises(DataError, match="none of 1 left of 1 pairs; most often: COMET below 2"):
        triplets.STAGE.run(filtered, Output(tmp_path))
