"""An encoder's form on disk: read as it was written, and its mistakes named."""

import json

import pytest
import torch

from nlift.errors import ModelError
from nlift.models import encoder_format
from nlift.models.encoder_format import IDENTITY, DenseHead, EncoderFormat
from nlift.models.whitening import layer

PREFIXES = {"query": "query: ", "passage": "passage: "}


def head():
    return DenseHead({"linear.weight": torch.eye(3), "linear.bias": torch.ones(3)})


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("mlp_head", [False, True])
def test_what_is_read_is_what_was_written(tmp_path, pooling, mlp_head):
    written = EncoderFormat(pooling, PREFIXES, 40, head() if mlp_head else None)
    encoder_format.write(tmp_path, written, 3)
    saved = encoder_format.read(str(tmp_path), None)
    assert (saved.pooling, saved.prefixes, saved.max_length) == (pooling, PREFIXES, 40)
    assert saved.mlp_head == mlp_head
    if mlp_head:
        assert saved.head.activation == head().activation
        assert all(torch.equal(tensor, head().weights[name]) for name, tensor in saved.head.weights.items())


def test_the_files(tmp_path):
    encoder_format.write(tmp_path, EncoderFormat("cls", PREFIXES, 40, head()), 3)
    modules = json.loads((tmp_path / "modules.json").read_text())
    assert [module["path"] for module in modules] == ["", "1_Pooling", "2_Dense", "3_Normalize"]
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()} == {
        "modules.json",
        "sentence_bert_config.json",
        "config_sentence_transformers.json",
        "1_Pooling/config.json",
        "2_Dense/config.json",
        "2_Dense/model.safetensors",
        "3_Normalize/config.json",
    }


def test_a_plain_model_has_no_form(bert):
    assert encoder_format.read(str(bert), None) is None


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_damaged_head(tmp_path, name):
    encoder_format.write(tmp_path, EncoderFormat(head=head()), 3)
    (tmp_path / "2_Dense" / name).write_bytes(b"{")
    with pytest.raises(ModelError, match="not a readable sentence-transformers folder"):
        encoder_format.read(str(tmp_path), None)


def whitening():
    return DenseHead.of(layer(torch.arange(9.0).reshape(3, 3), torch.tensor([3.0, 2.0, 1.0])), IDENTITY)


@pytest.mark.parametrize("mlp_head", [False, True])
def test_a_whitening_is_read_as_it_was_written(tmp_path, mlp_head):
    written = EncoderFormat("cls", PREFIXES, 40, head() if mlp_head else None, whitening=whitening())
    encoder_format.write(tmp_path, written, 3)
    saved = encoder_format.read(str(tmp_path), None)
    assert saved.whitening.activation == IDENTITY
    assert saved.whitening.weights.keys() == whitening().weights.keys()
    assert all(torch.equal(tensor, whitening().weights[name]) for name, tensor in saved.whitening.weights.items())
    assert saved.mlp_head == mlp_head  # and neither is taken for the other
    if mlp_head:
        assert torch.equal(saved.head.weights["linear.weight"], torch.eye(3))


def test_no_whitening_is_read_where_none_was_written(tmp_path):
    encoder_format.write(tmp_path, EncoderFormat(head=head()), 3)
    assert encoder_format.read(str(tmp_path), None).whitening is None


def test_the_files_of_a_whitening(tmp_path):
    encoder_format.write(tmp_path, EncoderFormat(head=head(), whitening=whitening()), 3)
    modules = json.loads((tmp_path / "modules.json").read_text())
    names = ["", "1_Pooling", "2_Dense", "3_Normalize", "4_Dense", "5_Normalize"]
    assert [module["path"] for module in modules] == names
    assert {path.parent.name for path in tmp_path.rglob("*_*/config.json")} == set(names[1:])
    settings = [json.loads((tmp_path / name / "config.json").read_text()) for name in ("2_Dense", "4_Dense")]
    assert [dense["activation_function"].rpartition(".")[2] for dense in settings] == ["Tanh", "Identity"]
    assert all((dense["in_features"], dense["out_features"], dense["bias"]) == (3, 3, True) for dense in settings)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_damaged_whitening(tmp_path, name):
    encoder_format.write(tmp_path, EncoderFormat(whitening=whitening()), 3)
    (tmp_path / "3_Dense" / name).write_bytes(b"{")
    with pytest.raises(ModelError, match="not a readable sentence-transformers folder"):
        encoder_format.read(str(tmp_path), None)
