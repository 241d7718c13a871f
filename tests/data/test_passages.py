"""A text's sentences, a document's parts, and what training leaves out."""

import pytest

from nlift.data.passages import is_left_out, parts, sentences
from nlift.data.schema import Document


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One.  Two?\nThree", ["One.", "Two?", "Three"]),
        ("He left (in May.) She stayed.", ["He left (in May.)", "She stayed."]),
        ("„Idę.” Poszedł.", ["„Idę.”", "Poszedł."]),
        ("Zm. w maju, m.in. na raka. Żył długo.", ["Zm. w maju, m.in. na raka.", "Żył długo."]),
        ("Pi is 3.14 or so", ["Pi is 3.14 or so"]),
        ("a line\nthat goes on\n\nAnother", ["a line that goes on", "Another"]),
        ("我来了。你走了。", ["我来了。", "你走了。"]),
        ("नमस्ते। आप कैसे हैं?", ["नमस्ते।", "आप कैसे हैं?"]),
        (" \n ", []),
    ],
)
def test_sentences_end_at_punctuation_and_lines(text, expected):
    assert sentences(text) == expected


def test_parts_are_the_title_and_the_sentences():
    assert parts(Document("1", " Kot ", "Śpi. Je.", "{}")) == ["Kot", "Śpi.", "Je."]
    assert parts(Document("1", "", "", "{}")) == []


def test_what_is_left_out_follows_from_title_and_text_alone():
    documents = [Document(str(i), f"Tytuł {i}", "Tekst.", "{}") for i in range(300)]
    again = [Document(f"x{i}", f"Tytuł {i}", "Tekst.", '{"a": 1}') for i in range(300)]
    verdicts = [is_left_out(document) for document in documents]
    assert verdicts == [is_left_out(document) for document in again] and 10 < sum(verdicts) < 50
