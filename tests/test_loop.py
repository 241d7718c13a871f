"""The parts of the training loop that need no Ray: schedule, decay, steps on several kinds of encoders, the log."""

import json
from itertools import pairwise

import numpy as np
import pytest
import torch
from conftest import SENTENCES, SIZE, saved

from nlift.checkpoints import Training
from nlift.encoder import Encoder
from nlift.errors import ModelError, NliftError
from nlift.gradients import Embedder, add_gradients
from nlift.loop import Log, _apply, load_encoder, parameter_groups, rate
from nlift.modes import group_ids
from nlift.schema import Triplet
from nlift.sections import TrainConfig
from nlift.watching import Patience

ROWS = [Triplet(str(i), SENTENCES[i], SENTENCES[-i - 1], SENTENCES[i + 8]) for i in range(8)]


@pytest.fixture(scope="module")
def herbert(tmp_path_factory):
    """Folder of a BERT with HerBERT's own kind of tokenizer: byte pairs with an end-of-word mark."""
    from tokenizers import CharBPETokenizer
    from transformers import BertConfig, BertModel, HerbertTokenizerFast

    folder = tmp_path_factory.mktemp("herbert")
    trained = CharBPETokenizer(suffix="</w>", unk_token="<unk>", lowercase=False)
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trained.train_from_iterator(SENTENCES, vocab_size=150, min_frequency=1, special_tokens=special, show_progress=False)
    vocabulary, merges = trained.save_model(str(folder))
    tokenizer = HerbertTokenizerFast(vocabulary, merges)
    config = BertConfig(vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, max_position_embeddings=64, **SIZE)
    return saved(BertModel(config), tokenizer, folder)


def training(encoder, config, lower=None):
    return Training(
        config=config,
        encoder=encoder,
        base={},
        optimizer=torch.optim.AdamW(parameter_groups(encoder, config.weight_decay), lr=config.learning_rate),
        scaler=torch.amp.GradScaler("cpu", enabled=lower == torch.float16),
        patience=Patience(None, None),
        dev=None,
        rank=0,
        ranks=1,
    )


def losses(folder, tmp_path, steps=25, lower=None, **settings):
    """Losses of a few steps over the same rows."""
    config = TrainConfig(base_model=str(folder), learning_rate=2e-3, **settings)
    torch.manual_seed(1)
    encoder = load_encoder(config, 64).eval()  # without dropout, so that few steps suffice
    state, embedder, found = training(encoder, config, lower), Embedder(encoder, lower), []
    for step in range(steps):
        loss = add_gradients(
            embedder,
            embedder,
            ROWS,
            group_ids(ROWS),
            config,
            hard=True,
            seed=lambda piece, step=step: torch.manual_seed(100 * step + piece),
            scale=state.scaler.scale,
        )
        _apply(state, loss.item(), ROWS, {"failures": str(tmp_path), "log": "log.jsonl"})
        found.append(loss.item())
    return found


def test_the_rate_rises_then_falls():
    values = [rate(step, 100, 0.1) for step in range(100)]
    assert values[0] == pytest.approx(0.1) and max(values) == 1.0 and 0 < values[-1] < 0.02
    assert np.argmax(values) == 9
    assert all(a <= b for a, b in pairwise(values[:10]))
    assert all(a >= b for a, b in pairwise(values[10:]))


def test_decay_on_matrices_alone():
    encoder = Encoder.load("embedded")
    decayed, plain = parameter_groups(encoder, 0.01)
    assert all(one.ndim > 1 for one in decayed["params"]) and all(one.ndim == 1 for one in plain["params"])
    assert len(decayed["params"]) + len(plain["params"]) == len(list(encoder.parameters()))


@pytest.mark.parametrize("kind", ["bert", "xlm_roberta", "herbert"])
@pytest.mark.parametrize("settings", [{}, {"pooling": "cls", "mlp_head": True, "device_batch_size": 2}])
def test_every_kind_of_encoder_learns(request, tmp_path, kind, settings):
    found = losses(request.getfixturevalue(kind), tmp_path, **settings)
    assert min(found[-3:]) < 0.75 * found[0]


@pytest.mark.parametrize("lower", [torch.bfloat16, torch.float16])
def test_half_precision_learns(bert, tmp_path, lower):
    found = losses(bert, tmp_path, lower=lower)
    assert min(found[-3:]) < 0.75 * found[0]


@pytest.mark.parametrize("kind", ["bert", "xlm_roberta", "herbert"])
def test_a_head_for_training_alone_is_left_out_of_what_is_saved(request, tmp_path, kind):
    from sentence_transformers import SentenceTransformer

    config = TrainConfig(base_model=str(request.getfixturevalue(kind)), pooling="cls", mlp_head="training")
    encoder = load_encoder(config, 64).eval()
    assert encoder.mlp_head
    encoder.mlp_head = False
    encoder.save(tmp_path / "encoder")
    loaded = Encoder.load(tmp_path / "encoder")
    assert not loaded.mlp_head
    peer = SentenceTransformer(str(tmp_path / "encoder"), device="cpu").encode(SENTENCES, normalize_embeddings=True)
    np.testing.assert_allclose(loaded.encode(SENTENCES), peer, atol=1e-5)


def test_a_loss_that_is_no_number_names_step_rate_and_batch(bert, tmp_path):
    encoder = Encoder.load(bert).train()
    with torch.no_grad():
        next(encoder.parameters()).fill_(float("nan"))
    state, embedder = training(encoder, TrainConfig(learning_rate=0.5)), Embedder(encoder)
    state.step = 7
    loss = add_gradients(embedder, embedder, ROWS, group_ids(ROWS), state.config, hard=True, seed=torch.manual_seed)
    with pytest.raises(NliftError, match=r"the loss is nan at step 7, learning rate 5.00e-01"):
        _apply(state, loss.item(), ROWS, {"failures": str(tmp_path), "log": "log.jsonl"})
    saved_batch = json.loads((tmp_path / "failed_batch.json").read_text())
    assert saved_batch["pair_ids"] == [row.pair_id for row in ROWS] and saved_batch["step"] == 7


def test_a_kind_without_checkpointing_is_refused(make_model):
    folder = make_model("mpnet", **SIZE)
    with pytest.raises(ModelError, match="a mpnet does not support it"):
        load_encoder(TrainConfig(base_model=str(folder), gradient_checkpointing=True), 64)


def test_what_was_logged_after_the_checkpoint_is_dropped(tmp_path):
    path = tmp_path / "log.jsonl"
    first = Log(str(path), 0)
    for step in range(1, 6):
        first.step(step, 1.0, 1e-3, 0.5)
    first.dev(4, {"ndcg@10": 0.5})
    first.close()
    path.write_text(path.read_text() + '{"step": 6, "lo')  # cut in the middle
    again = Log(str(path), 3)
    again.step(4, 0.5, 1e-3, 0.5)
    again.close()
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4] and rows[-1]["loss"] == 0.5
    assert (tmp_path / "dev.jsonl").read_text() == ""
    assert list((tmp_path / "tensorboard").glob("events.out.tfevents.*"))


def test_other_ranks_log_nothing(tmp_path):
    log = Log(None, 0)
    log.step(1, 1.0, 1e-3, 0.5)
    log.dev(1, {"map": 0.1})
    log.close()
    assert not list(tmp_path.iterdir())


def test_patience_counts_measurements_without_a_better_one():
    patience = Patience("ndcg@10", 2)
    for value, ended in ((0.1, False), (0.2, False), (0.2, False), (0.15, True)):
        patience.saw({"ndcg@10": value})
        assert patience.ended == ended
    lower = Patience("uniformity", 1)
    for value in (-1.0, -2.0):
        lower.saw({"uniformity": value})
    assert not lower.ended and lower.best == 2.0
    endless = Patience("map", None)
    for _ in range(5):
        endless.saw({"map": 0.1})
    assert not endless.ended and endless.stale == 4
