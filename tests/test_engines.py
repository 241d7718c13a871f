"""Both engines on small real checkpoints of every architecture; no Ray."""

import json
from itertools import pairwise

import pytest
import sentencepiece
import torch

from nlift import engines
from nlift.errors import ConfigError, ModelError
from nlift.sections import TranslateConfig
from nlift.translate import Translator, clean, language_codes

TEXTS = ["A woman sees a red ball.", "The small dog wants to find the map near the river in the park.", "An old man."]
SIZE = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 64,
    "dropout": 0.0,
}
TARGET = {"mbart50": "pl_PL", "m2m100": "pl", "nllb": "pol_Latn", "marian": None}


@pytest.fixture(scope="session")
def pieces(tmp_path_factory, sentences):
    """A SentencePiece model of the tests' sentences."""
    path = tmp_path_factory.mktemp("pieces") / "sentencepiece.bpe"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences), model_prefix=str(path), vocab_size=60, hard_vocab_limit=False, minloglevel=2
    )
    return path.with_suffix(".bpe.model")


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory, pieces):
    """Folder of a small random checkpoint by architecture, as `save_pretrained` writes it."""
    torch.manual_seed(3)
    return {kind: BUILD[kind](tmp_path_factory.mktemp(kind), pieces) for kind in TARGET}


def mbart50(folder, pieces):
    from transformers import MBart50Tokenizer, MBartConfig, MBartForConditionalGeneration

    tokenizer = MBart50Tokenizer(str(pieces), src_lang="en_XX", tgt_lang="pl_PL", bos_token="<s>")
    published = {
        "tokenizer_class": "MBart50Tokenizer",
        "normalize_before": True,
        "normalize_embedding": True,
        "add_final_layer_norm": True,
        "scale_embedding": True,
    }
    config = MBartConfig(vocab_size=len(tokenizer), decoder_start_token_id=2, **published, **SIZE)
    return saved(folder, MBartForConditionalGeneration(config), tokenizer)


def m2m100(folder, pieces):
    from transformers import M2M100Config, M2M100ForConditionalGeneration, M2M100Tokenizer

    tokenizer = M2M100Tokenizer(str(vocabulary(folder, pieces)), str(pieces), src_lang="en", tgt_lang="pl")
    languages = list(tokenizer.lang_code_to_token.values())  # special in the published tokenizers
    tokenizer = M2M100Tokenizer(
        tokenizer.vocab_file, str(pieces), src_lang="en", tgt_lang="pl", additional_special_tokens=languages
    )
    size = max(tokenizer.lang_token_to_id.values()) + 1 + tokenizer.num_madeup_words
    return saved(folder, M2M100ForConditionalGeneration(M2M100Config(vocab_size=size, **SIZE)), tokenizer)


def nllb(folder, pieces):
    from transformers import M2M100Config, M2M100ForConditionalGeneration, NllbTokenizer

    tokenizer = NllbTokenizer(str(pieces), src_lang="eng_Latn", tgt_lang="pol_Latn")
    return saved(folder, M2M100ForConditionalGeneration(M2M100Config(vocab_size=len(tokenizer), **SIZE)), tokenizer)


def marian(folder, pieces):
    from transformers import MarianConfig, MarianMTModel, MarianTokenizer

    tokenizer = MarianTokenizer(str(pieces), str(pieces), str(vocabulary(folder, pieces, "</s>", "<unk>", "<pad>")))
    config = MarianConfig(
        vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, decoder_start_token_id=tokenizer.pad_token_id, **SIZE
    )
    model = MarianMTModel(config)
    model.generation_config.bad_words_ids = [[tokenizer.pad_token_id]]  # as published models have it
    return saved(folder, model, tokenizer)


BUILD = {"mbart50": mbart50, "m2m100": m2m100, "nllb": nllb, "marian": marian}


def vocabulary(folder, pieces, *first):
    """vocab.json: special tokens, then the pieces."""
    model = sentencepiece.SentencePieceProcessor(model_file=str(pieces))
    special = list(first) or ["<s>", "<pad>", "</s>", "<unk>"]
    rest = [model.id_to_piece(i) for i in range(len(model)) if model.id_to_piece(i) not in ("<s>", "</s>", "<unk>")]
    order = [*special, *rest] if not first else ["</s>", "<unk>", *rest, "<pad>"]
    path = folder / "made" / "vocab.json"
    path.parent.mkdir()
    path.write_text(json.dumps({piece: i for i, piece in enumerate(order)}))
    return path


def saved(folder, model, tokenizer):
    with torch.no_grad():
        for weights in model.parameters():
            weights.add_(0.15 * torch.randn_like(weights))  # random logits of the usual width are all but equal
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def translator(folder, **settings):
    """A model that may stop at any length: with random weights most translations never end."""
    kind = {"source_language": "eng_Latn", "target_language": "pol_Latn"} if "nllb" in str(folder) else {}
    return Translator(TranslateConfig(model=str(folder), **{"max_new_tokens": 12, "num_beams": 2, **kind, **settings}))


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """Conversions of tests stay out of the user's cache."""
    folder = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder / "nlift" / "ctranslate2"


def rows_of(one):
    return one.tokenizer(TEXTS)["input_ids"]


@pytest.mark.parametrize("kind", TARGET)
@pytest.mark.parametrize("engine", ["transformers", "ctranslate2"])
def test_a_translation_begins_in_the_target_language(checkpoints, kind, engine):
    one = translator(checkpoints[kind], engine=engine)
    targets = one.engine.generate(rows_of(one), one.begin)
    code = TARGET[kind]
    if code is None:
        assert one.begin is None
    else:
        assert one.begin == language_codes(one.tokenizer)[code]
        assert {row[0] for row in targets} == {one.begin}


@pytest.mark.parametrize("kind", ["mbart50", "nllb"])
def test_a_source_carries_the_source_language(checkpoints, kind):
    one = translator(checkpoints[kind])
    code = {"mbart50": "en_XX", "nllb": "eng_Latn"}[kind]
    assert all(language_codes(one.tokenizer)[code] in row for row in rows_of(one))


@pytest.mark.parametrize("kind", TARGET)
def test_both_engines_translate_alike_in_float32(checkpoints, kind):
    theirs = translator(checkpoints[kind], compute_type="float32", num_beams=1)
    ours = translator(checkpoints[kind], compute_type="float32", num_beams=1, engine="ctranslate2")
    expected, found = (one.engine.generate(rows_of(one), one.begin) for one in (theirs, ours))
    special = {theirs.tokenizer.eos_token_id, theirs.tokenizer.pad_token_id}
    for one, other in zip(expected, found, strict=True):
        plain, same = ([token for token in row if token not in special] for row in (one, other))
        shortest = min(len(plain), len(same))  # the two may count the start token under the limit, or not
        assert plain[:shortest] == same[:shortest] and abs(len(plain) - len(same)) <= 1 and shortest > 0


@pytest.mark.parametrize("kind", TARGET)
@pytest.mark.parametrize("num_beams", [1, 4])
def test_our_search_finds_the_translations_of_generate(checkpoints, kind, num_beams, monkeypatch):
    one = translator(checkpoints[kind], num_beams=num_beams)
    end = one.tokenizer.eos_token_id
    found = [row[: row.index(end)] if end in row else row for row in one.engine.generate(rows_of(one), one.begin)]
    monkeypatch.setattr(engines.beam, "search", None)  # generate's own
    expected = [row[: row.index(end)] if end in row else row for row in one.engine.generate(rows_of(one), one.begin)]
    assert found == expected


@pytest.mark.parametrize("engine", ["transformers", "ctranslate2"])
def test_alone_or_in_a_batch(checkpoints, engine):
    one = translator(checkpoints["m2m100"], engine=engine)
    together = one.engine.generate(rows_of(one), one.begin)
    alone = [one.engine.generate([row], one.begin)[0] for row in rows_of(one)]
    end = one.tokenizer.eos_token_id

    def until_end(row):
        return row[: row.index(end)] if end in row else row

    assert [until_end(row) for row in together] == [until_end(row) for row in alone]


@pytest.mark.parametrize("engine", ["transformers", "ctranslate2"])
def test_length_penalty_makes_longer_translations(engine):
    settings = {"engine": engine, "compute_type": "float32", "max_new_tokens": 48}
    lengths = []
    for penalty in (0.0, 1.0, 3.0):
        one = Translator(TranslateConfig(length_penalty=penalty, **settings))
        lengths.append(sum(len(row) for row in one.engine.generate(rows_of(one), one.begin)))
    assert lengths == sorted(lengths) and lengths[0] < lengths[-1]


@pytest.mark.parametrize("engine", ["transformers", "ctranslate2"])
def test_no_sequence_of_tokens_stands_twice(engine):
    def repeats(size):
        one = Translator(TranslateConfig(engine=engine, compute_type="float32", no_repeat_ngram_size=size))
        targets = one.engine.generate([one.tokenizer("very " * 12).input_ids], one.begin)[0]
        pairs = list(pairwise(targets[1 : targets.index(one.tokenizer.eos_token_id)]))
        return len(pairs) - len(set(pairs))

    assert repeats(0) > 0 == repeats(2)


def test_a_conversion_is_made_once(checkpoints, cache):
    folders = [engines.converted(str(checkpoints["m2m100"]), "translator", None, "int8")]
    before = folders[0].stat().st_mtime_ns
    folders.append(engines.converted(str(checkpoints["m2m100"]), "translator", None, "int8"))
    assert folders[0] == folders[1] and folders[0].stat().st_mtime_ns == before
    assert not list(cache.glob(".*.tmp"))


def test_a_model_that_cannot_be_converted(bert, cache):
    with pytest.raises(ModelError, match="cannot be loaded as a translator by ctranslate2"):
        Translator(TranslateConfig(model=str(bert), engine="ctranslate2"))
    assert not list(cache.glob(".*.tmp"))


@pytest.mark.parametrize("engine", ["transformers", "ctranslate2"])
def test_bad_texts_have_a_fault_and_good_ones_beside_them_none(engine):
    one = Translator(TranslateConfig(engine=engine, max_new_tokens=48, num_beams=2))
    texts = [
        "",
        "A dog runs.",
        " \t\x00\x07 ",
        "word " * 20_000,
        "A dog runs. \U0001f415",
        "\x00A dog\x1b runs.",
        "A dog runs. " * 3,
    ]
    found = one.attempt(texts)
    assert [fault is None for _, fault in found] == [False, True, False, False, True, True, True]
    assert found[0][1] == found[2][1] == "nothing to translate"
    assert "the model takes 256" in found[3][1]
    assert found[5] == found[1]  # control characters do not count


@pytest.mark.parametrize("engine", ["transformers", "ctranslate2"])
def test_a_translation_that_does_not_end_is_a_fault(engine):
    one = Translator(TranslateConfig(engine=engine, max_new_tokens=3, num_beams=1))
    assert one.attempt(["A man is riding a bicycle in the park."])[0] == (
        None,
        "the translation did not end within 3 tokens",
    )


def test_what_was_cut_off_has_not_ended():
    one = Translator(TranslateConfig(max_new_tokens=5, num_beams=2))
    one.engine.model.generation_config.forced_eos_token_id = one.tokenizer.eos_token_id  # as published mBART and Marian have it
    assert one.attempt(["A man is riding a bicycle in the park."])[0][1] == "the translation did not end within 5 tokens"


def test_a_model_that_emits_nothing_is_a_fault(checkpoints):
    one = translator(checkpoints["marian"])
    one.engine.generate = lambda rows, begin: [[one.tokenizer.eos_token_id] for _ in rows]
    assert one.attempt(["An old man."]) == [(None, "the model emitted nothing")]


def test_int8_translates_much_like_float32():
    texts = ["I have a dog.", "She reads a book.", "We went to school.", "He works in a hospital.", "I don't like milk."]
    exact = Translator(TranslateConfig(engine="ctranslate2", compute_type="float32")).translate(texts)
    quick = Translator(TranslateConfig(engine="ctranslate2", compute_type="int8")).translate(texts)
    assert sum(a == b for a, b in zip(exact, quick, strict=True)) >= 3


def test_an_unknown_language_is_named(checkpoints):
    with pytest.raises(ConfigError, match=r"translate.target_language: .* does not know 'xx'"):
        translator(checkpoints["mbart50"], target_language="xx")


class Scarce:
    """Runs batches of up to `room` padded tokens; a larger one is out of memory."""

    def __init__(self, room):
        self.room = room

    def __call__(self, rows):
        if max(map(len, rows)) * len(rows) > self.room:
            raise torch.OutOfMemoryError("out of memory")
        return True


def test_the_lowered_budget_is_said_once(checkpoints):
    one = translator(checkpoints["m2m100"], batch_tokens=128)
    scarce, generate = Scarce(80), one.engine.generate
    one.engine.generate = lambda rows, begin: scarce(rows) and generate(rows, begin)
    one.attempt(TEXTS)
    one.attempt(TEXTS)
    assert one.notices == ["translate: out of memory; batch_tokens lowered from 128 to 64"]


def test_clean_keeps_letters_and_emoji():
    assert clean(" za\u017c\u00f3\u0142\u0107\t\x00g\u0119\u015bl\u0105 \U0001f986\n") == "zażółć gęślą \U0001f986"
