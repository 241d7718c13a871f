"""Our beam search finds what transformers' `generate` finds; the embedded translator, no Ray."""

import random

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, MBartConfig, MBartForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput

from nlift.data.sources import EMBEDDED
from nlift.models import beam_search

SOURCES = [
    "A dog.",
    "A woman sees a red ball.",
    "Two men in blue shirts are standing on a ladder and cleaning a window of an old house near the river.",
    "very " * 20,  # ends late, if at all
    "Children play outside.",
    "Nobody is there!",
]


@pytest.fixture(scope="module")
def translator():
    folder = EMBEDDED / "translator"
    tokenizer = AutoTokenizer.from_pretrained(folder, src_lang="en")
    model = AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=torch.float32).eval()
    return model, tokenizer(SOURCES, return_tensors="pt", padding=True), tokenizer.get_lang_id("pl")


def until_padding(rows, pad):
    return [[token for token in row if token != pad] for row in rows.tolist()]


def both(translator, **settings):
    """The translations of `generate` by itself and with our search."""
    model, inputs, begin = translator
    known = {"forced_bos_token_id": begin, "max_new_tokens": 24, "do_sample": False}
    settings = {**known, **settings}
    targets = [model.generate(**inputs, **settings, custom_generate=search) for search in (None, beam_search.search)]
    return [until_padding(rows, model.config.pad_token_id) for rows in targets]


@pytest.mark.parametrize("early_stopping", [False, True, "never"])
@pytest.mark.parametrize("length_penalty", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("num_beams", [2, 4, 5])
def test_the_translations_of_generate(translator, num_beams, length_penalty, early_stopping):
    expected, targets = both(
        translator, num_beams=num_beams, length_penalty=length_penalty, early_stopping=early_stopping
    )
    assert targets == expected


@pytest.mark.parametrize("settings", [{"no_repeat_ngram_size": 2}, {"max_new_tokens": 3}, {"repetition_penalty": 1.5}])
@pytest.mark.parametrize("num_beams", [1, 4])
def test_with_other_settings(translator, num_beams, settings):
    expected, targets = both(translator, num_beams=num_beams, **settings)
    assert targets == expected


def test_one_beam_is_greedy_search(translator):
    expected, targets = both(translator, num_beams=1)
    assert targets == expected


def test_a_sentence_leaves_the_batch_when_it_is_settled(translator, monkeypatch):
    model, inputs, begin = translator
    rows, forward = [], model.forward

    def counted(*args, **kwargs):
        rows.append(len(kwargs["decoder_input_ids"]))
        return forward(*args, **kwargs)

    monkeypatch.setattr(model, "forward", counted)
    model.generate(
        **inputs, forced_bos_token_id=begin, num_beams=4, max_new_tokens=24, custom_generate=beam_search.search
    )
    assert rows[0] == 4 * len(SOURCES) and rows == sorted(rows, reverse=True) and rows[-1] == 4


def test_cutting_the_batch_changes_nothing(translator, monkeypatch):
    results = []
    for share in (0.0, 0.5, 1.0):  # at every step, now and then, at the end
        monkeypatch.setattr(beam_search, "SETTLED_SHARE", share)
        results.append(both(translator, num_beams=4)[1])
    assert results[0] == results[1] == results[2]


@pytest.fixture(scope="module")
def small():
    """A random model of 24 tokens, whose translations end at any length."""
    torch.manual_seed(8)
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
    layers = {"encoder_layers": 1, "decoder_layers": 1, "max_position_embeddings": 64, "dropout": 0.0}
    tokens = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 2}
    tokens |= {"forced_eos_token_id": None}
    model = MBartForConditionalGeneration(MBartConfig(vocab_size=24, d_model=16, **heads, **layers, **tokens)).eval()
    with torch.no_grad():
        for weights in model.parameters():
            weights.add_(0.6 * torch.randn_like(weights))
        model.final_logits_bias[0, model.config.eos_token_id] += 2
    return model


@pytest.mark.parametrize("seed", range(60))
def test_any_settings(small, seed):
    rng = random.Random(seed)
    torch.manual_seed(seed)
    source = torch.randint(3, 24, (rng.randint(1, 6), rng.randint(1, 8)))
    settings = {
        "num_beams": rng.randint(1, 6),
        "max_new_tokens": rng.randint(1, 20),
        "length_penalty": rng.choice([-1.0, 0.0, 0.6, 1.0, 2.0]),
        "early_stopping": rng.choice([False, True, "never"]),
        "no_repeat_ngram_size": rng.choice([0, 0, 2]),
        "encoder_no_repeat_ngram_size": rng.choice([0, 0, 0, 2]),
        "eos_token_id": rng.choice([2, [2, 5]]),
        "min_new_tokens": rng.choice([None, 3]),
        "bad_words_ids": rng.choice([None, [[7], [8, 9]]]),
    }
    if settings["num_beams"] == 1:
        del settings["length_penalty"], settings["early_stopping"]
    expected, targets = both(
        (small, {"input_ids": source, "attention_mask": torch.ones_like(source)}, None), **settings
    )
    assert targets == expected


def many(count):
    """So many random sources of one length, for the small model."""
    torch.manual_seed(count)
    source = torch.randint(3, 24, (count, 6))
    return {"input_ids": source, "attention_mask": torch.ones_like(source)}


@pytest.mark.parametrize("settings", [{"encoder_no_repeat_ngram_size": 2}, {"encoder_repetition_penalty": 1.5}])
def test_processors_that_know_the_batch_keep_it_whole(small, settings):
    expected, targets = both((small, many(30), None), num_beams=3, **settings)
    assert targets == expected


def test_never_stopping_early_waits_for_longer_translations(small):
    settings = {"num_beams": 3, "length_penalty": 2.0}
    expected, targets = both((small, many(40), None), early_stopping="never", **settings)
    assert targets == expected != both((small, many(40), None), early_stopping=False, **settings)[0]


def test_greedy_search_breaks_ties_as_generate_does(small, monkeypatch):
    monkeypatch.setattr(small.lm_head, "forward", lambda states: torch.sin(states @ small.lm_head.weight.T).round())
    expected, targets = both((small, many(40), None), num_beams=1)
    assert targets == expected


@pytest.mark.parametrize("num_beams", [1, 4])
def test_a_sentence_that_overflows_has_no_translation_and_the_others_have(small, num_beams):
    source = torch.randint(3, 24, (3, 6))
    inputs = {"attention_mask": torch.ones_like(source)}
    states = small.get_encoder()(input_ids=source, **inputs).last_hidden_state.detach()
    known = {"num_beams": num_beams, "max_new_tokens": 6, "do_sample": False, "custom_generate": beam_search.search}
    good = small.generate(encoder_outputs=BaseModelOutput(states), **inputs, **known).tolist()
    states[1] = torch.nan
    targets = small.generate(encoder_outputs=BaseModelOutput(states), **inputs, **known).tolist()
    assert [targets[0], targets[2]] == [good[0], good[2]]
    assert 2 not in targets[1][1:]  # it never ends
