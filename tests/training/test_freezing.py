"""Parts that training leaves as they are: which they are in several kinds of models, and that they do not move."""

import pytest
import torch
from conftest import SENTENCES, SIZE, SIZES

from nlift.data.schema import Triplet
from nlift.errors import ModelError
from nlift.models.encoder import Encoder
from nlift.settings import TrainConfig
from nlift.training.batches import group_ids
from nlift.training.freezing import freeze
from nlift.training.gradcache import Embedder, add_gradients
from nlift.training.loop import load_encoder
from nlift.training.optimizer import optimizer_of
from nlift.training.simcse import simcse_term

ROWS = [Triplet(str(i), SENTENCES[i], SENTENCES[i + 4], SENTENCES[i + 8]) for i in range(6)]
LAYERS = {
    "bert": "encoder.layer",
    "xlm_roberta": "encoder.layer",
    "distilbert": "transformer.layer",
    "electra": "encoder.layer",
    "mpnet": "encoder.layer",
    "xlnet": "layer",
}
KINDS = [*LAYERS, "albert"]


def frozen(encoder):
    return {name for name, parameter in encoder.backbone.named_parameters() if not parameter.requires_grad}


def below(encoder, *modules):
    """The names of the parameters of some modules."""
    names = [name for name, _ in encoder.backbone.named_parameters()]
    return {name for name in names if name.startswith(tuple(f"{module}." for module in modules))}


def embeddings_of(kind):
    return "word_embedding" if kind == "xlnet" else "embeddings"


@pytest.mark.parametrize("kind", KINDS)
def test_embeddings_alone(folder_of_kind, kind):
    encoder = Encoder.load(folder_of_kind(kind))
    freeze(encoder, "embeddings")
    assert frozen(encoder) == below(encoder, embeddings_of(kind))
    assert not encoder.backbone.get_input_embeddings().weight.requires_grad


@pytest.mark.parametrize("kind", list(LAYERS))
def test_the_first_layers_beside_the_embeddings(folder_of_kind, kind):
    encoder = Encoder.load(folder_of_kind(kind))
    freeze(encoder, 1)
    assert frozen(encoder) == below(encoder, embeddings_of(kind), f"{LAYERS[kind]}.0")
    assert below(encoder, f"{LAYERS[kind]}.0") and below(encoder, f"{LAYERS[kind]}.1")


def test_several_layers(make_model):
    encoder = Encoder.load(make_model("bert", **{**SIZE, "num_hidden_layers": 12}))
    freeze(encoder, 10)
    assert frozen(encoder) == below(encoder, "embeddings", *(f"encoder.layer.{i}" for i in range(10)))


def test_nothing(bert):
    encoder = Encoder.load(bert)
    freeze(encoder, None)
    assert not frozen(encoder)


@pytest.mark.parametrize("kind", list(LAYERS))
@pytest.mark.parametrize("count", [2, 7])
def test_not_so_many_layers(folder_of_kind, kind, count):
    encoder = Encoder.load(folder_of_kind(kind))
    with pytest.raises(ModelError) as caught:
        freeze(encoder, count)
    name = encoder.backbone.config.model_type
    assert str(caught.value) == (
        f"train.freeze {count}: the model, of kind {name}, has 2 layers; expected embeddings, "
        "or fewer layers than it has"
    )
    assert not frozen(encoder)


def test_layers_that_share_their_weights_are_one(folder_of_kind):
    with pytest.raises(ModelError, match=r"train\.freeze 1: the model, of kind albert, has 1 layers"):
        freeze(Encoder.load(folder_of_kind("albert")), 1)


def test_groups_of_layers_that_share_their_weights_are_layers(make_model):
    encoder = Encoder.load(make_model("albert", **SIZES["albert"], num_hidden_groups=2))
    freeze(encoder, 1)
    assert frozen(encoder) == below(encoder, "embeddings", "encoder.albert_layer_groups.0")


@pytest.mark.parametrize(
    ("kind", "wanted"), [*((kind, "embeddings") for kind in KINDS), *((kind, 1) for kind in LAYERS)]
)
def test_what_is_frozen_does_not_move_and_the_rest_does(folder_of_kind, kind, wanted):
    encoder, config = Encoder.load(folder_of_kind(kind)).eval(), TrainConfig(learning_rate=0.01, weight_decay=0.5)
    freeze(encoder, wanted)
    left, before = frozen(encoder), {name: value.clone() for name, value in encoder.backbone.state_dict().items()}
    optimizer, embedder = optimizer_of(encoder, config), Embedder(encoder)
    given = sum(parameter.numel() for group in optimizer.param_groups for parameter in group["params"])
    assert given == sum(parameter.numel() for parameter in encoder.parameters() if parameter.requires_grad)
    term = simcse_term(ROWS, group_ids(ROWS), config, encoder, hard=True)
    add_gradients(embedder, embedder, [term], seed=torch.manual_seed)
    optimizer.step()
    moved = {name for name, value in encoder.backbone.named_parameters() if not torch.equal(value, before[name])}
    assert not moved & left
    # a pooler that is not used and XLNet's second stream have no gradient, and a key's bias changes no attention
    expected = {name for name, value in encoder.backbone.named_parameters() if value.grad is not None}
    assert len(moved) > 10 and moved >= {name for name in expected if name.endswith(".weight")}


def test_the_gradient_of_the_rest_is_the_same(bert):
    gradients = []
    for wanted in (None, 1):
        encoder, config = Encoder.load(bert).eval(), TrainConfig()
        freeze(encoder, wanted)
        term = simcse_term(ROWS, group_ids(ROWS), config, encoder, hard=True)
        add_gradients(embedder := Embedder(encoder), embedder, [term], seed=torch.manual_seed)
        gradients.append({name: parameter.grad for name, parameter in encoder.backbone.named_parameters()})
    whole, rest = gradients
    names = {name for name, gradient in rest.items() if gradient is not None}
    assert names == {name for name in whole if name.startswith("encoder.layer.1.")}
    torch.testing.assert_close({name: rest[name] for name in names}, {name: whole[name] for name in names})


def test_a_head_is_trained_whatever_is_frozen(bert):
    encoder = Encoder.load(bert, mlp_head=True)
    freeze(encoder, 1)
    assert all(parameter.requires_grad for parameter in encoder.backbone.pooler.parameters())


def test_pieces_and_checkpointing_go_through_frozen_layers(bert):
    ends = []
    for device_rows, checkpointing in ((None, False), (2, True)):
        config = TrainConfig(base_model=str(bert), freeze=1, gradient_checkpointing=checkpointing)
        encoder = load_encoder(config, 64).train()
        for module in encoder.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        for layer in encoder.backbone.encoder.layer:
            layer.attention.self.dropout_prob = 0.0
        term = simcse_term(ROWS, group_ids(ROWS), config, encoder, hard=True, device_rows=device_rows)
        add_gradients(embedder := Embedder(encoder), embedder, [term], seed=torch.manual_seed)
        ends.append([parameter.grad for parameter in encoder.parameters() if parameter.requires_grad])
    assert ends[0] and all(gradient is not None for gradient in ends[1])
    torch.testing.assert_close(ends[1], ends[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("wanted", "layers"), [("embeddings", 0), (1, 1), (None, -1)])
def test_an_encoder_is_loaded_with_what_its_settings_freeze(bert, wanted, layers):
    encoder = load_encoder(TrainConfig(base_model=str(bert), freeze=wanted), 64)
    expected = below(encoder, "embeddings", *(f"encoder.layer.{i}" for i in range(layers)))
    assert frozen(encoder) == (set() if wanted is None else expected)


@pytest.mark.parametrize("kind", ["xlm", "flaubert"])
def test_layers_in_lists_side_by_side(make_model, kind):
    sizes = {"emb_dim": 32, "n_layers": 2, "n_heads": 2, "max_position_embeddings": 64}
    encoder = Encoder.load(make_model(kind, **sizes))
    freeze(encoder, 1)
    names = frozen(encoder)
    for part in ("attentions.0.", "layer_norm1.0.", "ffns.0.", "layer_norm2.0.", "position_embeddings."):
        assert any(name.startswith(part) for name in names)
    assert not any(".1." in name for name in names)
