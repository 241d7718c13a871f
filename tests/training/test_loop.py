"""The parts of the training loop that need no Ray: schedule, decay, steps on several kinds of encoders."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import SENTENCES, SIZE, saved

from nlift.data.schema import Triplet
from nlift.errors import ModelError, NliftError
from nlift.models.encoder import Encoder
from nlift.settings import TrainConfig
from nlift.training.batches import group_ids
from nlift.training.checkpoints import Training
from nlift.training.early_stopping import EarlyStopping
from nlift.training.gradcache import Embedder, add_gradients
from nlift.training.loop import apply_gradients, load_encoder
from nlift.training.loop_settings import LoopSettings
from nlift.training.optimizer import optimizer_of
from nlift.training.simcse import simcse_term

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
    config = BertConfig(
        vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, max_position_embeddings=64, **SIZE
    )
    return saved(BertModel(config), tokenizer, folder)


def training(encoder, config, lower=None):
    return Training(
        config=config,
        encoder=encoder,
        base={},
        optimizer=optimizer_of(encoder, config),
        scaler=torch.amp.GradScaler("cpu", enabled=lower == torch.float16),
        early_stopping=EarlyStopping(None, None),
        validator=None,
        rank=0,
        ranks=1,
    )


def settings_in(folder, config):
    """What a loop over ROWS would get; it fails into `folder`."""
    return LoopSettings(
        train=config,
        seed=1,
        triplets=folder,
        lessons=None,
        dev=None,
        max_length=64,
        folder=folder,
        in_sweep=False,
    )


def losses(folder, tmp_path, steps=25, lower=None, device_rows=None, **settings):
    """Losses of a few steps over the same rows."""
    config = TrainConfig(base_model=str(folder), learning_rate=2e-3, **settings)
    torch.manual_seed(1)
    encoder = load_encoder(config, 64).eval()  # without dropout, so that few steps suffice
    state, embedder, values = training(encoder, config, lower), Embedder(encoder, lower), []
    for step in range(steps):
        term = simcse_term(ROWS, group_ids(ROWS), config, encoder, hard=True, device_rows=device_rows)
        loss = add_gradients(
            embedder,
            embedder,
            [term],
            seed=lambda piece, step=step: torch.manual_seed(100 * step + piece),
            scale=state.scaler.scale,
        )["loss"]
        apply_gradients(state, loss.item(), ROWS, settings_in(tmp_path, config))
        values.append(loss.item())
    return values


@pytest.mark.parametrize("kind", ["bert", "xlm_roberta", "herbert"])
@pytest.mark.parametrize("settings", [{}, {"pooling": "cls", "mlp_head": True, "device_rows": 2}])
def test_every_kind_of_encoder_learns(request, tmp_path, kind, settings):
    values = losses(request.getfixturevalue(kind), tmp_path, **settings)
    assert min(values[-3:]) < 0.75 * values[0]


@pytest.mark.parametrize("lower", [torch.bfloat16, torch.float16])
def test_half_precision_learns(bert, tmp_path, lower):
    values = losses(bert, tmp_path, lower=lower)
    assert min(values[-3:]) < 0.75 * values[0]


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
    term = simcse_term(ROWS, group_ids(ROWS), state.config, encoder, hard=True)
    loss = add_gradients(embedder, embedder, [term], seed=torch.manual_seed)["loss"]
    with pytest.raises(NliftError, match=r"the loss is nan at step 7, learning rate 5.00e-01"):
        apply_gradients(state, loss.item(), ROWS, settings_in(tmp_path, state.config))
    saved_batch = json.loads((tmp_path / "failed_batch.json").read_text())
    assert saved_batch["pair_ids"] == [row.pair_id for row in ROWS] and saved_batch["step"] == 7


def test_a_trial_of_a_sweep_names_where_its_batch_will_be(bert, tmp_path):
    state = training(Encoder.load(bert), TrainConfig())
    settings = replace(settings_in(tmp_path, state.config), in_sweep=True)
    with pytest.raises(NliftError, match=r"the batch's pair_ids are in trials\.json"):
        apply_gradients(state, float("inf"), ROWS, settings)
    assert (tmp_path / "failed_batch.json").is_file()


def test_a_kind_without_checkpointing_is_refused(make_model):
    folder = make_model("mpnet", **SIZE)
    with pytest.raises(ModelError, match="a mpnet does not support it"):
        load_encoder(TrainConfig(base_model=str(folder), gradient_checkpointing=True), 64)
