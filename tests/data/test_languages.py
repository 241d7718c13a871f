"""Languages and scripts of texts."""

import pytest

from nlift.data.languages import described, recognised, scripts
from nlift.errors import ConfigError

POLISH = ["Kobieta idzie przez park z małym psem.", "Dwóch mężczyzn naprawia dach starego domu."]


def test_a_text_between_two_languages():
    assert recognised(POLISH[0], ("en", "pl")) == "pl"
    assert recognised("A woman is walking through the park with a small dog.", ("en", "pl")) == "en"
    assert recognised("2024", ("en", "pl")) is None


def test_a_language_that_cannot_be_recognised():
    with pytest.raises(ConfigError, match="cannot recognise xx"):
        recognised("a", ("en", "xx"))


@pytest.mark.parametrize(
    ("texts", "names"),
    [
        (POLISH, ["Latin"]),
        (["Привет, мир", "hello"], ["Cyrillic", "Latin"]),
        (["我喜欢在北京吃烤鸭"], ["Han"]),
        (["สวัสดี"], ["Thai"]),
        (["Ελλάδα"], ["Greek"]),
        (["1, 2, 3!"], []),
    ],
)
def test_scripts(texts, names):
    assert scripts(texts) == names


def test_texts_in_a_few_words():
    assert described(POLISH) == "pl 100 %, Latin"
    assert described([" ", ""]) == "no text"
    assert described(POLISH * 1000 + ["x"]) == "pl 100 %, Latin"
