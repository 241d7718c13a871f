"""Word embeddings of tokens that training meets: trained as in the whole table, which else stays as it is."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from conftest import SENTENCES, SIZE, SIZES, on_ranks
from torch.nn.parallel import DistributedDataParallel

from nlift.data.schema import Triplet
from nlift.models.encoder import Encoder
from nlift.settings import TrainConfig
from nlift.training.batches import group_ids
from nlift.training.freezing import freeze
from nlift.training.gradcache import Embedder, add_gradients
from nlift.training.optimizer import optimizer_of, parameter_groups
from nlift.training.seen_tokens import SeenTokens, train_seen_tokens, whole_table
from nlift.training.simcse import SimCSE, simcse_term

ROWS = [Triplet(str(i), SENTENCES[i], SENTENCES[i + 4], SENTENCES[i + 8] if i % 2 else None) for i in range(6)]
UNSEEN = ["the small dog likes the map", "unheard-of words"]  # has tokens that ROWS have not
KINDS = ["bert", "xlm_roberta", *SIZES]


def config_of(**settings):
    return TrainConfig(learning_rate=0.01, max_length=16, **settings)


def texts_of(encoder):
    return SimCSE(ROWS, config_of(), 1, None).texts(encoder)


def table_of(encoder):
    """The rows of its word embeddings, as a plain encoder has them."""
    with whole_table(encoder):
        return encoder.backbone.get_input_embeddings().weight.detach().clone()


def seen_in(encoder):
    modules = [module for module in encoder.backbone.modules() if isinstance(module, SeenTokens)]
    assert len(modules) <= 1
    return modules[0] if modules else None


def steps(encoder, config, count=4, device_rows=None):
    """A few steps over ROWS, without dropout."""
    encoder.eval()
    optimizer, embedder = optimizer_of(encoder, config), Embedder(encoder)
    for step in range(count):
        rows = ROWS[:3] if step % 2 else ROWS  # Adam moves what it has met before too
        term = simcse_term(rows, group_ids(rows), config, encoder, hard=True, device_rows=device_rows)
        add_gradients(embedder, embedder, [term], seed=torch.manual_seed)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def trained(path, seen, config, **settings):
    """The backbone's weights after a few steps, in the whole table or in the rows that are seen."""
    encoder = Encoder.load(path)
    if seen:
        train_seen_tokens(encoder, texts_of(encoder))
        assert seen_in(encoder) is not None
    steps(encoder, config, **settings)
    with whole_table(encoder):
        return {name: value.detach().clone() for name, value in encoder.backbone.state_dict().items()}


@pytest.mark.parametrize("device_rows", [None, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_steps_end_bit_for_bit_as_in_the_whole_table(folder_of_kind, kind, device_rows):
    config = config_of(weight_decay=0.0)
    whole = trained(folder_of_kind(kind), False, config, device_rows=device_rows)
    rows = trained(folder_of_kind(kind), True, config, device_rows=device_rows)
    assert whole.keys() == rows.keys() and all(torch.equal(value, rows[name]) for name, value in whole.items())
    before = Encoder.load(folder_of_kind(kind)).backbone.state_dict()
    assert sum(not torch.equal(value, before[name]) for name, value in rows.items()) > 5


@pytest.mark.parametrize("kind", KINDS)
def test_unseen_rows_stay_as_they_are_with_weight_decay_too(folder_of_kind, kind):
    encoder = Encoder.load(folder_of_kind(kind))
    before = table_of(encoder)
    train_seen_tokens(encoder, texts_of(encoder))
    tokens = seen_in(encoder).tokens_S
    steps(encoder, config_of(weight_decay=0.5))
    moved = (table_of(encoder) != before).any(1)
    unseen = torch.ones(len(before), dtype=torch.bool)
    unseen[tokens] = False
    assert unseen.any() and not moved[unseen].any()
    assert moved[tokens].float().mean() > 0.7


def test_weight_decay_reaches_the_rows_that_are_seen(bert):
    config = config_of(weight_decay=0.5)
    whole, rows = trained(bert, False, config), trained(bert, True, config)
    encoder = Encoder.load(bert)
    train_seen_tokens(encoder, texts_of(encoder))
    tokens, name = seen_in(encoder).tokens_S, "embeddings.word_embeddings.weight"
    assert torch.equal(whole[name][tokens], rows[name][tokens]) and not torch.equal(whole[name], rows[name])


def test_a_token_of_padding_that_stands_in_a_text_is_not_trained_either(bert):
    ends, before = [], table_of(Encoder.load(bert))
    for seen in (False, True):
        encoder, config = Encoder.load(bert).eval(), config_of(weight_decay=0.0)
        table, token = encoder.backbone.get_input_embeddings(), encoder.tokenizer.pad_token_id
        assert table.padding_idx == token
        rows = [Triplet("1", "the map [PAD] near", "a red ball", None), *ROWS[:2]]
        assert token in encoder.tokens([rows[0].anchor])[0]
        if seen:
            train_seen_tokens(encoder, [([f"{row.anchor} {row.positive} {row.negative}" for row in rows], 64)])
        optimizer, embedder = optimizer_of(encoder, config), Embedder(encoder)
        term = simcse_term(rows, group_ids(rows), config, encoder, hard=True)
        add_gradients(embedder, embedder, [term], seed=torch.manual_seed)
        optimizer.step()
        ends.append(table_of(encoder))
    assert torch.equal(*ends)
    assert torch.equal(ends[1][token], before[token]) and not torch.equal(ends[1], before)


def test_fewer_parameters_are_trained(bert):
    encoder = Encoder.load(bert)
    count, width = encoder.backbone.get_input_embeddings().weight.shape
    before = sum(parameter.numel() for parameter in encoder.parameters() if parameter.requires_grad)
    train_seen_tokens(encoder, texts_of(encoder))
    after = sum(parameter.numel() for parameter in encoder.parameters() if parameter.requires_grad)
    seen = len(seen_in(encoder).tokens_S)
    assert 5 < seen < count and before - after == (count - seen) * width
    given = {id(parameter) for group in parameter_groups(encoder, config_of()) for parameter in group["params"]}
    assert id(seen_in(encoder).seen_SD) in given and id(seen_in(encoder).whole.weight) not in given


def test_rows_that_are_seen_have_the_learning_rate_of_word_embeddings(bert):
    encoder = Encoder.load(bert)
    train_seen_tokens(encoder, texts_of(encoder))
    words, *others = parameter_groups(encoder, TrainConfig(learning_rate=0.5, embedding_learning_rate=2.0))
    assert [id(parameter) for parameter in words["params"]] == [id(seen_in(encoder).seen_SD)]
    assert words["peak"] == 2.0 and {group["peak"] for group in others} == {0.5}


@pytest.mark.parametrize("kind", ["bert", "xlm_roberta"])
def test_the_tokens_are_those_of_the_texts_as_they_are_read(request, kind):
    encoder = Encoder.load(request.getfixturevalue(kind))
    special = set(encoder.tokenizer.all_special_ids)
    train_seen_tokens(encoder, [([SENTENCES[0]], 16), ([f"{SENTENCES[1]} {SENTENCES[-1]}"], 5)])
    read = [*encoder.tokens([SENTENCES[0]], 16)[0], *encoder.tokens([SENTENCES[1]], 5)[0]]
    assert set(seen_in(encoder).tokens_S.tolist()) == special | set(read)


def test_prefixes_are_seen(bert):
    prefixes = {"query": "the small dog ", "passage": "wants to find "}
    encoder = Encoder.load(bert, prefixes=prefixes)
    train_seen_tokens(encoder, texts_of(encoder))
    wanted = {token for tokens in encoder.tokens(list(prefixes.values())) for token in tokens}
    assert wanted <= set(seen_in(encoder).tokens_S.tolist())
    steps(encoder, config_of())  # meets no other token


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_are_the_same_and_an_unseen_token_is_no_other(folder_of_kind, kind):
    encoder, texts = Encoder.load(folder_of_kind(kind)), [row.anchor for row in ROWS]
    expected = encoder.encode(texts, max_length=16)
    train_seen_tokens(encoder, texts_of(encoder))
    assert np.array_equal(encoder.encode(texts, max_length=16), expected)
    with pytest.raises(IndexError):
        encoder.encode(UNSEEN)


@pytest.mark.parametrize("kind", ["bert", "albert", "xlnet"])
def test_the_whole_table_encodes_any_text_and_is_saved(folder_of_kind, kind, tmp_path):
    encoder = Encoder.load(folder_of_kind(kind))
    train_seen_tokens(encoder, texts_of(encoder))
    steps(encoder, config_of())
    trained_on = encoder.encode([row.anchor for row in ROWS])
    with whole_table(encoder):
        assert seen_in(encoder) is None
        assert encoder.state_dict().keys() == Encoder.load(folder_of_kind(kind)).state_dict().keys()
        vectors = encoder.encode([*UNSEEN, *SENTENCES])
        encoder.save(tmp_path)
    assert seen_in(encoder) is not None
    loaded = Encoder.load(tmp_path)
    assert np.array_equal(loaded.encode([*UNSEEN, *SENTENCES]), vectors)
    assert np.array_equal(loaded.encode([row.anchor for row in ROWS]), trained_on)
    assert not np.allclose(Encoder.load(folder_of_kind(kind)).encode(SENTENCES), vectors[len(UNSEEN) :], atol=1e-3)


def test_training_goes_on_after_the_whole_table_as_if_nothing_had_been(bert):
    ends = []
    for looks in (False, True):
        encoder, config = Encoder.load(bert).eval(), config_of()
        train_seen_tokens(encoder, texts_of(encoder))
        optimizer, embedder = optimizer_of(encoder, config), Embedder(encoder)
        for _ in range(3):
            term = simcse_term(ROWS, group_ids(ROWS), config, encoder, hard=True)
            add_gradients(embedder, embedder, [term], seed=torch.manual_seed)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if looks:
                with whole_table(encoder):
                    encoder.encode(UNSEEN)
        ends.append(table_of(encoder))
    assert torch.equal(*ends) and not torch.equal(ends[0], table_of(Encoder.load(bert)))


def test_training_goes_on_from_what_is_loaded_into_the_whole_table(bert):
    torch.manual_seed(8)
    encoder, other = Encoder.load(bert), Encoder.load(bert)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    train_seen_tokens(encoder, texts_of(encoder))
    steps(encoder, config_of())
    with whole_table(encoder):
        encoder.backbone.load_state_dict(other.backbone.state_dict())
    assert np.array_equal(encoder.encode([ROWS[0].anchor]), other.encode([ROWS[0].anchor]))
    assert torch.equal(table_of(encoder), table_of(other))
    steps(encoder, config_of(weight_decay=0.0))
    steps(other, config_of(weight_decay=0.0))
    assert torch.equal(table_of(encoder), table_of(other))


def test_an_error_in_the_whole_table_leaves_it(bert):
    encoder = Encoder.load(bert)
    train_seen_tokens(encoder, texts_of(encoder))
    seen = seen_in(encoder)
    with pytest.raises(ValueError, match="inside"), whole_table(encoder):
        raise ValueError("inside")
    assert seen_in(encoder) is seen


def test_an_encoder_of_which_all_is_trained_has_its_whole_table_anyway(bert):
    encoder = Encoder.load(bert)
    table = encoder.backbone.get_input_embeddings()
    with whole_table(encoder):
        assert encoder.backbone.get_input_embeddings() is table
    assert encoder.backbone.get_input_embeddings() is table and table.weight.requires_grad


def test_frozen_word_embeddings_stay_frozen(bert):
    encoder = Encoder.load(bert)
    freeze(encoder, "embeddings")
    train_seen_tokens(encoder, texts_of(encoder))
    assert seen_in(encoder) is None
    assert not encoder.backbone.get_input_embeddings().weight.requires_grad


def canine(make_model):
    return make_model(
        "canine", **SIZE, downsampling_rate=1, local_transformer_stride=4, num_hash_functions=2, num_hash_buckets=64
    )


@pytest.mark.parametrize("kind", ["canine", "ibert"])
def test_a_kind_without_a_plain_table_is_trained_as_it_is(make_model, kind):
    encoder = Encoder.load(canine(make_model) if kind == "canine" else make_model(kind, **SIZE))
    train_seen_tokens(encoder, texts_of(encoder))
    assert seen_in(encoder) is None and all(parameter.requires_grad for parameter in encoder.parameters())


@pytest.mark.parametrize("setting", ["max_norm", "scale_grad_by_freq", "sparse"])
def test_a_table_that_is_looked_up_otherwise_is_trained_as_it_is(bert, setting):
    encoder = Encoder.load(bert)
    setattr(encoder.backbone.get_input_embeddings(), setting, 1.0 if setting == "max_norm" else True)
    train_seen_tokens(encoder, texts_of(encoder))
    assert seen_in(encoder) is None


def test_a_table_that_stands_in_two_places_is_trained_as_it_is(bert):
    encoder = Encoder.load(bert)
    encoder.backbone.decoder = encoder.backbone.get_input_embeddings()
    train_seen_tokens(encoder, texts_of(encoder))
    assert seen_in(encoder) is None


def tokens_and_gradient(folder, rank=0, ranks=1):
    """What a rank sees, and its gradient of a step in float64 without dropout."""
    encoder = Encoder.load(folder).double().eval()
    train_seen_tokens(encoder, texts_of(encoder), ranks, rank)
    embedder, config, seen = Embedder(encoder), config_of(), seen_in(encoder)
    model = DistributedDataParallel(embedder, broadcast_buffers=False) if ranks > 1 else embedder
    term = simcse_term(ROWS[rank::ranks], group_ids(ROWS)[rank::ranks], config, encoder, hard=True)
    add_gradients(model, embedder, [term], seed=torch.manual_seed)
    return seen.tokens_S, seen.seen_SD.grad


def on_rank(rank, ranks, folder):
    return tokens_and_gradient(folder, rank, ranks)


def test_every_rank_trains_the_tokens_of_all_ranks(bert, tmp_path):
    whole_tokens, whole_gradient = tokens_and_gradient(bert)
    alone = Encoder.load(bert)
    train_seen_tokens(alone, [(group[1::2], length) for group, length in texts_of(alone)])
    assert len(seen_in(alone).tokens_S) < len(whole_tokens)  # a rank's share has fewer
    for tokens, gradient in on_ranks(on_rank, 2, tmp_path, bert):
        assert torch.equal(tokens, whole_tokens)
        torch.testing.assert_close(gradient, whole_gradient, rtol=1e-6, atol=1e-12)


def test_tokens_stand_in_order_whatever_the_order_of_texts(bert):
    token_ids = []
    for texts in (SENTENCES, SENTENCES[::-1]):
        encoder = Encoder.load(bert)
        train_seen_tokens(encoder, [(texts, 32)])
        token_ids.append(seen_in(encoder).tokens_S.tolist())
    assert token_ids[0] == token_ids[1] and all(a < b for a, b in pairwise(token_ids[0]))
