"""Settings of sentence-transformers: what an encoder does too gives its vectors, everything else is refused by name."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer

from nlift.data import sources
from nlift.errors import ModelError, NliftError
from nlift.models.encoder import Encoder
from nlift.models.whitening import fitted

TEXTS = ["a woman sees the map", "", "The RED ball near the river", "the small dog " * 40]


@pytest.fixture
def folder(bert, tmp_path):
    """An encoder in the form of sentence-transformers, its tokenizer with a limit."""
    Encoder.load(bert).save(tmp_path)
    change(tmp_path / "tokenizer_config.json", model_max_length=64)
    return tmp_path


@pytest.fixture
def headed(bert, tmp_path):
    """The same with a Dense module, its pooler in the checkpoint."""
    torch.manual_seed(3)
    Encoder.load(bert, mlp_head=True).save(tmp_path)
    return tmp_path


def change(path, **settings):
    before = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps({**before, **settings}))


def retype(folder, types, paths=None):
    """modules.json with these types, at the paths of the modules of their names unless they are given."""
    paths = paths or {"Transformer": "", "Pooling": "1_Pooling", "Dense": "2_Dense", "Normalize": "2_Normalize"}
    modules = [{"type": name, "path": paths.get(name.rpartition(".")[2], "9_Other")} for name in types]
    listing = [{"idx": i, "name": str(i), **module} for i, module in enumerate(modules)]
    (folder / "modules.json").write_text(json.dumps(listing))


def theirs(folder):
    return SentenceTransformer(str(folder), device="cpu")


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def alike(first, second):
    return np.allclose(first, second, atol=1e-5)


def refusal(folder, **settings):
    with pytest.raises(ModelError) as caught:
        Encoder.load(folder, **settings)
    line = str(caught.value)
    assert len(line.splitlines()) == 1 and str(folder) in line
    return line


# pooling


@pytest.mark.parametrize("mode", ["mean", "cls", ["mean"], ["cls"], "CLS"])
def test_pooling_of_newer_versions(folder, mode):
    expected = Encoder.load(folder, pooling=mode.lower() if isinstance(mode, str) else mode[0]).encode(TEXTS)
    new = {"embedding_dimension": 32, "pooling_mode": mode, "include_prompt": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(new))
    assert np.array_equal(Encoder.load(folder).encode(TEXTS), expected)


@pytest.mark.parametrize(
    ("pooling", "named"),
    [
        ({"embedding_dimension": 32, "pooling_mode": "max"}, "pooling max"),
        ({"embedding_dimension": 32, "pooling_mode": "lasttoken"}, "pooling lasttoken"),
        ({"embedding_dimension": 32, "pooling_mode": "weightedmean"}, "pooling weightedmean"),
        ({"embedding_dimension": 32, "pooling_mode": "mean_sqrt_len_tokens"}, "pooling mean_sqrt_len_tokens"),
        ({"embedding_dimension": 32, "pooling_mode": ["cls", "mean"]}, "pooling cls, mean"),
        ({"embedding_dimension": 32, "pooling_mode": []}, "pooling none"),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}, "pooling cls, mean"),
        ({"pooling_mode_mean_tokens": False}, "pooling none"),
        ({"pooling_mode_max_tokens": True}, "pooling mean, max"),
        ({"pooling_mode_cls_token": True}, "pooling_mode_cls_token without pooling_mode_mean_tokens"),
        ({"pooling_mode_mean_tokens": True, "layers": [1, 2]}, "layers [1, 2] is not supported"),
        ({}, "pooling none"),
    ],
)
def test_other_pooling(folder, pooling, named):
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    assert named in refusal(folder)


def test_pooling_that_does_not_say_is_by_mean(folder):
    expected = Encoder.load(folder).encode(TEXTS)
    (folder / "1_Pooling" / "config.json").write_text('{"word_embedding_dimension": 32}')
    assert alike(theirs(folder).encode(TEXTS), expected)
    assert np.array_equal(Encoder.load(folder).encode(TEXTS), expected)


# modules

OLD = "sentence_transformers.models."
NEW = "sentence_transformers.base.modules.transformer.Transformer"
NEW_POOLING = "sentence_transformers.sentence_transformer.modules.pooling.Pooling"
NEW_NORMALIZE = "sentence_transformers.base.modules.normalize.Normalize"


@pytest.mark.parametrize(
    "types", [[NEW, NEW_POOLING, NEW_NORMALIZE], [NEW, NEW_POOLING], [f"{OLD}Transformer", NEW_POOLING]]
)
def test_modules_of_newer_versions(folder, types):
    expected = Encoder.load(folder).encode(TEXTS)
    retype(folder, types)
    sources.check_model(str(folder), "encoder")
    assert np.array_equal(Encoder.load(folder).encode(TEXTS), expected)


@pytest.mark.parametrize(
    "kind", ["WordEmbeddings", "CLIPModel", "StaticEmbedding", "LSTM", "WeightedLayerPooling", "LayerNorm", "Router"]
)
@pytest.mark.parametrize("where", [0, 2])
def test_foreign_modules(folder, kind, where):
    types = [f"{OLD}Transformer", f"{OLD}Pooling", f"{OLD}Normalize"]
    retype(folder, [*types[:where], OLD + kind, *types[where:]])
    assert kind in refusal(folder)


@pytest.mark.parametrize(
    "order",
    [
        ["Transformer"],
        ["Pooling", "Transformer"],
        ["Transformer", "Dense", "Pooling"],
        ["Transformer", "Pooling", "Normalize", "Dense"],
        ["Transformer", "Normalize", "Pooling"],
        ["Transformer", "Pooling", "Dense", "Dense"],
        ["Transformer", "Transformer", "Pooling"],
    ],
)
def test_modules_in_another_order(headed, order):
    retype(headed, [OLD + name for name in order])
    assert f"modules {', '.join(order)}; expected Transformer" in refusal(headed)


@pytest.mark.parametrize("own", ["modeling.Transformer", "custom_st.Transformer", "modeling.MyModule"])
def test_a_module_that_is_the_models_own_code(folder, own, tmp_path):
    marker = tmp_path / "ran"
    (folder / f"{own.partition('.')[0]}.py").write_text(f"open({str(marker)!r}, 'w')")
    retype(folder, [own, f"{OLD}Pooling"])
    assert f"{own} is the model's own code, which is not run" in refusal(folder)
    with pytest.raises(ModelError, match="own code, which is not run"):
        sources.check_model(str(folder), "encoder")
    assert not marker.exists()


@pytest.mark.parametrize("path", ["../elsewhere", "/elsewhere", ".hidden"])
def test_a_module_outside_of_what_is_fingerprinted(folder, path):
    retype(folder, [f"{OLD}Transformer", f"{OLD}Pooling"], {"Transformer": "", "Pooling": path})
    assert f"a module at {path!r}" in refusal(folder)


def test_a_head_of_another_bias(headed):
    path = headed / "2_Dense" / "model.safetensors"
    weights = load_file(path)
    save_file({**weights, "linear.bias": weights["linear.bias"] + 1}, path)
    assert "Dense module is not the backbone's pooler" in refusal(headed)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("activation_function", "torch.nn.modules.linear.Identity"),
        ("activation_function", "modeling.NotTanh"),
        ("use_residual", True),
        ("module_input_name", "token_embeddings"),
    ],
)
def test_a_head_that_does_something_else(headed, key, value):
    change(headed / "2_Dense" / "config.json", **{key: value})
    assert f"{key} {value!r} is not supported" in refusal(headed)


def test_a_head_of_pickled_weights(headed):
    expected = Encoder.load(headed).encode(TEXTS)
    path = headed / "2_Dense" / "model.safetensors"
    torch.save(load_file(path), path.with_name("pytorch_model.bin"))
    path.unlink()
    assert alike(theirs(headed).encode(TEXTS), expected)
    assert np.array_equal(Encoder.load(headed).encode(TEXTS), expected)


def test_normalising_tokens(folder):
    (folder / "2_Normalize" / "config.json").write_text('{"module_input_name": "token_embeddings"}')
    assert "module_input_name 'token_embeddings' is not supported" in refusal(folder)


# prompts


@pytest.mark.parametrize(
    ("prompts", "query", "passage"),
    [
        ({"query": "the map ", "document": "a red ball "}, "the map ", "a red ball "),
        ({"query": "the map ", "passage": "a red ball "}, "the map ", "a red ball "),
        ({"corpus": "a red ball "}, "", "a red ball "),
        ({"corpus": "x", "passage": "a red ball "}, "", "a red ball "),
        ({"passage": "x", "corpus": "y", "document": "a red ball "}, "", "a red ball "),
        ({"passage": "x", "document": ""}, "", ""),
        ({}, "", ""),
    ],
)
def test_prompts_by_role(folder, prompts, query, passage):
    change(folder / "config_sentence_transformers.json", prompts=prompts)
    encoder = Encoder.load(folder)
    assert encoder.prefixes == {"query": query, "passage": passage}
    assert alike(theirs(folder).encode_query(TEXTS), encoder.encode(TEXTS, role="query"))
    assert alike(theirs(folder).encode(TEXTS, prompt=passage), encoder.encode(TEXTS, role="passage"))


def test_a_prompt_that_is_null_is_none(folder):  # version 5.1 cannot read it, later ones write it
    change(folder / "config_sentence_transformers.json", prompts={"query": None, "document": None, "passage": "x"})
    assert Encoder.load(folder).prefixes == {"query": "", "passage": ""}


def test_a_saved_encoder_encodes_queries_and_documents_alike_there(bert, tmp_path):
    encoder = Encoder.load(bert, prefixes={"query": "the map ", "passage": "a red ball "})
    encoder.save(tmp_path)
    assert alike(theirs(tmp_path).encode_query(TEXTS), encoder.encode(TEXTS, role="query"))
    assert alike(theirs(tmp_path).encode_document(TEXTS), encoder.encode(TEXTS, role="passage"))


@pytest.mark.parametrize("name", ["query", "passage", "task"])
def test_a_default_prompt(folder, name, tmp_path_factory):
    prompts = {"query": "the map ", "passage": "a red ball ", "task": "near the river "}
    change(folder / "config_sentence_transformers.json", prompts=prompts, default_prompt_name=name)
    encoder, plain = Encoder.load(folder), Encoder.load(folder, prefixes={"query": prompts[name]})
    assert np.array_equal(encoder.encode(TEXTS), plain.encode(TEXTS, role="query"))
    assert alike(theirs(folder).encode(TEXTS), encoder.encode(TEXTS))
    assert not alike(plain.encode(TEXTS), encoder.encode(TEXTS))  # other prefixes are given: no other one is left
    saved = tmp_path_factory.mktemp("saved")
    encoder.save(saved)
    assert np.array_equal(Encoder.load(saved).encode(TEXTS), encoder.encode(TEXTS))
    assert alike(theirs(saved).encode(TEXTS), encoder.encode(TEXTS))


def test_a_default_prompt_that_is_not_there(folder):
    change(folder / "config_sentence_transformers.json", default_prompt_name="sts", prompts={"task": "x"})
    assert "default_prompt_name 'sts'; expected one of its prompts, query, document, task" in refusal(folder)


def test_a_prompt_that_is_no_text(folder):
    change(folder / "config_sentence_transformers.json", prompts={"query": ["a", "b"]})
    assert "the prompt 'query' is ['a', 'b']" in refusal(folder)


@pytest.mark.parametrize("prompt", ["the map ", "unheard-of ☃ ", "  ", "the small dog wants to find the map " * 10])
def test_a_mean_without_the_prompt(folder, prompt):
    change(folder / "config_sentence_transformers.json", prompts={"query": prompt, "passage": ""})
    whole = Encoder.load(folder).encode(TEXTS, role="query")
    change(folder / "1_Pooling" / "config.json", include_prompt=False)
    encoder = Encoder.load(folder)
    vectors = encoder.encode(TEXTS, role="query")
    assert alike(theirs(folder).encode_query(TEXTS), vectors) and not alike(vectors, whole)
    assert alike(theirs(folder).encode(TEXTS), encoder.encode(TEXTS))
    encoder.save(folder)
    assert np.array_equal(Encoder.load(folder).encode(TEXTS, role="query"), vectors)


def test_a_mean_without_the_prompt_takes_no_other_prefixes(folder):
    change(folder / "1_Pooling" / "config.json", include_prompt=False)
    assert "include_prompt" in refusal(folder, prefixes={"query": "the map ", "passage": ""})
    assert Encoder.load(folder, prefixes={"query": "", "passage": ""}).prefixes["query"] == ""


@pytest.mark.parametrize(
    ("key", "value"),
    [("truncate_dim", 16), ("model_type", "SparseEncoder"), ("model_type", "CrossEncoder"), ("new", 1)],
)
def test_other_settings_of_the_model(folder, key, value):
    change(folder / "config_sentence_transformers.json", **{key: value})
    assert f"{key} {value!r} is not supported" in refusal(folder)


@pytest.mark.parametrize("measure", ["dot", "euclidean", "manhattan"])
def test_another_similarity(folder, measure):
    change(folder / "config_sentence_transformers.json", similarity_fn_name=measure)
    if measure != "manhattan":
        Encoder.load(folder)  # of vectors of length 1 it ranks as the cosine
    retype(folder, [f"{OLD}Transformer", f"{OLD}Pooling"])
    assert f"similarity_fn_name {measure!r}" in refusal(folder)


# the transformer's settings

SETTINGS_FILES = ["bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet"]


@pytest.mark.parametrize("kind", SETTINGS_FILES)
def test_settings_under_an_older_name(folder, kind):
    (folder / "sentence_bert_config.json").unlink()
    change(folder / f"sentence_{kind}_config.json", max_seq_length=9, do_lower_case=False)
    encoder = Encoder.load(folder)
    assert encoder.max_length == 9
    assert alike(theirs(folder).encode(TEXTS), encoder.encode(TEXTS))


@pytest.mark.parametrize("limit", [12, 64, 512])
def test_the_tokenizers_limit_where_no_other_is_given(folder, bert, limit, tmp_path_factory):
    plain = shutil.copytree(bert, tmp_path_factory.mktemp("plain") / "bert")
    change(folder / "sentence_bert_config.json", max_seq_length=None)
    for path in (folder, plain):
        change(path / "tokenizer_config.json", model_max_length=limit)
        encoder = Encoder.load(path)
        assert encoder.max_length == min(limit, 64)
        assert alike(unit(theirs(path).encode(TEXTS)), encoder.encode(TEXTS))


def test_a_length_that_is_given_counts_and_not_the_tokenizers(folder):
    change(folder / "sentence_bert_config.json", max_seq_length=40)
    change(folder / "tokenizer_config.json", model_max_length=12)
    assert Encoder.load(folder).max_length == theirs(folder).max_seq_length == 40


@pytest.mark.parametrize("length", [0, -1, "128", 12.5, True])
def test_a_length_that_is_none(folder, length):
    change(folder / "sentence_bert_config.json", max_seq_length=length)
    assert f"max_seq_length {length!r}" in refusal(folder)


def test_texts_are_lower_cased(folder, tmp_path_factory):
    change(folder / "tokenizer_config.json", do_lower_case=False)  # it knows capitals from small letters
    cased = Encoder.load(folder).encode(TEXTS)
    change(folder / "sentence_bert_config.json", do_lower_case=True)
    encoder = Encoder.load(folder)
    vectors = encoder.encode(TEXTS)
    assert alike(theirs(folder).encode(TEXTS), vectors) and not alike(vectors, cased)
    ((rows, inputs),) = encoder.batches(TEXTS[2:3], batch_tokens=1000)
    ((_, small),) = encoder.batches([TEXTS[2].lower()], batch_tokens=1000)
    assert rows == [0] and torch.equal(inputs["input_ids"], small["input_ids"])
    saved = tmp_path_factory.mktemp("saved")
    encoder.save(saved)
    assert np.array_equal(Encoder.load(saved).encode(TEXTS), vectors)
    assert alike(theirs(saved).encode(TEXTS), vectors)


def test_settings_that_newer_versions_write(folder):
    expected = Encoder.load(folder).encode(TEXTS)
    new = {
        "transformer_task": "feature-extraction",
        "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
        "module_output_name": "token_embeddings",
        "unpad_inputs": True,
        "model_args": {"attn_implementation": "sdpa"},
        "processor_kwargs": {},
    }
    (folder / "sentence_bert_config.json").write_text(json.dumps(new))
    assert np.array_equal(Encoder.load(folder).encode(TEXTS), expected)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"transformer_task": "fill-mask"}, "transformer_task 'fill-mask'"),
        ({"module_output_name": "sentence_embedding"}, "module_output_name 'sentence_embedding'"),
        ({"modality_config": {"text": {"method": "get_text_features"}}}, "modality_config"),
        ({"modality_config": {"image": {"method": "forward"}}}, "modality_config"),
        ({"method": "get_text_features"}, "method 'get_text_features'"),
        ({"processing_kwargs": {"text": {"truncation": False}}}, "processing_kwargs"),
        ({"query_length": 32}, "query_length 32"),
        ({"query_expansion": {"token": "[MASK]"}}, "query_expansion"),
        ({"tokenizer_name_or_path": "org/name"}, "tokenizer_name_or_path 'org/name'"),
        ({"model_args": {"torch_dtype": "float16"}}, "model_args.torch_dtype 'float16'"),
        ({"tokenizer_args": {"truncation_side": "left"}}, "tokenizer_args.truncation_side 'left'"),
        ({"config_args": {"hidden_act": "relu"}}, "config_args.hidden_act 'relu'"),
        ({"config_kwargs": {"num_hidden_layers": 1}}, "config_kwargs.num_hidden_layers 1"),
        ({"model_args": {"trust_remote_code": True}}, "model_args.trust_remote_code True"),
        ({"processor_kwargs": {"trust_remote_code": True}}, "processor_kwargs.trust_remote_code True"),
    ],
)
def test_other_settings_of_the_transformer(folder, changed, named):
    change(folder / "sentence_bert_config.json", **changed)
    line = refusal(folder)
    assert named in line and "is not supported" in line and "sentence_bert_config.json" in line


# the backbone in a folder of its own


@pytest.fixture(params=["0_Transformer", "0_BERT"])
def nested(request, bert, tmp_path):
    """As older versions save it: nothing of the backbone at the root."""
    Encoder.load(bert, pooling="cls").save(tmp_path / "new")
    folder, backbone = tmp_path / "old", tmp_path / "old" / request.param
    shutil.copytree(tmp_path / "new", folder)
    backbone.mkdir()
    for path in (tmp_path / "new").iterdir():
        if path.is_file() and path.name not in ("modules.json", "config_sentence_transformers.json"):
            shutil.move(folder / path.name, backbone / path.name)
    change(backbone / "sentence_bert_config.json", max_seq_length=9)
    listing = json.loads((folder / "modules.json").read_text())
    listing[0]["path"] = request.param
    (folder / "modules.json").write_text(json.dumps(listing))
    return folder


def test_a_backbone_in_a_folder_of_its_own(nested, tmp_path):
    sources.check_model(str(nested), "encoder")
    encoder = Encoder.load(nested)
    assert (encoder.pooling, encoder.max_length) == ("cls", 9)
    assert alike(theirs(nested).encode(TEXTS), encoder.encode(TEXTS))
    encoder.save(tmp_path / "saved")
    assert np.array_equal(Encoder.load(tmp_path / "saved").encode(TEXTS), encoder.encode(TEXTS))


def test_a_backbone_in_a_folder_of_its_own_in_int8(nested, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    exact, quick = Encoder.load(nested).encode(TEXTS), Encoder.load(nested, compute_type="int8").encode(TEXTS)
    assert (exact * quick).sum(1).min() > 0.98 and np.abs(exact - quick).max() > 1e-4


def test_a_backbone_that_is_not_where_the_folder_says(nested):
    backbone = next(nested.glob("0_*"))
    (backbone / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=f"{backbone.name}: no weights there"):
        sources.check_model(str(nested), "encoder")
    (backbone / "config.json").unlink()
    with pytest.raises(ModelError, match=rf"{backbone.name}: no config\.json there"):
        sources.check_model(str(nested), "encoder")
    refusal(nested)


def test_an_adapter(folder):
    (folder / "adapter_config.json").write_text("{}")
    assert "adapter_config.json: an adapter is not supported" in refusal(folder)


def test_a_pooling_that_there_is_not(bert):
    with pytest.raises(ModelError, match="pooling 'max'; expected one of mean, cls"):
        Encoder.load(bert, pooling="max")


def test_modules_without_one(bert, tmp_path):
    Encoder.load(bert).save(tmp_path / "model")
    (tmp_path / "model" / "modules.json").write_text("[]")
    with pytest.raises(ModelError, match=r"modules\.json: no modules; expected Transformer"):
        Encoder.load(tmp_path / "model")


def test_a_length_without_room_for_a_word(bert, tmp_path):
    Encoder.load(bert).save(tmp_path / "model")
    (tmp_path / "model" / "sentence_bert_config.json").write_text('{"max_seq_length": 1}')
    with pytest.raises(ModelError, match="max_seq_length 1; expected room for 2 special tokens"):
        Encoder.load(tmp_path / "model")


def test_big_bird_keeps_its_attention(make_model):
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    folder = make_model("big_bird", attention_type="block_sparse", block_size=4, num_random_blocks=1, **shape)
    assert Encoder.load(folder).backbone.attention_type == "block_sparse"


def test_texts_and_roles_that_are_none(bert):
    encoder = Encoder.load(bert)
    with pytest.raises(NliftError, match=r"texts\[1\]: holds half of a surrogate pair"):
        encoder.encode(["a dog", "half \ud83d"])
    with pytest.raises(NliftError, match="role 'document'; expected query or passage, or None"):
        encoder.encode(["a dog"], role="document")


# a whitening: a Dense module between two Normalize modules


@pytest.fixture(params=[False, True], ids=["plain", "headed"])
def whitened(request, bert, tmp_path, sentences):
    """An encoder with a whitening, without a head and with one."""
    torch.manual_seed(3)
    encoder = Encoder.load(bert, mlp_head=request.param)
    encoder.whitening = fitted(encoder.encode(sentences), 0.25)
    encoder.save(tmp_path)
    return tmp_path


def dense_of(folder):
    """The folder of its last Dense module, the whitening."""
    return max(folder.glob("?_Dense"))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("activation_function", "torch.nn.modules.activation.Tanh"),
        ("activation_function", "torch.nn.modules.activation.ReLU"),
        ("activation_function", "modeling.NotIdentity"),
        ("use_residual", True),
        ("module_input_name", "token_embeddings"),
        ("module_output_name", "token_embeddings"),
    ],
)
def test_a_whitening_that_does_something_else(whitened, key, value):
    change(dense_of(whitened) / "config.json", **{key: value})
    assert f"Dense: {key} {value!r} is not supported" in refusal(whitened)


@pytest.mark.parametrize(
    ("weight", "bias", "named"),
    [
        ((16, 32), (32,), "a Dense of 16 x 32 after Normalize; expected a whitening of 32 x 32"),
        ((32, 16), (32,), "a Dense of 32 x 16 after Normalize; expected a whitening of 32 x 32"),
        ((32, 32), (16,), "a Dense of 32 x 32 after Normalize; expected a whitening of 32 x 32"),
        (None, (32,), "a Dense of none after Normalize; expected a whitening of 32 x 32"),
    ],
)
def test_a_whitening_of_another_size(whitened, weight, bias, named):
    weights = {"linear.bias": torch.zeros(bias)} | ({} if weight is None else {"linear.weight": torch.ones(weight)})
    save_file(weights, dense_of(whitened) / "model.safetensors")
    assert named in refusal(whitened)


def test_a_whitening_without_its_weights(whitened):
    (dense_of(whitened) / "model.safetensors").unlink()
    assert "a Dense of none after Normalize" in refusal(whitened)


@pytest.mark.parametrize(
    "order",
    [
        ["Transformer", "Normalize", "Dense", "Pooling", "Normalize"],
        ["Transformer", "Normalize", "Pooling", "Dense", "Normalize"],
        ["Transformer", "Pooling", "Dense", "Dense", "Normalize"],
        ["Transformer", "Pooling", "Normalize", "Dense"],
        ["Transformer", "Pooling", "Normalize", "Normalize"],
        ["Transformer", "Pooling", "Normalize", "Dense", "Dense", "Normalize"],
        ["Transformer", "Pooling", "Normalize", "Dense", "Normalize", "Normalize"],
        ["Transformer", "Pooling", "Normalize", "Dense", "Normalize", "Dense", "Normalize"],
    ],
)
def test_a_whitening_in_another_place(whitened, order):
    retype(whitened, [OLD + name for name in order])
    assert f"modules {', '.join(order)}; expected Transformer" in refusal(whitened)


@pytest.mark.parametrize("place", [-3, -1])
def test_a_normalize_module_beside_a_whitening_is_of_the_texts_vector(whitened, place):
    path = json.loads((whitened / "modules.json").read_text())[place]["path"]
    change(whitened / path / "config.json", module_input_name="token_embeddings")
    assert "module_input_name 'token_embeddings' is not supported" in refusal(whitened)


@pytest.mark.parametrize("name", ["torch.nn.modules.linear.Identity", "torch.nn.Identity"])
def test_the_names_of_no_activation(whitened, name):
    change(dense_of(whitened) / "config.json", activation_function=name)
    assert alike(theirs(whitened).encode(TEXTS), Encoder.load(whitened).encode(TEXTS))


def test_a_whitening_without_bias(whitened, tmp_path_factory):
    path = dense_of(whitened)
    biased = Encoder.load(whitened).encode(TEXTS)
    change(path / "config.json", bias=False)
    save_file({"linear.weight": load_file(path / "model.safetensors")["linear.weight"]}, path / "model.safetensors")
    encoder, saved = Encoder.load(whitened), tmp_path_factory.mktemp("saved")
    assert alike(theirs(whitened).encode(TEXTS), encoder.encode(TEXTS)) and not alike(encoder.encode(TEXTS), biased)
    encoder.save(saved)
    assert np.array_equal(Encoder.load(saved).encode(TEXTS), encoder.encode(TEXTS))


def test_a_whitening_of_pickled_weights(whitened):
    expected, path = Encoder.load(whitened).encode(TEXTS), dense_of(whitened) / "model.safetensors"
    torch.save(load_file(path), path.with_name("pytorch_model.bin"))
    path.unlink()
    assert alike(theirs(whitened).encode(TEXTS), expected)
    assert np.array_equal(Encoder.load(whitened).encode(TEXTS), expected)


def test_a_whitening_of_newer_versions(whitened):
    expected = Encoder.load(whitened).encode(TEXTS)
    listing = json.loads((whitened / "modules.json").read_text())
    for module in listing:
        kind = module["type"].rpartition(".")[2]
        home = "sentence_transformer" if kind == "Pooling" else "base"
        module["type"] = f"sentence_transformers.{home}.modules.{kind.lower()}.{kind}"
    (whitened / "modules.json").write_text(json.dumps(listing))
    assert np.array_equal(Encoder.load(whitened).encode(TEXTS), expected)


def test_a_whitening_that_sentence_transformers_wrote(folder, tmp_path_factory):
    from sentence_transformers.models import Dense, Normalize

    torch.manual_seed(5)
    weight, bias = torch.eye(32) + 0.3 * torch.randn(32, 32), 0.2 * torch.randn(32)
    transformer, pooling, normal = theirs(folder)
    dense = Dense(32, 32, activation_function=None, init_weight=weight, init_bias=bias)
    model = SentenceTransformer(modules=[transformer, pooling, normal, dense, Normalize()], device="cpu")
    saved = tmp_path_factory.mktemp("saved")
    model.save(str(saved), create_model_card=False)
    encoder = Encoder.load(saved)
    assert torch.equal(encoder.whitening.weight, weight) and torch.equal(encoder.whitening.bias, bias)
    assert alike(model.encode(TEXTS), encoder.encode(TEXTS))
    assert not alike(Encoder.load(folder).encode(TEXTS), encoder.encode(TEXTS))
