"""An encoder's form on disk: read as it was written, and its mistakes named."""

import json

import pytest
import torch

from nlift.errors import ModelError
from nlift.models import encoder_format
from nlift.models.encoder_format import DenseHead, EncoderFormat

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
