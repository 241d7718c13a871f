"""Encoders: one form on disk, the same vectors in every tool, clear words for what is no encoder."""

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from transformers import AutoModel, AutoTokenizer, BertTokenizer

import nlift
from nlift.errors import ModelError
from nlift.models.encoder import Encoder
from nlift.models.whitening import fitted, whitened

PREFIXES = {"query": "the map ", "passage": "a red ball "}
SMALL = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "hidden_size": 16}
SMALL |= {"max_position_embeddings": 40}


def parallel(first, second):
    return np.allclose(first, second, atol=1e-5)


def sentence_transformer(folder):
    return SentenceTransformer(str(folder), device="cpu")


@pytest.fixture(params=["bert", "xlm_roberta"])
def base(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(params=[(pooling, head) for pooling in ("mean", "cls") for head in (False, True)], ids=str)
def encoder(request, base):
    """Every pooling, with a head and without, over both kinds of backbone."""
    pooling, mlp_head = request.param
    return Encoder.load(base, pooling=pooling, mlp_head=mlp_head, prefixes=PREFIXES)


@pytest.fixture(scope="session")
def embedded(tmp_path_factory):
    """Builds the folder of the embedded encoder with another pooling or a head."""

    def build(**settings):
        folder = tmp_path_factory.mktemp("embedded")
        torch.manual_seed(4)
        Encoder.load("embedded", prefixes=PREFIXES, **settings).save(folder)
        return folder

    return build


@pytest.fixture
def cache(tmp_path_factory, monkeypatch):
    """Conversions of tests stay out of the user's cache."""
    folder = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder / "nlift" / "ctranslate2"


@pytest.fixture
def copy(bert, tmp_path):
    return shutil.copytree(bert, tmp_path / "copy")


def test_a_saved_encoder_gives_the_same_vectors_in_every_tool(encoder, tmp_path, sentences):
    encoder.save(tmp_path)
    loaded, theirs = Encoder.load(tmp_path), sentence_transformer(tmp_path)
    assert (loaded.pooling, loaded.mlp_head, loaded.prefixes) == (encoder.pooling, encoder.mlp_head, PREFIXES)
    assert loaded.max_length == encoder.max_length == theirs.max_seq_length == 64
    assert np.array_equal(loaded.encode(sentences), encoder.encode(sentences))
    assert parallel(theirs.encode(sentences), encoder.encode(sentences))
    for role in ("query", "passage"):
        ours = encoder.encode(sentences, role=role)
        assert np.array_equal(loaded.encode(sentences, role=role), ours)
        assert parallel(theirs.encode(sentences, prompt_name=role), ours)


def test_the_backbone_loads_by_itself(encoder, tmp_path, sentences):
    encoder.save(tmp_path)
    backbone, tokenizer = AutoModel.from_pretrained(tmp_path).eval(), AutoTokenizer.from_pretrained(tmp_path)
    with torch.inference_mode():
        inputs = tokenizer(sentences[:1], return_tensors="pt")
        hidden = backbone(**inputs).last_hidden_state
        vector = hidden[:, 0] if encoder.pooling == "cls" else hidden.mean(1)
        vector = torch.tanh(backbone.pooler.dense(vector)) if encoder.mlp_head else vector
    assert parallel(torch.nn.functional.normalize(vector).numpy(), encoder.encode(sentences[:1]))


def test_settings_change_the_vectors(bert, sentences):
    settings = [{}, {"pooling": "cls"}, {"mlp_head": True}, {"pooling": "cls", "mlp_head": True}]
    vectors = [Encoder.load(bert, **changes).encode(sentences) for changes in settings]
    vectors += [Encoder.load(bert, prefixes=PREFIXES).encode(sentences, role=role) for role in ("query", "passage")]
    assert all(not parallel(a, b) for i, a in enumerate(vectors) for b in vectors[:i])


def test_a_plain_model_pools_by_mean_without_head_or_prefix(base, sentences):
    encoder = Encoder.load(base)
    assert (encoder.pooling, encoder.mlp_head, encoder.prefixes) == ("mean", False, {"query": "", "passage": ""})
    assert np.array_equal(encoder.encode(sentences, role="query"), encoder.encode(sentences))


def test_vectors_have_unit_norm(encoder, sentences):
    vectors = encoder.encode(sentences)
    assert vectors.dtype == np.float32 and vectors.shape == (len(sentences), encoder.dim)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("batch_tokens", [1, 60, 100_000])
def test_order_is_kept_and_padding_changes_nothing(base, batch_tokens, sentences, monkeypatch):
    encoder = Encoder.load(base, mlp_head=True)
    monkeypatch.setattr("nlift.models.encoder.TEXTS_AT_ONCE", 9)
    texts = [" ".join(sentences[: i * 7 % 5]) for i in range(20)]  # some of them empty
    alone = np.concatenate([encoder.encode([text]) for text in texts])
    assert parallel(encoder.encode(texts, batch_tokens=batch_tokens), alone)


@pytest.mark.parametrize("batch_tokens", [24, None])
def test_odd_texts_are_encoded_as_sentence_transformers_does(encoder, batch_tokens, sentences, tmp_path, two_threads):
    encoder.save(tmp_path)
    theirs = sentence_transformer(tmp_path)
    repeated = [sentences[0], sentences[1], sentences[0]]
    for texts in (["", *sentences, " ".join(sentences * 5), *repeated, " ", "unheardof \u0142"], sentences[:1], [""]):
        for role in (None, "query", "passage"):
            expected = theirs.encode(texts, prompt_name=role)
            assert parallel(encoder.encode(texts, role=role, batch_tokens=batch_tokens), expected)


def test_a_tokenizer_of_python_alone(bert, sentences):
    encoder, slow = Encoder.load(bert), Encoder.load(bert)
    slow.tokenizer = BertTokenizer.from_pretrained(bert)
    assert not slow.tokenizer.is_fast and encoder.tokenizer.is_fast
    texts = [*sentences, " ".join(sentences)]
    assert np.array_equal(slow.encode(texts), encoder.encode(texts))


def test_what_the_tokenizer_did_last_changes_nothing(bert, sentences):
    encoder, texts = Encoder.load(bert), [*sentences, " ".join(sentences)]
    before = encoder.encode(texts)
    encoder.tokenizer(texts, padding=True)
    encoder.encode(texts, max_length=5)
    encoder.tokenizer(texts, padding=True)
    assert np.array_equal(encoder.encode(texts), before)
    assert len(encoder.tokenizer(texts[-1])["input_ids"]) > 64


def test_threads_change_nothing_and_are_as_before(base, sentences, two_threads):
    encoder, seen = Encoder.load(base, mlp_head=True), []
    together = encoder.encode(sentences, batch_tokens=40)
    assert torch.get_num_threads() == 2
    thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert seen == [2]
    torch.set_num_threads(1)
    assert np.array_equal(encoder.encode(sentences, batch_tokens=40), together)


def test_an_error_in_a_thread_is_raised_and_threads_are_as_before(bert, sentences, two_threads):
    encoder = Encoder.load(bert)
    encoder.backbone.embeddings.word_embeddings = torch.nn.Embedding(3, 32)
    with pytest.raises(IndexError):
        encoder.encode(sentences, batch_tokens=40)
    assert torch.get_num_threads() == 2


def test_no_texts_no_vectors(bert, cache):
    assert Encoder.load(bert).encode([]).shape == (0, 32)
    assert Encoder.load(bert, compute_type="int8").encode([]).shape == (0, 32)


@pytest.mark.parametrize(("pooling", "mlp_head"), [("mean", False), ("cls", False), ("mean", True), ("cls", True)])
def test_int8_is_close_to_float32(embedded, cache, pooling, mlp_head, sentences, two_threads):
    folder = embedded(pooling=pooling, mlp_head=mlp_head)
    exact, quick = Encoder.load(folder), Encoder.load(folder, compute_type="int8")
    texts = ["", "pies", "Kot \u015bpi na kanapie.", "A man is riding a bicycle. " * 60, *sentences]
    for role in (None, "query", "passage"):
        expected, vectors = exact.encode(texts, role=role), quick.encode(texts, role=role, batch_tokens=128)
        assert vectors.dtype == np.float32 and np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
        assert (expected * vectors).sum(1).min() > 0.99
        assert np.abs(expected - vectors).max() > 1e-4  # int8 it was
        assert np.array_equal((vectors @ expected.T).argmax(1), np.arange(len(texts)))  # nearest to itself
    assert torch.get_num_threads() == 2


def test_an_int8_vector_does_not_depend_on_the_texts_beside_it(embedded, cache, sentences):
    encoder = Encoder.load(embedded(), compute_type="int8")
    alone = np.concatenate([encoder.encode([text]) for text in sentences])
    assert parallel(encoder.encode(sentences, batch_tokens=200), alone)


@pytest.mark.parametrize("kind", ["bert", "roberta", "xlm-roberta", "camembert", "distilbert"])
def test_int8_of_other_kinds(make_model, kind, cache, sentences):
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
    if kind == "distilbert":
        sizes = {"dim": 64, "n_layers": 2, "n_heads": 2, "hidden_dim": 128}
    folder = make_model(kind, max_position_embeddings=40, **sizes)
    exact, quick = Encoder.load(folder), Encoder.load(folder, compute_type="int8")
    texts = [*sentences, " ".join(sentences)]
    expected, vectors = exact.encode(texts), quick.encode(texts)
    assert (expected * vectors).sum(1).min() > 0.99


def test_int8_of_the_tests_own_encoders(base, cache, sentences):
    exact, quick = Encoder.load(base), Encoder.load(base, compute_type="int8")
    assert (exact.encode(sentences) * quick.encode(sentences)).sum(1).min() > 0.99


@pytest.mark.parametrize("kind", ["electra", "mpnet"])
def test_a_kind_that_has_no_int8(make_model, kind, cache):
    folder = make_model(kind, **SMALL)
    assert "compute_type float32" in error(folder, compute_type="int8")
    assert not list(cache.glob(".*.tmp"))
    assert Encoder.load(folder, compute_type="float32").encode(["a map"]).shape == (1, 16)


@pytest.mark.parametrize("compute_type", ["auto", "float16"])
def test_a_cpu_takes_float32_for_float16(bert, compute_type, sentences):
    half, exact = Encoder.load(bert, compute_type=compute_type), Encoder.load(bert)
    assert np.array_equal(half.encode(sentences), exact.encode(sentences))


def test_bfloat16_is_computed_where_it_is_asked_for(sentences):
    exact = Encoder.load("embedded").encode(sentences)
    lower = Encoder.load("embedded", compute_type="bfloat16").encode(sentences)
    cosines = (exact * lower).sum(1)
    assert lower.dtype == np.float32 and not np.array_equal(lower, exact)
    assert cosines.min() > 0.999


def test_an_unknown_compute_type(bert):
    assert "compute_type 'int4'; expected one of auto, float32" in error(bert, compute_type="int4")


def test_an_int8_encoder_is_saved_as_it_was_loaded(bert, cache, tmp_path, sentences):
    Encoder.load(bert, compute_type="int8").save(tmp_path)
    assert np.array_equal(Encoder.load(tmp_path).encode(sentences), Encoder.load(bert).encode(sentences))


def test_texts_are_cut_at_max_length(base, sentences):
    encoder, text = Encoder.load(base), " ".join(sentences)
    assert encoder.max_length == 64
    assert parallel(encoder.encode([text]), encoder.encode([text], max_length=1000))
    assert parallel(encoder.encode([text], max_length=8), encoder.encode([text + " more"], max_length=8))
    assert not parallel(encoder.encode([text], max_length=8), encoder.encode([text]))


def test_encoding_leaves_the_mode_as_it_was(bert, sentences):
    encoder = Encoder.load(bert).train()
    assert np.array_equal(encoder.encode(sentences), encoder.encode(sentences))  # without dropout
    assert encoder.training and encoder.backbone.training
    encoder.eval().encode(sentences)
    assert not encoder.training


def test_forward_is_not_normalised_and_trains(bert, sentences):
    encoder = Encoder.load(bert, mlp_head=True)
    ((_, inputs),) = encoder.batches(sentences[:3])
    vectors = encoder(inputs)
    assert not np.allclose(vectors.detach().norm(dim=1), 1)
    vectors.sum().backward()
    assert encoder.backbone.pooler.dense.weight.grad.abs().sum() > 0


def test_the_embedded_encoder_loads():
    assert Encoder.load("embedded").encode(["pies"]).shape[0] == 1


@pytest.mark.parametrize("kind", ["bert", "roberta", "xlm-roberta", "camembert", "electra", "mpnet", "distilbert"])
def test_other_encoders_take_texts_of_any_length(make_model, kind, sentences):
    settings = SMALL
    if kind == "distilbert":
        settings = {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 32, "max_position_embeddings": 40}
    encoder = Encoder.load(make_model(kind, **settings))
    assert encoder.encode([" ".join(sentences)]).shape == (1, 16)


def error(path, **settings):
    with pytest.raises(ModelError) as caught:
        Encoder.load(path, **settings)
    assert len(str(caught.value).splitlines()) == 1 and str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", ["gpt2", "t5", "opt"])
def test_a_model_that_generates_text(make_model, kind):
    settings = {"d_model": 16, "d_ff": 32, "num_layers": 1, "num_heads": 2} if kind == "t5" else SMALL
    settings = settings | {"ffn_dim": 32, "word_embed_proj_dim": 16} if kind == "opt" else settings
    assert f"a {kind} generates text" in error(make_model(kind, **settings))


def test_a_path_where_nothing_is(tmp_path):
    assert "no such folder" in error(tmp_path / "nowhere")


def test_a_folder_without_a_model(tmp_path):
    assert "cannot be loaded as an encoder" in error(tmp_path)


@pytest.mark.parametrize("keep", [0, 20, 5000])
def test_corrupt_weights(copy, keep):
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:keep])
    assert "cannot be loaded as an encoder" in error(copy)


def test_weights_that_are_not_there(copy):
    (copy / "model.safetensors").unlink()
    assert "cannot be loaded as an encoder" in error(copy)


def test_weights_of_another_shape(copy):
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "intermediate_size": 48}))
    assert "cannot be loaded as an encoder" in error(copy)


def test_a_layer_that_is_not_there(copy):
    weights = load_file(copy / "model.safetensors")
    kept = {name: value for name, value in weights.items() if ".layer.1." not in name}
    save_file(kept, copy / "model.safetensors", metadata={"format": "pt"})
    assert "layer.1" in error(copy)


def test_a_corrupt_config(copy):
    (copy / "config.json").write_text("{")
    assert "cannot be loaded as an encoder" in error(copy)


def test_a_head_that_the_kind_does_not_have(make_model):
    folder = make_model("distilbert", dim=16, n_layers=1, n_heads=2, hidden_dim=32)
    assert "a distilbert has no pooler" in error(folder, mlp_head=True)


@pytest.mark.parametrize("text", ["{", '[{"path": ""}]', '[{"type": "x.CNN"}]'])
def test_a_listing_of_modules_that_is_not_ours_to_read(bert, tmp_path, text):
    Encoder.load(bert).save(tmp_path)
    (tmp_path / "modules.json").write_text(text)
    assert "sentence-transformers folder" in error(tmp_path) or "modules CNN" in error(tmp_path)


def test_max_pooling(bert, tmp_path):
    Encoder.load(bert).save(tmp_path)
    (tmp_path / "1_Pooling" / "config.json").write_text('{"pooling_mode_max_tokens": true}')
    assert "expected Transformer, mean or cls Pooling" in error(tmp_path)


def test_a_dense_module_that_is_not_the_pooler_is_not_taken_for_it(bert, tmp_path, sentences):
    Encoder.load(bert, mlp_head=True).save(tmp_path)
    path = tmp_path / "2_Dense" / "model.safetensors"
    save_file({name: -value for name, value in load_file(path).items()}, path)
    try:
        vectors = Encoder.load(tmp_path).encode(sentences)
    except ModelError:
        return
    assert parallel(vectors, sentence_transformer(tmp_path).encode(sentences))


TRANSLATION = ["nlift.models.translator", "nlift.models.translation_engines", "nlift.models.comet"]


def test_an_encoder_needs_no_translator():
    program = f"import sys, nlift.models.encoder; print([name for name in {TRANSLATION} if name in sys.modules])"
    command = [sys.executable, "-c", program]
    environment = {**os.environ, "PYTHONPATH": str(Path(nlift.__file__).parents[1])}
    assert subprocess.check_output(command, env=environment, text=True).strip() == "[]"


def whiten(encoder, texts, power=0.25):
    """Put a whitening into an encoder, fitted on its own vectors of texts; returns these."""
    vectors = encoder.encode(texts)
    encoder.whitening = fitted(vectors, power)
    return vectors


def test_a_whitened_encoder_gives_the_same_vectors_in_every_tool(encoder, tmp_path, sentences):
    plain = whiten(encoder, sentences)
    vectors = encoder.encode(sentences)
    assert not parallel(vectors, plain)
    assert parallel(vectors, whitened(plain, encoder.whitening))
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    encoder.save(tmp_path)
    loaded, theirs = Encoder.load(tmp_path), sentence_transformer(tmp_path)
    assert [type(module).__name__ for module in theirs][-3:] == ["Normalize", "Dense", "Normalize"]
    assert (loaded.pooling, loaded.mlp_head) == (encoder.pooling, encoder.mlp_head)
    for role in (None, "query", "passage"):
        ours = encoder.encode(sentences, role=role)
        assert np.array_equal(loaded.encode(sentences, role=role), ours)
        assert parallel(theirs.encode(sentences, prompt_name=role), ours)


def test_a_whitened_encoder_is_saved_again_as_it_was(bert, tmp_path, sentences):
    encoder = Encoder.load(bert, mlp_head=True)
    whiten(encoder, sentences)
    encoder.save(tmp_path / "first")
    Encoder.load(tmp_path / "first").save(tmp_path / "second")
    assert np.array_equal(Encoder.load(tmp_path / "second").encode(sentences), encoder.encode(sentences))


def test_a_whitening_that_is_taken_out_is_not_saved(bert, tmp_path, sentences):
    encoder = Encoder.load(bert)
    plain = whiten(encoder, sentences)
    encoder.save(tmp_path)
    encoder.whitening = None
    encoder.save(tmp_path)  # over the one with a whitening
    assert np.array_equal(Encoder.load(tmp_path).encode(sentences), plain)
    assert parallel(sentence_transformer(tmp_path).encode(sentences), plain)


def test_texts_beside_a_text_change_nothing_before_a_whitening(bert, sentences):
    encoder = Encoder.load(bert)
    whiten(encoder, sentences)
    alone = np.concatenate([encoder.encode([text]) for text in sentences[:6]])
    assert parallel(encoder.encode(sentences)[:6], alone)


@pytest.mark.parametrize("mlp_head", [False, True])
def test_int8_with_a_whitening_is_close_to_float32(embedded, cache, mlp_head, sentences, tmp_path):
    encoder = Encoder.load(embedded(mlp_head=mlp_head))
    plain = whiten(encoder, sentences)
    encoder.save(tmp_path)
    exact, vectors = encoder.encode(sentences), Encoder.load(tmp_path, compute_type="int8").encode(sentences)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert (exact * vectors).sum(1).min() > 0.9 and np.abs(exact - vectors).max() > 1e-4
    assert (plain * vectors).sum(1).max() < 0.9  # whitened it was
    assert np.array_equal((vectors @ exact.T).argmax(1), np.arange(len(sentences)))


@pytest.mark.parametrize("loaded", [False, True])
def test_gradients_pass_a_whitening_and_leave_it_as_it_is(bert, sentences, loaded, tmp_path):
    encoder = Encoder.load(bert)
    whiten(encoder, sentences)
    if loaded:
        encoder.save(tmp_path)
        encoder = Encoder.load(tmp_path)
    before = {name: value.clone() for name, value in encoder.whitening.state_dict().items()}
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=0.1, weight_decay=0.1)
    ((_, inputs),) = encoder.train().batches(sentences[:3])
    (encoder(inputs) ** 2).sum().backward()
    optimizer.step()
    assert encoder.backbone.encoder.layer[0].output.dense.weight.grad.abs().sum() > 0
    assert [parameter.grad for parameter in encoder.whitening.parameters()] == [None, None]
    assert all(torch.equal(value, before[name]) for name, value in encoder.whitening.state_dict().items())


def test_a_step_through_a_whitening_has_the_gradient_of_what_is_encoded(bert, sentences):
    """The derivative of a cosine of whitened vectors, by differences in float64."""
    encoder = Encoder.load(bert).eval()
    whiten(encoder, sentences)
    encoder = encoder.double()
    ((_, inputs),) = encoder.batches(sentences[:2])
    weight = encoder.backbone.encoder.layer[1].output.dense.weight

    def cosine():
        return torch.nn.functional.cosine_similarity(*encoder(inputs), dim=0)

    cosine().backward()
    values = []
    with torch.no_grad():
        for step in (1e-5, -2e-5):
            weight[3, 5] += step
            values.append(cosine().item())
    assert weight.grad[3, 5].item() == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-5)
    texts = encoder.float().encode(sentences[:2])
    assert (texts[0] @ texts[1]).item() == pytest.approx(values[1], abs=1e-3)
