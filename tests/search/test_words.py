"""Words of any script: one text in two spellings has the same words, and a word is found within its sentence."""

import json
import re
import unicodedata

import pytest

from nlift.data.sources import EMBEDDED
from nlift.search.analyzers import Analyzer
from nlift.search.bm25 import BM25Index
from nlift.search.words import words


def test_words_are_lower_case_letters_and_digits():
    assert words("Łódź, 2024: PÓŁ-litra_x") == ["łódź", "2024", "pół", "litra_x"]


SAME = {
    "decomposed Polish": ("zażółć gęślą JAŹŃ", unicodedata.normalize("NFD", "zażółć gęślą JAŹŃ")),
    "decomposed Vietnamese": ("Tiếng Việt", unicodedata.normalize("NFD", "Tiếng Việt")),
    "decomposed Greek": ("ΐ Ελλάδα", unicodedata.normalize("NFD", "ΐ Ελλάδα")),
    "decomposed Korean": ("한국어 문장", unicodedata.normalize("NFD", "한국어 문장")),
    "decomposed kana": ("ガギグ", unicodedata.normalize("NFD", "ガギグ")),
    "German sharp s": ("STRASSE", "Straße"),
    "Greek final sigma": ("ΟΔΟΣ", "οδος"),
    "a Turkish capital with a dot": ("İSTANBUL", "istanbul"),
    "a Turkish capital without a dot": ("KIZ", "kız"),
    "full-width letters and digits": ("ＡＢＣ１２３", "abc123"),
    "half-width katakana": ("ｶﾞｷﾞ", "ガギ"),
    "a ligature": ("ﬁnał", "finał"),
    "a soft hyphen": ("rekon\u00adstrukcja", "rekonstrukcja"),
    "joiners": ("می\u200cخواهم क्\u200dष", "میخواهم क्ष"),
    "a byte order mark": ("\ufeffpies i ko\ufefft", "pies i kot"),
    "a mark of direction": ("pies\u200f kot", "pies kot"),
    "a word joiner": ("pod\u2060czas", "podczas"),
    "a variation selector": ("葛\U000e0100城", "葛城"),
    "Hebrew points": ("שָׁלוֹם", "שלום"),
    "Arabic vowels and a stretched letter": ("كِتَـــاب", "كتاب"),
    "a Russian stress mark": ("за\u0301мок", "замок"),
}


@pytest.mark.parametrize("case", SAME)
def test_two_spellings_of_a_text_have_the_same_words(case):
    spelling, other = SAME[case]
    assert words(spelling) == words(other) != []


def test_superscripts_and_fractions_stay_apart_from_the_digits_before_them():
    assert words("10² km² 1½ H₂O Windows™ café") == ["10²", "km²", "1½", "h₂o", "windows", "café"]


def test_dotless_i_is_a_letter_of_its_own_where_it_is_wanted():
    for text in ("ISI İSİ ısı isi", unicodedata.normalize("NFD", "ISI İSİ ısı isi")):
        assert words(text, dotless=True) == ["ısı", "isi", "ısı", "isi"]
        assert words(text) == ["isi"] * 4
    assert words("Ｉ ﬁ 10² Żółw ΟΔΟΣ", dotless=True) == ["ı", "fi", "10²", "żółw", "οδοσ"]
    assert words("Iı") == words("Iı", dotless=False) == ["ii"] != words("Iı", dotless=True)


@pytest.mark.parametrize(
    "case", sorted(set(SAME) - {"a Turkish capital with a dot", "a Turkish capital without a dot"})
)
def test_two_spellings_of_a_text_have_the_same_words_in_turkish(case):
    spelling, other = SAME[case]
    assert words(spelling, dotless=True) == words(other, dotless=True) != []


@pytest.mark.parametrize("word", ["हिन्दी", "தமிழ்", "বাংলা", "മലയാളം", "සිංහල", "नमस्ते", "ትግርኛ", "한국어"])
def test_a_word_is_not_cut_at_its_signs(word):
    assert words(f"x {word} x") == ["x", word, "x"]


def test_a_zero_width_space_parts_words():
    assert words("pies\u200bkot") == ["pies", "kot"]


@pytest.mark.parametrize(
    ("sentence", "word", "other"),
    [
        ("我喜欢在北京吃烤鸭", "北京", "上海"),
        ("我喜欢在北京吃烤鸭", "鸭", "海"),
        ("東京タワーへ行きました", "タワー", "カフェ"),
        ("東京タワーへ行きました", "行き", "来る"),
        ("ฉันชอบกินข้าวผัดที่กรุงเทพ", "ข้าวผัด", "ยุโรป"),
        ("ຂ້ອຍຢູ່ວຽງຈັນ", "ວຽງຈັນ", "ນົກ"),
        ("ខ្ញុំរស់នៅភ្នំពេញ", "ភ្នំពេញ", "ឆ្មា"),
        ("ကျွန်တော်ရန်ကုန်မှာနေတယ်", "ရန်ကုန်", "ဆေး"),
    ],
)
def test_a_word_is_found_within_a_sentence_without_spaces(sentence, word, other):
    index = BM25Index.build([sentence, "a text of something else"], Analyzer())
    assert index.scores(word)[0] > 0 == index.scores(word)[1]
    assert not index.scores(other).any()


def test_neighbours_count_more_than_the_same_characters_apart():
    together, apart = BM25Index.build(["他住在北京", "京都在北边"], Analyzer()).scores("北京")
    assert together > apart > 0


def test_digits_and_letters_within_a_stretch_are_words_of_their_own():
    assert words("我有3个iPhone手机") == ["我", "有", "我有", "3", "个", "iphone", "手", "机", "手机"]
    assert words("ปี๒๕๖๗นี้") == ["ปี", "๒๕๖๗", "นี้"]
    assert words("한국어漢字") == ["한국어", "漢", "字", "漢字"]


@pytest.mark.parametrize("text", ["", "\u0301\u0301", "\u00ad\ufeff", "\x00", "、。", "👍🏽", "\ud83d", "\u0e34"])
def test_a_text_without_words(text):
    assert words(text) == []


@pytest.mark.parametrize("name", ["poquad_pl", "osm_places_pl"])
def test_words_of_polish_texts_are_runs_of_letters_and_digits(name):
    lines = (EMBEDDED / "data" / name / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
    texts = [json.loads(line)["text"] for line in lines[:1500]]
    assert len(texts) > 100
    for text in filter(_is_polish, texts):
        assert words(text) == re.findall(r"\w+", text.lower())


def _is_polish(text):
    return not set(text) & set("ßıĳµ") and all("LATIN" in unicodedata.name(each, "") for each in text if each.isalpha())
