"""The filters: COMET, and signs of a failed translation."""

import pytest

from nlift.data.filters import is_copy, judged, repeats
from nlift.data.pairing import Row, Sentence
from nlift.errors import ConfigError
from nlift.settings import FilterConfig

PAIR = ("en", "pl")


def scored(*scores):
    """Rows that differ in their scores alone; None is no negative."""
    sentences = [[None if score is None else Sentence("x", "y", score) for score in row] for row in scores]
    return [Row(str(i), *row) for i, row in enumerate(sentences)]


ROWS = scored((0.9, 0.1, 0.9), (0.4, 0.5, 0.6), (0.3, 0.3, None), (0.4, 0.4, 0.4))


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({}, "0123"),
        ({"min_score": 0.3}, "123"),
        ({"min_score": 0.35}, "13"),
        ({"min_score": 0.45, "over": "mean"}, "01"),
        ({"min_score": 2}, ""),
    ],
)
def test_rows_below_a_score_are_dropped(settings, kept):
    results = list(judged(ROWS, FilterConfig(**settings)))
    assert [row for row, _ in results] == ROWS
    assert "".join(row.pair_id for row, reason in results if reason is None) == kept
    assert {reason for _, reason in results} <= {None, f"COMET below {settings.get('min_score', 0):g}"}


def row(target, source="A man is riding a bicycle."):
    good = Sentence("Kobieta czyta książkę.", "A woman reads a book.", 0.5)
    return Row("0", good, Sentence(target, source, 0.5), None)


@pytest.mark.parametrize(
    ("settings", "target", "reason"),
    [
        ({"untranslated": True}, "A man is riding a bicycle.", "positive: untranslated"),
        ({"untranslated": True}, "A man is riding a rower.", "positive: untranslated"),
        ({"untranslated": True}, "Mężczyzna jedzie na rowerze.", None),
        ({"length_ratio": (0.5, 2)}, "Tak.", "positive: length ratio"),
        ({"length_ratio": (0.5, 2)}, "Mężczyzna " * 8, "positive: length ratio"),
        ({"length_ratio": (0.5, 2)}, "Mężczyzna jedzie na rowerze.", None),
        ({"max_repeats": 2}, "na rowerze na rowerze na rowerze", "positive: repeated phrase"),
        ({"max_repeats": 2}, "bardzo, bardzo na rowerze", None),
        ({"language": True}, "The man is on the bicycle.", "positive: wrong language"),
        ({"language": True}, "Mężczyzna jedzie na rowerze.", None),
        ({"language": True}, "Pies.", None),  # too short to tell
    ],
)
def test_signs_of_a_failed_translation(settings, target, reason):
    assert list(judged([row(target)], FilterConfig(**settings), PAIR)) == [(row(target), reason)]


def test_sentences_that_were_not_translated_are_no_failed_translations():
    config = FilterConfig(untranslated=True, language=True, length_ratio=(0.9, 1.1), max_repeats=1)
    rows = [Row("0", Sentence("The man, the man"), Sentence("The man is on the bicycle."), None)]
    assert list(judged(rows, config, PAIR)) == [(rows[0], None)]


def test_nothing_is_looked_for_unless_it_is_asked_for():
    assert [reason for _, reason in judged([row("A man is riding a bicycle.")], FilterConfig(), PAIR)] == [None]


def test_a_language_that_is_not_known():
    with pytest.raises(ConfigError, match="cannot recognise tlh"):
        list(judged([row("x")], FilterConfig(language=True), ("en", "tlh")))


def test_repeats_counts_copies_in_a_row():
    cases = {"": 1, "a": 1, "a b c": 1, "to to": 2, "a b a b a b": 3, "x a b c a b c": 2, "je je a je je je je": 4}
    assert {text: repeats(text) for text in cases} == cases


def test_a_copy_shares_its_words():
    assert is_copy(Sentence("Tom", "Tom")) and is_copy(Sentence("tom is here ok", "Tom is here ok"))
    assert not is_copy(Sentence("Tom jest tutaj, ok", "Tom is here ok"))
