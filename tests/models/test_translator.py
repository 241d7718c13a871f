"""The translator on the embedded M2M100; no Ray."""

import pytest
from transformers import AutoTokenizer

from nlift.data import sources
from nlift.errors import ConfigError, ModelError
from nlift.models.language_codes import language_codes
from nlift.models.translator import Translator, cache, identity
from nlift.settings import TranslateConfig

TEXTS = [
    "A dog runs.",
    "Two women are embracing while holding to go packages in front of a large building.",
    "",
    "A man is reading a book.",
]


@pytest.fixture(scope="module")
def translator():
    return Translator(TranslateConfig(num_beams=2, max_new_tokens=24))


def test_order_does_not_depend_on_length(translator):
    alone = [translator.translate([text])[0] for text in TEXTS]
    assert translator.translate(TEXTS) == alone
    assert translator.translate(TEXTS[::-1]) == alone[::-1]


def test_language_tokens_are_not_in_the_translation(translator):
    assert not any("__" in target for target in translator.translate(TEXTS))


def test_the_token_budget_does_not_change_results(translator):
    small = Translator(TranslateConfig(num_beams=2, max_new_tokens=24, batch_tokens=1))
    assert small.translate(TEXTS) == translator.translate(TEXTS)


def test_the_forced_token_is_the_target_language(translator):
    assert translator.begin == translator.tokenizer.get_lang_id("pl")
    german = Translator(TranslateConfig(model=str(sources.EMBEDDED / "translator"), target_language="de"))
    assert german.begin == german.tokenizer.get_lang_id("de")


def test_language_codes_of_m2m100():
    codes = language_codes(AutoTokenizer.from_pretrained(sources.model_source("embedded", "translator")))
    assert len(codes) == 100 and {"en", "pl"} <= set(codes)


def test_an_unknown_language():
    with pytest.raises(ConfigError, match=r"translate.target_language: embedded does not know 'xx'"):
        Translator(TranslateConfig(target_language="xx"))


def test_a_model_that_is_no_translator():
    with pytest.raises(ModelError, match="cannot be loaded as a translator"):
        Translator(TranslateConfig(model=sources.model_source("embedded", "encoder")))


def test_a_model_that_is_not_there():
    with pytest.raises(ModelError, match="no such folder"):
        Translator(TranslateConfig(model="./nothing/here"))


def test_the_identity_holds_what_changes_results_and_nothing_else(tmp_path):
    base = identity(TranslateConfig())
    assert identity(TranslateConfig(batch_tokens=7, shard_size=9, num_actors=3)) == base
    changes = [{"num_beams": 1}, {"target_language": "de"}, {"max_new_tokens": 5}, {"revision": "x"}]
    for change in [*changes, {"length_penalty": 2}]:
        assert identity(TranslateConfig(**change)) != base
    folders = [cache(TranslateConfig(num_actors=count), str(tmp_path)).folder for count in (1, 2)]
    assert folders[0] == folders[1] and folders[0].startswith(f"{tmp_path}/translations/")
