"""From pairs to triplets, and the COMET filter."""

import pytest

from nlift import nli as nli_stage
from nlift import score, translate, triplets
from nlift.artifacts import Output, Stage, read_rows
from nlift.config import Experiment, FilterConfig
from nlift.errors import DataError
from nlift.schema import NLIPair, ScoredPair, TranslatedPair, Triplet
from nlift.triplets import Sentence, build, keep


def pairs(*rows):
    """Pairs from (premise, hypothesis, first letter of the label)."""
    labels = {label[0]: label for label in ("entailment", "neutral", "contradiction")}
    return [NLIPair(f"{i}", premise, hypothesis, labels[letter]) for i, (premise, hypothesis, letter) in enumerate(rows)]


def texts(rows):
    return [(name, *(sentence and sentence.text for sentence in sentences)) for name, *sentences in rows]


def test_entailed_is_positive_contradicted_is_negative_neutral_is_nothing():
    rows = pairs(("p", "good", "e"), ("p", "so so", "n"), ("p", "bad", "c"))
    assert texts(build(rows, True)) == [("0", "p", "good", "bad")]


def test_pairs_of_a_premise_meet_in_their_order_wherever_they_stand():
    rows = pairs(("p", "n1", "c"), ("q", "b", "e"), ("p", "a1", "e"), ("q", "m", "c"), ("p", "a2", "e"), ("p", "n2", "c"))
    assert texts(build(rows, True)) == [("1", "q", "b", "m"), ("2", "p", "a1", "n1"), ("4", "p", "a2", "n2")]


def test_negatives_are_used_again_where_they_are_fewer():
    rows = pairs(*(("p", f"a{i}", "e") for i in range(5)), ("p", "x", "c"), ("p", "y", "c"))
    assert [row[3] for row in texts(build(rows, True))] == ["x", "y", "x", "y", "x"]


def test_negatives_that_are_more_make_no_triplet():
    assert len(build(pairs(("p", "a", "e"), ("p", "x", "c"), ("p", "y", "c"), ("q", "z", "c")), False)) == 1


def test_without_a_negative_the_row_is_left_out_or_has_none():
    rows = pairs(("p", "a", "e"), ("q", "b", "e"), ("q", "x", "c"))
    assert texts(build(rows, True)) == [("1", "q", "b", "x")]
    assert texts(build(rows, False)) == [("0", "p", "a", None), ("1", "q", "b", "x")]


def test_translated_pairs_give_translated_triplets_grouped_by_the_source():
    rows = [
        TranslatedPair("0", "p", "h", "entailment", "P", "H"),
        TranslatedPair("1", "p", "g", "contradiction", "P", "G"),
        TranslatedPair("2", "q", "g", "contradiction", "P", "other"),
    ]
    assert texts(build(rows, True)) == [("0", "P", "H", "G")]


def test_scores_go_with_their_sentences():
    rows = [
        ScoredPair("0", "p", "h", "entailment", "P", "H", 0.1, 0.2),
        ScoredPair("1", "p", "g", "contradiction", "P", "G", 0.1, 0.3),
    ]
    assert build(rows, True) == [("0", Sentence("P", 0.1), Sentence("H", 0.2), Sentence("G", 0.3))]


def scored(*scores):
    return [(str(i), *(None if one is None else Sentence("x", one) for one in row)) for i, row in enumerate(scores)]


ROWS = scored((0.9, 0.1, 0.9), (0.4, 0.5, 0.6), (0.3, 0.3, None), (0.4, 0.4, 0.4))


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({}, "0123"),
        ({"min_score": 0.3}, "123"),
        ({"min_score": 0.35}, "13"),
        ({"min_score": 0.45, "over": "mean"}, "01"),
        ({"keep_share": 0.5}, "13"),
        ({"keep_share": 0.5, "over": "mean"}, "01"),
        ({"keep_share": 0.25}, "1"),  # of two that score the same the first
        ({"keep_share": 1}, "0123"),
        ({"min_score": 0.2, "keep_share": 0.67}, "13"),  # the share is one of what is left
        ({"min_score": 2}, ""),
    ],
)
def test_the_filter_keeps_the_best_in_their_order(settings, kept):
    assert "".join(row[0] for row in keep(ROWS, FilterConfig(**settings))) == kept


def experiment(tmp_path, **settings):
    return Experiment.model_validate({"name": "a", "output_dir": str(tmp_path), "nli": {"path": "embedded"}, **settings})


def test_triplets_are_made_from_the_last_stage_that_there_is(tmp_path):
    assert triplets.source(experiment(tmp_path)) == (score, ScoredPair)
    assert triplets.source(experiment(tmp_path, score=None)) == (translate, TranslatedPair)
    assert triplets.source(experiment(tmp_path, score=None, translate=None)) == (nli_stage, NLIPair)


@pytest.fixture
def english(tmp_path):
    """An experiment without translation, its pairs written."""
    one = experiment(tmp_path, score=None, translate=None)
    with Stage("nli", one.folder / "nli", {}).writing() as output:
        output.write_rows(pairs(("p", "a", "e"), ("p", "x", "c"), ("q", "b", "e")), NLIPair)
    return one


def test_write_counts_and_stores(english, tmp_path):
    output = Output(tmp_path)
    triplets.write(english.override({"triplets.require_negative": False}), output)
    assert read_rows(tmp_path, Triplet) == [Triplet("0", "p", "a", "x"), Triplet("2", "q", "b", None)]
    assert (output.rows_in, output.rows_out, output.notes) == (3, 2, {"built": 2, "filtered": 0})


def test_nothing_left_says_so(tmp_path):
    one = experiment(tmp_path, score=None, translate=None)
    with Stage("nli", one.folder / "nli", {}).writing() as output:
        output.write_rows(pairs(("p", "a", "e")), NLIPair)
    with pytest.raises(DataError, match="none of 0 left of 1 pairs"):
        triplets.write(one, Output(tmp_path))
