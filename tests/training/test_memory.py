"""Rows in memory: worked out from the total memory, the model and the length of texts, and from nothing else."""

import pytest
import torch
from conftest import SIZE

from nlift.errors import ResourceError
from nlift.models.encoder import Encoder
from nlift.training import memory
from nlift.training.freezing import freeze
from nlift.training.memory import COLUMNS, fixed_bytes, rows_in_memory, texts_beside, token_bytes, total_bytes

CPU = torch.device("cpu")
MIB = 2**20


@pytest.fixture(scope="module")
def encoder(bert):
    return Encoder.load(bert)


def enough(encoder, rows, max_length=32, checkpointing=False):
    """Memory for so many rows, exactly."""
    of_a_row = COLUMNS * max_length * token_bytes(encoder, max_length, checkpointing)
    return fixed_bytes(encoder) + rows * of_a_row


@pytest.mark.parametrize(
    ("fit", "rows", "expected"),
    [
        (64, 64, 64),
        (100, 64, 64),
        (48, 48, 48),  # all, which is no power of two
        (1000, 48, 48),
        (63, 64, 32),
        (47.99, 48, 32),
        (33, 64, 32),
        (32, 64, 32),
        (31.99, 64, 16),
        (10, 512, 8),
        (3, 512, 2),
        (1, 512, 1),
        (1, 1, 1),
    ],
)
def test_all_rows_where_they_fit_else_a_power_of_two(encoder, fit, rows, expected):
    assert rows_in_memory(encoder, rows, 32, enough(encoder, fit), False) == expected


@pytest.mark.parametrize("fit", [0.99, 0, -100])
def test_not_even_one_row(encoder, fit):
    with pytest.raises(ResourceError) as caught:
        rows_in_memory(encoder, 64, 32, enough(encoder, fit), False)
    line = str(caught.value)
    assert len(line.splitlines()) == 1 and line.startswith("train: bert with texts of 32 tokens does not fit in the")
    for setting in ("max_length", "num_workers", "freeze", "gradient_checkpointing", "base_model"):
        assert f"train.{setting}" in line


def test_the_line_says_how_much_memory_there_is(encoder):
    with pytest.raises(ResourceError, match=r"does not fit in the 1\.5 GiB that a worker may use"):
        rows_in_memory(encoder, 64, 10**6, 1.5 * 2**30, False)


def test_checkpointing_allows_more(make_model):
    encoder = Encoder.load(make_model("bert", **{**SIZE, "num_hidden_layers": 6}))
    has = enough(encoder, 10)
    plain, twice = (rows_in_memory(encoder, 4096, 32, has, checkpointing) for checkpointing in (False, True))
    assert plain == 8 and twice >= 4 * plain


def test_longer_texts_allow_fewer(encoder):
    has = enough(encoder, 512)
    rows = [rows_in_memory(encoder, 4096, length, has, False) for length in (8, 32, 128, 512)]
    assert rows == sorted(set(rows), reverse=True) and rows[1] == 512


def test_a_token_of_a_longer_text_needs_more(encoder):
    """Attention has a weight for each pair of tokens, three times in each head."""
    for checkpointing, layers in ((False, 2), (True, 1)):
        short, long = (token_bytes(encoder, length, checkpointing) for length in (10, 110))
        assert long - short == layers * 5 * 3 * 2 * 100  # four bytes and a quarter more


def test_what_is_counted_of_a_small_bert(encoder):
    layer = 9 * 32 + 2 * 64 + 3 * 2 * 10  # hidden 32, inner 64, 2 heads of 10 tokens
    assert token_bytes(encoder, 10, False) == 5 * 2 * layer  # four bytes and a quarter more
    assert token_bytes(encoder, 10, True) == 5 * (2 * 32 + layer)


def kept(encoder, rows, length):
    """Bytes that autograd has from a forward pass in training, weights apart."""
    weights = {tensor.untyped_storage().data_ptr() for tensor in [*encoder.parameters(), *encoder.buffers()]}
    storages = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            storages[storage.data_ptr()] = storage  # held, so that no other gets its place
        return tensor

    tokens = torch.randint(5, 40, (rows, length), generator=torch.Generator().manual_seed(1))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        encoder.train()({"input_ids": tokens, "attention_mask": torch.ones_like(tokens)})
    return sum(storage.nbytes() for storage in storages.values())


@pytest.mark.parametrize("kind", ["bert", "distilbert", "mpnet"])
def test_what_autograd_keeps_is_about_what_is_counted(make_model, kind):
    sizes = {"hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 256}
    if kind == "distilbert":
        sizes = {"dim": 64, "n_layers": 4, "n_heads": 4, "hidden_dim": 256}
    encoder = Encoder.load(make_model(kind, **sizes))
    for length in (8, 48):
        counted = 6 * length * token_bytes(encoder, length, False)
        assert kept(encoder, 6, length) == pytest.approx(counted, rel=0.2)


def test_kinds_that_name_their_sizes_otherwise(make_model):
    sizes = {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 128}
    distilbert = Encoder.load(make_model("distilbert", **sizes))
    bert = Encoder.load(make_model("bert", **{**SIZE, "intermediate_size": 128}))
    for checkpointing in (False, True):
        assert token_bytes(distilbert, 20, checkpointing) == token_bytes(bert, 20, checkpointing)


@pytest.mark.parametrize("wanted", ["embeddings", 1])
def test_what_is_frozen_has_no_gradient_and_no_moments(bert, wanted):
    encoder = Encoder.load(bert)
    whole = fixed_bytes(encoder)
    count = sum(parameter.numel() for parameter in encoder.parameters())
    assert whole == 4 * 4 * count
    freeze(encoder, wanted)
    left = sum(parameter.numel() for parameter in encoder.parameters() if not parameter.requires_grad)
    assert left and fixed_bytes(encoder) == 4 * (4 * (count - left) + left)


def test_freezing_lets_rows_fit_that_did_not(bert):
    encoder = Encoder.load(bert)
    has = fixed_bytes(encoder)
    with pytest.raises(ResourceError):
        rows_in_memory(encoder, 64, 4, has, False)
    freeze(encoder, 1)
    assert rows_in_memory(encoder, 64, 4, has, False) > 1


def test_the_same_of_the_same(bert):
    """Nothing that the machine does meanwhile, and no weight, changes it."""
    first, second = Encoder.load(bert), Encoder.load(bert)
    with torch.no_grad():
        for parameter in second.parameters():
            parameter.add_(1.0)
    rows = rows_in_memory(first, 4096, 32, enough(first, 77), False)
    much = torch.ones(8 * MIB)
    assert rows_in_memory(second, 4096, 32, enough(second, 77), False) == rows == 64
    assert total_bytes(CPU) == total_bytes(CPU) > much.nbytes


@pytest.fixture
def limits(monkeypatch, tmp_path):
    """Writes the limits of a container, as its two versions have them; None leaves a file out."""

    def write(*texts):
        paths = [tmp_path / f"limit{i}" for i in range(len(texts))]
        for path, text in zip(paths, texts, strict=True):
            if text is not None:
                path.write_text(f"{text}\n")
        monkeypatch.setattr(memory, "LIMITS", tuple(map(str, paths)))

    return write


def test_without_a_container_the_machines_memory_counts(limits):
    limits(None, None)
    machine = total_bytes(CPU)
    assert machine > 256 * MIB
    limits("max", None)  # a container without a limit
    assert total_bytes(CPU) == machine
    limits(None, 2**63 - 4096)  # the same in version 1
    assert total_bytes(CPU) == machine


@pytest.mark.parametrize(
    ("version_2", "version_1"),
    [(64 * MIB, None), (None, 64 * MIB), (64 * MIB, 128 * MIB), (128 * MIB, 64 * MIB)],
)
def test_the_limit_of_a_container_counts_where_it_is_less(limits, version_2, version_1):
    limits(version_2, version_1)
    assert total_bytes(CPU) == 64 * MIB


def test_limits_are_looked_for_where_linux_has_them():
    assert memory.LIMITS == ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpus_own_memory(limits):
    limits(64 * MIB, None)
    assert total_bytes(torch.device("cuda", 0)) == torch.cuda.mem_get_info()[1]


def test_texts_of_another_length_have_as_many_tokens():
    assert texts_beside(4, max_length=16, text_length=48) == 4
    assert texts_beside(4, max_length=16, text_length=16) == 12
    assert texts_beside(1, max_length=16, text_length=512) == 1


def test_texts_that_stand_alone_are_as_many_as_columns_together(bert):
    encoder = Encoder.load(bert)
    memory = fixed_bytes(encoder) + 3 * 4 * 16 * token_bytes(encoder, 16, False) + 1
    assert rows_in_memory(encoder, 1000, 16, memory, False) == 4
    assert rows_in_memory(encoder, 1000, 16, memory, False, columns=1) == 8
    assert rows_in_memory(encoder, 12, 16, memory, False, columns=1) == 12
