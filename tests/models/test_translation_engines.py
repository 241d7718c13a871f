"""Both engines on small real checkpoints of every architecture; no Ray."""

import json
import shutil
from itertools import pairwise

import pytest
import sentencepiece
import torch
from safetensors.torch import load_file, save_file

from nlift.data.sources import EMBEDDED
from nlift.errors import ConfigError, ModelError
from nlift.models import beam_search
from nlift.models.language_codes import language_codes
from nlift.models.translator import Translator, clean
from nlift.settings import TranslateConfig

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
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        decoder_start_token_id=tokenizer.pad_token_id,
        **SIZE,
    )
    model = MarianMTModel(config)
    model.generation_config.bad_words_ids = [[tokenizer.pad_token_id]]  # as published models have it
    return saved(folder, model, tokenizer)


def many(folder, pieces, *codes):
    """A Marian of several target languages, whose vocabulary has a token for each."""
    from transformers import MarianConfig, MarianMTModel, MarianTokenizer

    path = vocabulary(folder, pieces, "</s>", "<unk>", "<pad>")
    *rest, padding = json.loads(path.read_text())
    path.write_text(json.dumps({piece: i for i, piece in enumerate([*rest, *codes, padding])}))
    tokenizer = MarianTokenizer(str(pieces), str(pieces), str(path))
    pad = tokenizer.pad_token_id
    config = MarianConfig(vocab_size=len(tokenizer), pad_token_id=pad, decoder_start_token_id=pad, **SIZE)
    return saved(folder, MarianMTModel(config), tokenizer)


def t5(folder, pieces, added=(), **settings):
    """A T5, which is told in words what to do."""
    from transformers import T5Config, T5ForConditionalGeneration, T5Tokenizer

    tokenizer = T5Tokenizer(str(pieces), extra_ids=0, legacy=False)
    tokenizer.add_tokens(list(added))
    size = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 1, "num_heads": 2, "decoder_start_token_id": 0}
    config = T5Config(vocab_size=len(tokenizer) + 8, **size, **settings)
    return saved(folder, T5ForConditionalGeneration(config), tokenizer)


BUILD = {"mbart50": mbart50, "m2m100": m2m100, "nllb": nllb, "marian": marian}


def vocabulary(folder, pieces, *first):
    """vocab.json: special tokens, then the pieces."""
    model = sentencepiece.SentencePieceProcessor(model_file=str(pieces))
    special = list(first) or ["<s>", "<pad>", "</s>", "<unk>"]
    rest = [model.id_to_piece(i) for i in range(len(model)) if model.id_to_piece(i) not in ("<s>", "</s>", "<unk>")]
    order = [*special, *rest] if not first else ["</s>", "<unk>", *rest, "<pad>"]
    path = folder / "made" / "vocab.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({piece: i for i, piece in enumerate(order)}))
    return path


def saved(folder, model, tokenizer):
    with torch.no_grad():
        for weights in model.parameters():
            weights.add_(0.15 * torch.randn_like(weights))  # random logits of the usual width are all but equal
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def load(folder, **settings):
    """A model that may stop at any length: with random weights most translations never end."""
    kind = {"source_language": "eng_Latn", "target_language": "pol_Latn"} if "nllb" in str(folder) else {}
    return Translator(TranslateConfig(model=str(folder), **{"max_new_tokens": 12, "num_beams": 2, **kind, **settings}))


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """Conversions of tests stay out of the user's cache."""
    folder = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder / "nlift" / "ctranslate2"


def rows_of(translator):
    return translator.tokenizer(TEXTS)["input_ids"]


def until(end, row):
    return row[: row.index(end)] if end in row else row


@pytest.mark.parametrize("kind", TARGET)
@pytest.mark.parametrize("engine", ["transformers", "ctranslate2"])
def test_a_translation_begins_in_the_target_language(checkpoints, kind, engine):
    translator = load(checkpoints[kind], engine=engine)
    targets = translator.engine.generate(rows_of(translator), translator.begin)
    code = TARGET[kind]
    if code is None:
        assert translator.begin is None
    else:
        assert translator.begin == language_codes(translator.tokenizer)[code]
        assert {row[0] for row in targets} == {translator.begin}


@pytest.mark.parametrize("kind", ["mbart50", "nllb"])
def test_a_source_carries_the_source_language(checkpoints, kind):
    translator = load(checkpoints[kind])
    code = {"mbart50": "en_XX", "nllb": "eng_Latn"}[kind]
    assert all(language_codes(translator.tokenizer)[code] in row for row in rows_of(translator))


@pytest.mark.parametrize("kind", TARGET)
def test_both_engines_translate_alike_in_float32(checkpoints, kind):
    theirs = load(checkpoints[kind], compute_type="float32", num_beams=1)
    ours = load(checkpoints[kind], compute_type="float32", num_beams=1, engine="ctranslate2")
    expected, targets = (model.engine.generate(rows_of(model), model.begin) for model in (theirs, ours))
    special = {theirs.tokenizer.eos_token_id, theirs.tokenizer.pad_token_id}
    for rows in zip(expected, targets, strict=True):
        plain, same = ([token for token in row if token not in special] for row in rows)
        shortest = min(len(plain), len(same))  # the two may count the start token under the limit, or not
        assert plain[:shortest] == same[:shortest] and abs(len(plain) - len(same)) <= 1 and shortest > 0


@pytest.mark.parametrize("kind", TARGET)
@pytest.mark.parametrize("num_beams", [1, 4])
def test_our_search_finds_the_translations_of_generate(checkpoints, kind, num_beams, monkeypatch):
    translator = load(checkpoints[kind], num_beams=num_beams)
    end = translator.tokenizer.eos_token_id
    targets = [until(end, row) for row in translator.engine.generate(rows_of(translator), translator.begin)]
    monkeypatch.setattr(beam_search, "search", None)  # generate's own
    assert targets == [until(end, row) for row in translator.engine.generate(rows_of(translator), translator.begin)]


@pytest.mark.parametrize("engine", ["transformers", "ctranslate2"])
def test_alone_or_in_a_batch(checkpoints, engine):
    translator = load(checkpoints["m2m100"], engine=engine)
    together = translator.engine.generate(rows_of(translator), translator.begin)
    alone = [translator.engine.generate([row], translator.begin)[0] for row in rows_of(translator)]
    end = translator.tokenizer.eos_token_id
    assert [until(end, row) for row in together] == [until(end, row) for row in alone]


@pytest.mark.parametrize("engine", ["transformers", "ctranslate2"])
def test_length_penalty_makes_longer_translations(engine):
    settings = {"engine": engine, "compute_type": "float32", "max_new_tokens": 48}
    lengths = []
    for penalty in (0.0, 1.0, 3.0):
        translator = Translator(TranslateConfig(length_penalty=penalty, **settings))
        lengths.append(sum(len(row) for row in translator.engine.generate(rows_of(translator), translator.begin)))
    assert lengths == sorted(lengths) and lengths[0] < lengths[-1]


@pytest.mark.parametrize("engine", ["transformers", "ctranslate2"])
def test_no_sequence_of_tokens_stands_twice(engine):
    def repeats(size):
        translator = Translator(TranslateConfig(engine=engine, compute_type="float32", no_repeat_ngram_size=size))
        targets = translator.engine.generate([translator.tokenizer("very " * 12).input_ids], translator.begin)[0]
        pairs = list(pairwise(targets[1 : targets.index(translator.tokenizer.eos_token_id)]))
        return len(pairs) - len(set(pairs))

    assert repeats(0) > 0 == repeats(2)


def test_a_model_that_cannot_be_converted(bert, cache):
    with pytest.raises(ModelError, match="cannot be loaded as a translator by ctranslate2"):
        Translator(TranslateConfig(model=str(bert), engine="ctranslate2"))
    assert not list(cache.glob(".*.tmp"))


@pytest.mark.parametrize("engine", ["transformers", "ctranslate2"])
def test_bad_texts_have_a_fault_and_good_ones_beside_them_none(engine):
    translator = Translator(TranslateConfig(engine=engine, max_new_tokens=48, num_beams=2))
    texts = [
        "",
        "A dog runs.",
        " \t\x00\x07 ",
        "word " * 20_000,
        "A dog runs. \U0001f415",
        "\x00A dog\x1b runs.",
        "A dog runs. " * 3,
    ]
    attempts = translator.attempt(texts)
    assert [fault is None for _, fault in attempts] == [False, True, False, False, True, True, True]
    assert attempts[0][1] == attempts[2][1] == "nothing to translate"
    assert "the model takes 256" in attempts[3][1]
    assert attempts[5] == attempts[1]  # control characters do not count


@pytest.mark.parametrize("engine", ["transformers", "ctranslate2"])
def test_a_translation_that_does_not_end_is_a_fault(engine):
    translator = Translator(TranslateConfig(engine=engine, max_new_tokens=3, num_beams=1))
    assert translator.attempt(["A man is riding a bicycle in the park."])[0] == (
        None,
        "the translation did not end within 3 tokens",
    )


def test_what_was_cut_off_has_not_ended():
    translator = Translator(TranslateConfig(max_new_tokens=5, num_beams=2))
    settings = translator.engine.model.generation_config
    settings.forced_eos_token_id = translator.tokenizer.eos_token_id  # as published mBART and Marian have it
    fault = translator.attempt(["A man is riding a bicycle in the park."])[0][1]
    assert fault == "the translation did not end within 5 tokens"


def test_a_model_that_emits_nothing_is_a_fault(checkpoints):
    translator = load(checkpoints["marian"])
    translator.engine.generate = lambda rows, begin: [[translator.tokenizer.eos_token_id] for _ in rows]
    assert translator.attempt(["An old man."]) == [(None, "the model emitted nothing")]


def test_int8_translates_much_like_float32():
    texts = [
        "I have a dog.",
        "She reads a book.",
        "We went to school.",
        "He works in a hospital.",
        "I don't like milk.",
    ]
    exact = Translator(TranslateConfig(engine="ctranslate2", compute_type="float32")).translate(texts)
    quick = Translator(TranslateConfig(engine="ctranslate2", compute_type="int8")).translate(texts)
    assert sum(a == b for a, b in zip(exact, quick, strict=True)) >= 3


def test_an_unknown_language_is_named(checkpoints):
    with pytest.raises(ConfigError, match=r"translate.target_language: .* does not know 'xx'"):
        load(checkpoints["mbart50"], target_language="xx")


SLAVIC = (">>pol<<", ">>rus<<", ">>srp_Cyrl<<", ">>srp_Latn<<", ">>zho<<", ">>cmn_Hans<<")
ENGINES = pytest.mark.parametrize("engine", ["transformers", "ctranslate2"])


@ENGINES
@pytest.mark.parametrize("wanted", ["pl", "pol", "pl_PL", "PL", "pl-PL", "pol_Latn", ">>pol<<"])
def test_a_marian_of_several_languages_reads_the_language_in_the_text(tmp_path, pieces, engine, wanted):
    folder = many(tmp_path / "many", pieces, *SLAVIC)
    translator = load(folder, engine=engine, target_language=wanted)
    seen, generate = [], translator.engine.generate
    translator.engine.generate = lambda rows, begin: seen.extend(rows) or generate(rows, begin)
    assert len(translator.attempt(TEXTS)) == 3
    assert sorted(seen) == sorted(translator.tokenizer(f">>pol<< {text}").input_ids for text in TEXTS)
    assert {row[0] for row in seen} == {translator.tokenizer.convert_tokens_to_ids(">>pol<<")}


@ENGINES
def test_a_marian_of_several_languages_names_those_that_it_knows(tmp_path, pieces, engine):
    folder = many(tmp_path / "many", pieces, *SLAVIC)
    with pytest.raises(ConfigError, match=r"does not know 'de'; it knows cmn_Hans, pol, rus, srp_Cyrl, srp_Latn, zho"):
        load(folder, engine=engine, target_language="de")
    with pytest.raises(ConfigError, match=r"has 'sr' as srp_Cyrl, srp_Latn; expected one of these"):
        load(folder, engine=engine, target_language="sr")
    assert load(folder, engine=engine, target_language="zh").prefix == ">>zho<< "


@ENGINES
@pytest.mark.parametrize("kind", TARGET)
def test_other_models_read_the_text_alone(checkpoints, kind, engine):
    translator = load(checkpoints[kind], engine=engine)
    seen = []
    translator.engine.generate = lambda rows, begin: seen.extend(rows) or [[translator.tokenizer.eos_token_id]] * 3
    translator.attempt(TEXTS)
    assert sorted(seen) == sorted(rows_of(translator))


@pytest.mark.parametrize(("kind", "code"), [("nllb", "pol_Latn"), ("mbart50", "pl_PL"), ("m2m100", "pl")])
@pytest.mark.parametrize("wanted", ["pl", "pol", "pl_PL", "pol_Latn", "PL"])
def test_a_language_by_any_of_its_names(checkpoints, kind, code, wanted):
    translator = load(checkpoints[kind], source_language="en", target_language=wanted)
    assert translator.begin == language_codes(translator.tokenizer)[code]
    assert translator.tokenizer.src_lang == {"nllb": "eng_Latn", "mbart50": "en_XX", "m2m100": "en"}[kind]


PAIRS = {
    "translation_en_to_de": {"prefix": "translate English to German: "},
    "summarization": {"prefix": "summarize: "},
}


@ENGINES
def test_a_t5_is_told_in_words(tmp_path, pieces, engine):
    folder = t5(tmp_path / "t5", pieces, task_specific_params=PAIRS)
    translator = load(folder, engine=engine, target_language="de")
    assert translator.prefix == "translate English to German: " and translator.attempt(TEXTS)
    with pytest.raises(ConfigError, match="does not know en_to_pl; it knows en_to_de"):
        load(folder, engine=engine)


def test_a_t5_of_one_pair(tmp_path, pieces):
    assert load(t5(tmp_path / "plain", pieces)).prefix == ""
    assert load(t5(tmp_path / "told", pieces, prefix="to Polish: ")).prefix == "to Polish: "


def test_a_t5_of_many_languages(tmp_path, pieces):
    folder = t5(tmp_path / "madlad", pieces, added=["<2pl>", "<2de>", "<2zh_Latn>"])
    assert load(folder, target_language="pol").prefix == "<2pl> "
    with pytest.raises(ConfigError, match="it knows de, pl, zh_Latn"):
        load(folder, target_language="cs")


def test_a_marian_of_two_vocabularies(tmp_path, checkpoints):
    folder = shutil.copytree(checkpoints["marian"], tmp_path / "two")
    shutil.copy(folder / "vocab.json", folder / "target_vocab.json")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "separate_vocabs": True}))
    assert load(folder).attempt(TEXTS)
    with pytest.raises(ModelError, match="separate_vocabs: ctranslate2 takes one vocabulary"):
        load(folder, engine="ctranslate2")


class Scarce:
    """Runs batches of up to `room` padded tokens; a larger one is out of memory."""

    def __init__(self, room):
        self.room = room

    def __call__(self, rows):
        if max(map(len, rows)) * len(rows) > self.room:
            raise torch.OutOfMemoryError("out of memory")
        return True


def test_the_lowered_budget_is_said_once(checkpoints):
    translator = load(checkpoints["m2m100"], batch_tokens=128)
    scarce, generate = Scarce(80), translator.engine.generate
    translator.engine.generate = lambda rows, begin: scarce(rows) and generate(rows, begin)
    translator.attempt(TEXTS)
    translator.attempt(TEXTS)
    assert translator.notices == ["translate: out of memory; batch_tokens lowered from 128 to 64"]


def test_clean_keeps_letters_and_emoji():
    assert clean(" za\u017c\u00f3\u0142\u0107\t\x00g\u0119\u015bl\u0105 \U0001f986\n") == "zażółć gęślą \U0001f986"


@pytest.mark.parametrize("engine", ["transformers", "ctranslate2"])
def test_weights_that_are_no_numbers_are_refused(tmp_path, monkeypatch, engine):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shutil.copytree(EMBEDDED / "translator", tmp_path / "model")
    weights = load_file(tmp_path / "model" / "model.safetensors")
    name = next(name for name in weights if name.endswith("decoder.layers.0.fc1.weight"))
    weights[name][0, 0] = float("nan")
    save_file(weights, tmp_path / "model" / "model.safetensors", metadata={"format": "pt"})
    config = TranslateConfig(model=str(tmp_path / "model"), engine=engine)
    with pytest.raises(ModelError, match=r"decoder\.layers\.0\.fc1\.weight is not finite, the checkpoint is damaged"):
        Translator(config)


@pytest.mark.parametrize("engine", ["transformers", "ctranslate2"])
def test_a_model_of_one_pair_knows_no_other_language(checkpoints, tmp_path, engine):
    folder = tmp_path / "marian"
    shutil.copytree(checkpoints["marian"], folder)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "source_lang": "en", "target_lang": "de"}))
    with pytest.raises(ConfigError, match=r"translate\.target_language: .* does not know 'pl'; it knows de"):
        Translator(TranslateConfig(model=str(folder), engine=engine, target_language="pl"))
    assert Translator(TranslateConfig(model=str(folder), engine=engine, target_language="deu")).prefix == ""
