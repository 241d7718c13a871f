"""From pairs to triplets."""

from nlift.data.pairing import Row, Sentence, build
from nlift.data.schema import NLIPair, ScoredPair, TranslatedPair


def pairs(*rows):
    """Pairs from (premise, hypothesis, first letter of the label)."""
    labels = {label[0]: label for label in ("entailment", "neutral", "contradiction")}
    return [
        NLIPair(f"{i}", premise, hypothesis, labels[letter]) for i, (premise, hypothesis, letter) in enumerate(rows)
    ]


def texts(rows):
    """Ids and texts of rows."""
    return [(row.pair_id, row.anchor.text, row.positive.text, row.negative and row.negative.text) for row in rows]


def test_entailed_is_positive_contradicted_is_negative_neutral_is_nothing():
    rows = pairs(("p", "good", "e"), ("p", "so so", "n"), ("p", "bad", "c"))
    assert texts(build(rows, True)) == [("0", "p", "good", "bad")]


def test_pairs_of_a_premise_meet_in_their_order_wherever_they_stand():
    rows = pairs(
        ("p", "n1", "c"), ("q", "b", "e"), ("p", "a1", "e"), ("q", "m", "c"), ("p", "a2", "e"), ("p", "n2", "c")
    )
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


def test_a_sentence_that_is_entailed_is_no_negative():
    rows = pairs(("p", "same", "e"), ("p", "Same ", "c"), ("p", "bad", "c"), ("p", "other", "e"), ("p", "P", "c"))
    assert texts(build(rows, True)) == [("0", "p", "same", "bad"), ("3", "p", "other", "bad")]


def test_a_sentence_is_the_same_however_it_is_composed():
    rows = pairs(
        ("p", "zażółć", "e"), ("p", "zaz\u0307o\u0301łc\u0301", "c"), ("p", "ZAŻÓŁĆ\u200b", "c"), ("p", "bad", "c")
    )
    assert texts(build(rows, True)) == [("0", "p", "zażółć", "bad")]


def test_a_row_without_another_negative_has_a_fault_or_none():
    rows = pairs(("p", "same", "e"), ("p", "same", "c"))
    (left_out,), (kept,) = build(rows, True), build(rows, False)
    assert left_out.fault == "every contradiction is also entailed" and left_out.negative is None
    assert kept.fault is None and kept.negative is None


def test_sentences_that_translation_makes_one_are_told_apart_on_their_side():
    rows = [
        TranslatedPair("0", "p", "h", "entailment", "P", "same"),
        TranslatedPair("1", "p", "g", "contradiction", "P", "same"),
        TranslatedPair("2", "p", "f", "contradiction", "P", "other"),
    ]
    assert texts(build(rows, True, "both")) == [("0", "P", "same", "other"), ("0-source", "p", "h", "g")]


def test_scores_go_with_their_sentences():
    rows = [
        ScoredPair("0", "p", "h", "entailment", "P", "H", 0.1, 0.2),
        ScoredPair("1", "p", "g", "contradiction", "P", "G", 0.1, 0.3),
    ]
    (row,) = build(rows, True)
    assert row == Row("0", Sentence("P", "p", 0.1), Sentence("H", "h", 0.2), Sentence("G", "g", 0.3))
    assert row.comet("min") == 0.1 and abs(row.comet("mean") - 0.2) < 1e-12


def test_a_side_says_which_sentences_are_taken():
    rows = [
        TranslatedPair("0", "p", "h", "entailment", "P", "H"),
        TranslatedPair("1", "p", "g", "contradiction", "P", "G"),
    ]
    target, source = ("0", "P", "H", "G"), ("0-source", "p", "h", "g")
    assert texts(build(rows, True, "target")) == [target]
    assert texts(build(rows, True, "source")) == [source]
    assert texts(build(rows, True, "both")) == [target, source]


def test_pairs_that_are_not_translated_have_one_side():
    for side in ("target", "source", "both"):
        assert texts(build(pairs(("p", "h", "e")), False, side)) == [("0", "p", "h", None)]


def test_originals_have_no_score():
    row = build([ScoredPair("0", "p", "h", "entailment", "P", "H", 0.1, 0.2)], False, "source")[0]
    assert row.comet("min") is None and row.anchor.source is None
