"""Backbones of every kind: how long a text may be, whose code is run, and numbers that are none."""

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from transformers import AutoTokenizer

import nlift
from nlift.data import sources
from nlift.errors import ModelError
from nlift.models.encoder import Encoder
from nlift.models.translator import Translator
from nlift.settings import TranslateConfig

SMALL = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "hidden_size": 16}
SMALL |= {"max_position_embeddings": 40}
ROOM = {
    "bert": 40,
    "longformer": 38,
    "roberta-prelayernorm": 38,
    "xmod": 38,
    "ibert": 38,
    "luke": 38,
    "roberta": 38,
    "xlm-roberta": 38,
    "xlm-roberta-xl": 38,
    "camembert": 38,
    "data2vec-text": 38,
    "mpnet": 38,
    "markuplm": 39,
    "esm": 39,
    "nystromformer": 40,
    "layoutlm": 40,
    "roformer": 40,
}
MORE = {
    "longformer": {"attention_window": 8},
    "xmod": {"languages": ["en_XX"], "default_language": "en_XX"},
    "luke": {"entity_vocab_size": 10, "entity_emb_size": 8},
    "esm": {"pad_token_id": 0, "mask_token_id": 4},
    "roformer": {"embedding_size": 16},
}


def refusal(folder, **settings):
    with pytest.raises(ModelError) as caught:
        Encoder.load(folder, **settings)
    assert len(str(caught.value).splitlines()) == 1 and str(folder) in str(caught.value)
    return str(caught.value)


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture
def copy(bert, tmp_path):
    return shutil.copytree(bert, tmp_path / "copy")


def change(path, **settings):
    before = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps({**before, **settings}))


# positions


@pytest.mark.parametrize("kind", ROOM)
def test_a_text_longer_than_the_room_is_cut(make_model, kind, sentences):
    folder, text = make_model(kind, **SMALL, **MORE.get(kind, {})), " ".join(sentences)
    encoder = Encoder.load(folder)
    assert encoder.max_length == ROOM[kind]
    theirs = SentenceTransformer(str(folder), device="cpu")
    theirs.max_seq_length = ROOM[kind]
    vectors = np.concatenate([encoder.encode([text]) for text in (text, "a map", "")])  # padding may count in some
    assert np.allclose(unit(theirs.encode([text, "a map", ""], batch_size=1)), vectors, atol=1e-5)


@pytest.mark.parametrize("pad", [0, 5])
def test_positions_begin_behind_the_token_of_padding_wherever_it_is(make_model, pad, sentences):
    encoder = Encoder.load(make_model("roberta", **SMALL, pad_token_id=pad))
    assert encoder.max_length == 40 - pad - 1
    assert encoder.encode([" ".join(sentences)]).shape == (1, 16)


@pytest.fixture
def xlnet(make_model):
    """An XLNet, whose tokenizer puts a token of type 2 at the end."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import XLNetTokenizerFast

    folder = make_model("xlnet", d_model=16, n_layer=1, n_head=2, d_inner=32)
    words = AutoTokenizer.from_pretrained(folder).get_vocab()
    pieces = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    pieces.pre_tokenizer = pre_tokenizers.Whitespace()
    ends = [(name, words[name]) for name in ("[SEP]", "[CLS]")]
    pieces.post_processor = processors.TemplateProcessing(single="$A:0 [SEP]:0 [CLS]:2", special_tokens=ends)
    names = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    names |= {"bos_token": "[CLS]", "eos_token": "[SEP]", "mask_token": "[MASK]"}
    for path in folder.glob("*token*"):
        path.unlink()
    tokenizer = XLNetTokenizerFast(tokenizer_object=pieces, **names, additional_special_tokens=[])
    tokenizer.save_pretrained(folder)
    return folder


def test_a_model_without_positions_reads_all_of_a_text(xlnet, sentences, tmp_path):
    encoder = Encoder.load(xlnet)
    encoder.save(tmp_path)
    theirs = SentenceTransformer(str(tmp_path), device="cpu")
    texts = [" ".join(sentences * 3), "a map", ""]
    assert len(encoder.tokenizer(texts[0])["input_ids"]) > 600
    assert np.allclose(theirs.encode(texts), encoder.encode(texts), atol=1e-5)
    assert not np.allclose(encoder.encode(texts), encoder.encode(texts, max_length=512), atol=1e-5)


def test_a_model_that_lacks_a_setting(make_model):
    assert "cannot encode a text: Input language unknown" in refusal(make_model("xmod", **SMALL))


def test_a_model_of_sounds(make_model):
    assert "cannot encode a text: " in refusal(make_model("fnet", **SMALL))


# tokens


def test_a_token_that_has_no_embedding(copy):
    tokenizer = AutoTokenizer.from_pretrained(copy)
    tokenizer.add_tokens(["☃"])
    tokenizer.save_pretrained(copy)
    rows = json.loads((copy / "config.json").read_text())["vocab_size"]
    assert f"the tokenizer's '☃' is token {rows}, the model has embeddings for {rows} only" in refusal(copy)


def test_a_text_without_tokens(bert, sentences):
    encoder = Encoder.load(bert)
    encoder.tokenizer.backend_tokenizer.post_processor = None  # nothing around a text
    vectors = encoder.encode(["", *sentences[:2], " "])
    assert not vectors[[0, 3]].any() and np.allclose(np.linalg.norm(vectors[1:3], axis=1), 1, atol=1e-6)
    assert not encoder.encode([""]).any()
    assert encoder.encode([]).shape == (0, 32)


# numbers that are none


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_damaged_weight(copy, value, sentences):
    path = copy / "model.safetensors"
    weights = load_file(path)
    weights["encoder.layer.1.output.LayerNorm.weight"][3] = value
    save_file(weights, path, metadata={"format": "pt"})
    encoder = Encoder.load(copy)
    with pytest.raises(ModelError) as caught:
        encoder.encode(sentences)
    line = str(caught.value)
    assert f"{copy}: 48 of 48 texts have NaN" in line and "\n" not in line
    assert "encoder.layer.1.output.LayerNorm.weight is not finite, the checkpoint is damaged" in line


def test_a_damaged_head(copy, sentences, tmp_path):
    encoder = Encoder.load(copy, mlp_head=True)
    encoder.backbone.pooler.dense.bias.data[0] = float("nan")
    encoder.save(tmp_path / "saved")
    loaded = Encoder.load(tmp_path / "saved")
    with pytest.raises(ModelError, match=r"pooler\.dense\.bias is not finite"):
        loaded.encode(sentences)


def test_some_texts_have_no_vector(bert, sentences):
    encoder = Encoder.load(bert)
    number = encoder.tokenizer.convert_tokens_to_ids("river")
    encoder.backbone.embeddings.word_embeddings.weight.data[number] = float("inf")
    with pytest.raises(ModelError, match="24 of 48 texts have NaN"):
        encoder.train().encode(sentences)
    assert encoder.training
    assert np.isfinite(encoder.encode(["a woman sees the map"])).all()


@pytest.mark.parametrize("scale", [0.0, 1e30])
def test_vectors_of_no_length(bert, sentences, scale):
    encoder = Encoder.load(bert)
    for part in ("weight", "bias"):
        getattr(encoder.backbone.encoder.layer[1].output.LayerNorm, part).data.mul_(scale)
    with pytest.raises(ModelError, match=f"{len(sentences)} of {len(sentences)} texts have NaN, infinity or zeros"):
        encoder.encode(sentences)


# code of a model's own

CLASS = """
open({marker!r}, "w")
from transformers import {base}
class Own({base}):
    model_type = "own"
"""


@pytest.fixture
def own(copy, tmp_path):
    """Makes a model's config or tokenizer its own code, which leaves a mark where it runs; the mark comes back."""
    marker = tmp_path / "ran"

    def build(*parts, kind="own", folder=copy):
        mapped = {"AutoConfig": "own.Own", "AutoModel": "own.Own", "AutoModelForSeq2SeqLM": "own.Own"}
        if "config" in parts:
            (folder / "own.py").write_text(CLASS.format(marker=str(marker), base="PretrainedConfig"))
            change(folder / "config.json", model_type=kind, auto_map=mapped)
        if "tokenizer" in parts:
            (folder / "tok.py").write_text(CLASS.format(marker=str(marker), base="PreTrainedTokenizer"))
            change(
                folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["tok.Own", None]}, tokenizer_class="Own"
            )
        if "generate" in parts:
            (folder / "custom_generate").mkdir()
            code = f"open({str(marker)!r}, 'w')\ndef generate(model, **settings): pass\n"
            (folder / "custom_generate" / "generate.py").write_text(code)
        return marker

    return build


@pytest.fixture(autouse=True)
def agreeing(monkeypatch, tmp_path_factory):
    """Whoever asks is told yes; conversions stay out of the user's cache."""
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 9))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.mark.parametrize("parts", [["config"], ["tokenizer"], ["config", "tokenizer"]])
def test_an_encoders_own_code(own, copy, parts):
    marker = own(*parts)
    assert "own code (auto_map), which is not run" in refusal(copy)
    with pytest.raises(ModelError, match=r"own code \(auto_map\), which is not run"):
        sources.check_model(str(copy), "encoder")
    assert not marker.exists()


@pytest.mark.parametrize("engine", ["transformers", "ctranslate2"])
@pytest.mark.parametrize("parts", [["config"], ["tokenizer"], ["generate"]])
def test_a_translators_own_code(own, parts, engine, tmp_path):
    folder = shutil.copytree(sources.EMBEDDED / "translator", tmp_path / "translator")
    marker = own(*parts, folder=folder)
    with pytest.raises(ModelError) as caught:
        Translator(TranslateConfig(model=str(folder), engine=engine))
    line = str(caught.value)
    assert str(folder) in line and "own code" in line and "which is not run" in line and "\n" not in line
    with pytest.raises(ModelError, match="which is not run"):
        sources.check_model(str(folder), "translator")
    assert not marker.exists()


def test_a_kind_that_transformers_has_needs_no_code_of_its_own(own, copy, bert, sentences):
    marker = own("config", kind="bert")
    change(copy / "tokenizer_config.json", auto_map={"AutoTokenizer": ["tok.Own", None]})
    sources.check_model(str(copy), "encoder")
    assert np.array_equal(Encoder.load(copy).encode(sentences), Encoder.load(bert).encode(sentences))
    assert not marker.exists()


PROGRAM = "import sys; from nlift import Encoder; Encoder.load(sys.argv[1])"


def test_nobody_is_asked(own, copy, tmp_path):
    marker = own("config", "tokenizer")
    environment = {**os.environ, "PYTHONPATH": str(Path(nlift.__file__).parents[1]), "HF_HOME": str(tmp_path)}
    command = [sys.executable, "-c", PROGRAM, str(copy)]
    done = subprocess.run(command, input="y\n" * 9, env=environment, capture_output=True, text=True, timeout=100)
    assert done.stdout == "" and "own code (auto_map), which is not run" in done.stderr.splitlines()[-1]
    assert not marker.exists()


def test_a_conversion_asks_nothing(own, copy, tmp_path, monkeypatch):
    """CTranslate2's converter by itself would ask whether to run a tokenizer's code."""
    from nlift.models.ctranslate2 import converted

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("builtins.input", lambda _: pytest.fail("it asked"))
    marker = own("tokenizer")
    change(copy / "config.json", tokenizer_class="Own")
    with pytest.raises(ValueError, match=r"custom code|Own"):
        converted(str(copy), "encoder", None, "int8_float32")
    assert not marker.exists() and not list((tmp_path / "cache").rglob(".*.tmp"))


@pytest.mark.parametrize("name", ["config.json", "modules.json"])
def test_a_broken_description_is_named_before_anything_is_loaded(copy, name):
    (copy / name).write_text("{")
    with pytest.raises(ModelError, match=rf"{name}: not readable as JSON"):
        sources.check_model(str(copy), "encoder")


def test_weights_that_are_no_numbers_are_not_made_numbers_in_int8(bert, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    encoder = Encoder.load(bert)
    with torch.no_grad():
        encoder.backbone.encoder.layer[1].output.dense.weight[0, 0] = float("inf")
    encoder.save(tmp_path / "broken")
    with pytest.raises(ModelError, match=r"layer\.1\.output\.dense\.weight is not finite"):
        Encoder.load(tmp_path / "broken", compute_type="int8")
