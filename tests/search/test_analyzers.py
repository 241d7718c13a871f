"""Analyzers: inflections of a word meet under its stem, in any script, and what there is none of is refused."""

import unicodedata
from functools import cache
from importlib import metadata

import pytest
import Stemmer
from hypothesis import given, settings
from hypothesis import strategies as st

from nlift.errors import ConfigError
from nlift.search.analyzers import DOTLESS, SNOWBALL, UNSPACED, Analyzer, analyzer_named, analyzers_of
from nlift.search.bm25 import BM25Index
from nlift.search.words import words

INFLECTIONS = {
    "ar": ["كتاب", "الكتاب", "كِتَـــاب"],
    "cs": ["město", "města", "městem"],
    "de": ["Haus", "Hauses", "Häuser"],
    "el": ["δρόμος", "δρόμου", "ΔΡΌΜΟΣ"],
    "en": ["connection", "connected", "CONNECTING"],
    "hi": ["लड़का", "लड़के", "लड़कों", "लड़कियाँ"],
    "pl": ["książka", "książki", "KSIĄŻKAMI"],
    "ru": ["книга", "книги", "книгами"],
    "tr": ["kız", "KIZLAR", "kızlar"],
}


@pytest.mark.parametrize("language", INFLECTIONS)
def test_inflections_meet_under_stem_and_are_apart_without(language):
    texts = INFLECTIONS[language]
    stems = {tuple(Analyzer("stem", language)(text)) for text in texts}
    assert len(stems) == 1 and len(stems.pop()) == 1
    assert len({tuple(Analyzer("none", language)(text)) for text in texts}) > 1


def test_polish_stems():
    stem = Analyzer("stem", "pl")
    assert stem("W Warszawie, kotami! Warszawy kotów") == ["w", "warszaw", "kot", "warszaw", "kot"]
    assert stem("pies psy psem") == ["pies", "ps", "psem"]  # what Snowball cannot do


def test_german_sharp_s_and_umlauts():
    stem = Analyzer("stem", "de")
    assert stem("STRASSEN") == stem("Straße") == ["strass"]
    assert stem("schönes") == stem("schön") != stem("schien")


def test_other_words_stay_apart():
    pairs = [("pl", "kot", "koszt"), ("en", "cat", "car"), ("hi", "लड़का", "किताब"), ("tr", "kitap", "kız")]
    for language, word, other in pairs:
        assert Analyzer("stem", language)(word) != Analyzer("stem", language)(other)


def test_a_word_of_devanagari_keeps_its_signs():
    assert Analyzer("none", "hi")("हिन्दी पुस्तक") == ["हिन्दी", "पुस्तक"]
    assert Analyzer("stem", "hi")("हिन्दी पुस्तकें") == ["हिन्द", "पुस्तक"]


@pytest.mark.parametrize("name", ["stem", "none"])
def test_turkish_has_two_letters_i(name):
    turkish = Analyzer(name, "tr")
    assert turkish("İSTANBUL") == turkish("istanbul") == turkish("I\u0307stanbul") == ["istanbul"]
    assert turkish("ISPARTA") == turkish("ısparta") == turkish("Isparta")
    assert turkish("ISPARTA") != turkish("isparta") and turkish("ISTANBUL") != turkish("istanbul")


@pytest.mark.parametrize("language", ["en", "pl", None])
def test_elsewhere_all_letters_i_are_one(language):
    plain = Analyzer("none", language)
    assert {*map(tuple, map(plain, ["KIZ", "kız", "KİZ", "kiz"]))} == {("kiz",)}


def test_azerbaijani_has_two_letters_i_and_no_stems():
    assert analyzers_of("az") == [Analyzer("none", "az")]
    assert Analyzer("none", "az")("QIZ qız QİZ qiz") == ["qız", "qız", "qiz", "qiz"]


@pytest.mark.parametrize(
    ("language", "sentence", "word", "other"),
    [
        ("th", "ฉันชอบกินข้าวผัดที่กรุงเทพ", "ข้าวผัด", "ยุโรป"),
        ("zh", "我喜欢在北京吃烤鸭", "北京", "上海"),
        ("zh", "我喜欢在北京吃烤鸭", "烤鸭", "海"),
        ("ja", "東京タワーへ行きました", "タワー", "カフェ"),
        ("ja", "東京タワーへ行きました", "東京", "大阪"),
        ("km", "ខ្ញុំរស់នៅភ្នំពេញ", "ភ្នំពេញ", "ឆ្មា"),
        ("lo", "ຂ້ອຍຢູ່ວຽງຈັນ", "ວຽງຈັນ", "ນົກ"),
        ("my", "ကျွန်တော်ရန်ကုန်မှာနေတယ်", "ရန်ကုန်", "ဆေး"),
    ],
)
def test_a_word_is_found_within_a_sentence_without_spaces(language, sentence, word, other):
    index = BM25Index.build([sentence, "a text of something else"], analyzer_named("bigrams", language))
    assert index.scores(word)[0] > 0 == index.scores(word)[1]
    assert not index.scores(other).any()


def test_mixed_scripts_under_stem():
    tokens = Analyzer("stem", "pl")("Książki o 北京烤鸭, в Москве 2024")
    assert tokens == ["książk", "o", "北", "京", "烤", "鸭", "北京", "京烤", "烤鸭", "в", "москве", "2024"]
    index = BM25Index.build(["Książki o 北京烤鸭", "książki"], Analyzer("stem", "pl"))
    assert index.scores("烤鸭")[0] > 0 == index.scores("烤鸭")[1] and index.scores("książką").all()


@pytest.mark.parametrize("language", ["pl", "de", "fr", "tr", "el", "ru", "hi", None])
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_composed_and_decomposed_text_have_the_same_words(language, form):
    text = "Zażółć gęślą JAŹŃ; Häuser schönes; élève déjà; İstanbul IĞDIR ışık; ΐ Ελλάδα; чёрный йод; क़लम लड़कों"
    for analyzer in analyzers_of(language):
        assert analyzer(unicodedata.normalize(form, text)) == analyzer(text) != []


@pytest.mark.parametrize(
    ("language", "names"),
    [
        ("pl", ["stem", "none"]),
        ("en", ["stem", "none"]),
        ("uk", ["none"]),
        (None, ["none"]),
        ("zh", ["bigrams"]),
        ("th", ["bigrams"]),
    ],
)
def test_analyzers_of_a_language(language, names):
    assert analyzers_of(language) == [Analyzer(name, language) for name in names]
    assert [analyzer_named(name, language) for name in names] == analyzers_of(language)


@pytest.mark.parametrize("language", SNOWBALL)
def test_every_stemmer_is_there(language):
    analyzer = analyzer_named("stem", language)
    assert analyzer("2024") == ["2024"] and len(analyzer("information")) == 1


@pytest.mark.parametrize("language", [*SNOWBALL, *UNSPACED, *DOTLESS])
def test_every_language_that_is_named_is_one(language):
    assert analyzer_named("none", language) == Analyzer("none", language)


@pytest.mark.parametrize(
    ("name", "language", "known"),
    [
        ("none", "xx", ["'xx'", "ISO 639-1", " de, ", " pl, ", " zu"]),
        ("none", "pol", ["'pol'", "ISO 639-1"]),
        ("none", "", ["unknown language ''"]),
        ("stem", "xx", ["unknown language 'xx'"]),
        ("lemma", "pl", ["'lemma'", "stem, none, bigrams"]),
        ("lemma", "xx", ["unknown language 'xx'"]),
        ("stem", "uk", ["stem has no uk", "ar, ca, cs, ", "tr, yi", "none has all"]),
        ("stem", None, ["stem has no language", "pl, "]),
        ("bigrams", "pl", ["bigrams has no pl", "ja, km, lo, my, th, zh", "none has all"]),
        ("bigrams", None, ["bigrams has no language"]),
    ],
)
def test_an_analyzer_that_is_none_is_refused_with_what_is_known(name, language, known):
    with pytest.raises(ConfigError) as caught:
        analyzer_named(name, language)
    message = str(caught.value)
    assert message.isprintable() and all(part in message for part in known), message


def test_the_version_names_the_stemmer_where_there_is_one():
    stemmer = f"PyStemmer {metadata.version('PyStemmer')}"
    assert stemmer in Analyzer("stem", "pl").version
    assert Analyzer("none", "pl").version == Analyzer("bigrams", "zh").version
    assert Analyzer("stem", "pl").version == f"{Analyzer('none', 'pl').version}, {stemmer}"


def test_an_analyzer_s_name_for_people():
    assert [str(each) for each in (Analyzer("stem", "pl"), Analyzer())] == ["stem (pl)", "none"]


def test_a_stem_of_nothing_is_dropped():
    assert words("छ नेपाल") == ["छ", "नेपाल"]
    assert Analyzer("stem", "ne")("छ नेपाल") == Analyzer("stem", "ne")("नेपाल") == ["नेपाल"]
    index = BM25Index.build(["छ", "नेपाल"], Analyzer("stem", "ne"))
    assert index.scores("छ").tolist() == [0, 0] and index.scores("नेपाल")[1] > 0


ANALYZERS = [
    *map(analyzer_named, ["stem"] * len(SNOWBALL), SNOWBALL),
    Analyzer("bigrams", "ja"),
    Analyzer("none", "az"),
]
ANY_TEXT = st.text(
    st.one_of(st.characters(exclude_categories=()), st.sampled_from("aIiİıßσς\u0301\u200d北京ク्क़छเ ิ½²'ـ"))
)


@settings(max_examples=300, deadline=None, print_blob=True)
@given(text=ANY_TEXT, analyzer=st.sampled_from(ANALYZERS))
def test_any_text_has_words_and_always_the_same(text, analyzer):
    tokens = analyzer(text)
    assert tokens == analyzer(text) == Analyzer(analyzer.name, analyzer.language)(text)
    assert all(tokens) and not any(word.isspace() for word in tokens)
    plain = words(text, dotless=analyzer.language in DOTLESS)
    assert tokens == (list(filter(None, map(stemmer(analyzer.language), plain))) if analyzer.name == "stem" else plain)


@cache
def stemmer(language):
    """Stems of words by themselves: a stemmer without a memory of other words."""
    return Stemmer.Stemmer(SNOWBALL[language], 0).stemWord
