"""How large models are, beside the weights that they have."""

import pytest
from transformers import AutoModel, AutoModelForSeq2SeqLM

from nlift.cost.model_size import ON_THE_HUB, ModelSize, size_of
from nlift.data.sources import EMBEDDED
from nlift.pipeline.workload import NamedModel


def test_operations_by_hand():
    """Of an encoder two for each number of its matrices; of a translator the decoder's and the vocabulary's by beam."""
    assert ModelSize(2, 0, 8, 32, 100).operations() == 2 * 2 * (4 * 64 + 2 * 8 * 32)
    assert ModelSize(1, 1, 8, 32, 100).operations(3) == 2 * (768 + 3 * (8 * 64 + 2 * 8 * 32 + 800))


@pytest.mark.parametrize("kind", ["encoder", "translator"])
def test_parameters_are_nearly_those_of_the_checkpoint(kind):
    model_class = AutoModel if kind == "encoder" else AutoModelForSeq2SeqLM
    weights = sum(weight.numel() for weight in model_class.from_pretrained(EMBEDDED / kind).parameters())
    assert size_of(NamedModel("embedded", kind)).parameters == pytest.approx(weights, rel=0.05)


def test_a_comet_is_its_encoder():
    assert size_of(NamedModel("embedded", "comet")) == size_of(NamedModel("embedded", "encoder"))


def test_models_of_other_kinds(folder_of_kind):
    for kind in ("bert", "xlm_roberta", "distilbert", "electra"):
        size = size_of(NamedModel(str(folder_of_kind(kind)), "encoder"))
        assert (size.layers, size.decoder_layers, size.width, size.inner) == (2, 0, 32, 64), kind


def test_models_of_the_hub():
    mbart = size_of(NamedModel("facebook/mbart-large-50-many-to-many-mmt", "translator"))
    assert mbart.parameters == pytest.approx(611e6, rel=0.02)  # as its publishers say
    assert ON_THE_HUB["intfloat/multilingual-e5-small"].parameters == pytest.approx(118e6, rel=0.02)
    assert size_of(NamedModel("someone/model", "encoder")) is None
