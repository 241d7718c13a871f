"""COMET on the embedded checkpoint, against unbabel-comet itself; no Ray."""

import json
import shutil

import numpy as np
import pytest
import torch
import yaml

from nlift.data import sources
from nlift.errors import ModelError
from nlift.models.comet import CometScorer, cache, identity, load_comet
from nlift.settings import ScoreConfig

SOURCES = ["A dog runs.", "Two women are embracing in front of a large house.", "Hello!", "A man reads."]
TARGETS = ["Pies biegnie.", "Dwie kobiety się obejmują.", "", "Zupełnie coś innego, bardzo długiego i bez związku."]


@pytest.fixture
def checkpoint(tmp_path):
    folder = tmp_path / "comet"
    shutil.copytree(sources.EMBEDDED / "comet", folder)
    hparams = yaml.safe_load((folder / "hparams.yaml").read_text())
    hparams["pretrained_model"] = str(sources.EMBEDDED / "encoder")
    (folder / "hparams.yaml").write_text(yaml.safe_dump(hparams))
    return folder


def test_scores_equal_comet_itself(checkpoint):
    from comet.models import ReferencelessRegression

    theirs = ReferencelessRegression.load_from_checkpoint(
        checkpoint / "checkpoints" / "model.ckpt",
        pretrained_model=str(sources.EMBEDDED / "encoder"),
        load_pretrained_weights=False,
    )
    samples = [{"src": src, "mt": mt} for src, mt in zip(SOURCES, TARGETS, strict=True)]
    expected = theirs.predict(samples, batch_size=4, gpus=0, num_workers=1, progress_bar=False).scores
    ours = CometScorer(ScoreConfig(batch_tokens=16)).score(SOURCES, TARGETS)
    assert np.abs(ours - np.array(expected)).max() < 1e-5


def test_a_repeated_text_is_encoded_once_and_scores_the_same():
    scorer = CometScorer(ScoreConfig())
    encoded, embed = [], scorer._forward
    scorer._forward = lambda rows: encoded.extend(rows) or embed(rows)
    together = scorer.score(SOURCES * 3, TARGETS * 3)
    assert sorted(encoded) == sorted(scorer.model.encoder.tokenizer(SOURCES + TARGETS)["input_ids"])
    assert np.allclose(together, np.tile(scorer.score(SOURCES, TARGETS), 3), atol=1e-6)


def test_batches_of_every_core_score_the_same(two_threads):
    scorer = CometScorer(ScoreConfig(batch_tokens=16))
    together = scorer.score(SOURCES, TARGETS)
    torch.set_num_threads(1)
    assert np.allclose(scorer.score(SOURCES, TARGETS), together, atol=1e-6)


def test_scores_in_bfloat16_come_close_and_are_kept_apart():
    lower, exact = ScoreConfig(compute_type="bfloat16"), ScoreConfig()
    scores = [CometScorer(config).score(SOURCES, TARGETS) for config in (lower, exact)]
    assert 0 < np.abs(scores[0] - scores[1]).max() < 0.05
    assert identity(lower) != identity(exact)


def test_no_pairs_have_no_scores():
    assert CometScorer(ScoreConfig()).score([], []).shape == (0,)


def test_a_score_that_is_no_number():
    scorer = CometScorer(ScoreConfig())
    with torch.no_grad():
        scorer.model.estimator.ff[0].bias[0] = float("nan")
    with pytest.raises(ModelError) as caught:
        scorer.score(SOURCES, TARGETS)
    line = str(caught.value)
    assert line == "score.model embedded: 4 of 4 pairs have NaN or infinity as score; its checkpoint is damaged"


def test_an_encoders_own_code_is_not_run(checkpoint, tmp_path):
    encoder = shutil.copytree(sources.EMBEDDED / "encoder", checkpoint / "encoder")
    for name, mapped in (("config.json", "AutoConfig"), ("tokenizer_config.json", "AutoTokenizer")):
        settings = json.loads((encoder / name).read_text())
        (encoder / name).write_text(json.dumps({**settings, "auto_map": {mapped: "own.Own"}}))
    (encoder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    hparams = yaml.safe_load((checkpoint / "hparams.yaml").read_text())
    (checkpoint / "hparams.yaml").write_text(yaml.safe_dump({**hparams, "pretrained_model": "encoder"}))
    assert load_comet(checkpoint).encoder.tokenizer("pies")["input_ids"]
    assert not (tmp_path / "ran").exists()


def test_translations_score_above_other_sentences():
    pairs = {
        "I have a dog.": "Mam psa.",
        "He works in a hospital.": "On pracuje w szpitalu.",
        "She reads a book.": "Ona czyta książkę.",
        "We went to school.": "Poszliśmy do szkoły.",
        "I don't like milk.": "Nie lubię mleka.",
        "Where is the train station?": "Gdzie jest dworzec kolejowy?",
    }
    scorer = CometScorer(ScoreConfig())
    english, targets = list(pairs), list(pairs.values())
    assert scorer.score(english, targets).mean() > scorer.score(english, targets[1:] + targets[:1]).mean() + 0.3


def test_a_moved_checkpoint_finds_its_encoder(checkpoint):
    assert load_comet(checkpoint).encoder.tokenizer("pies")["input_ids"]


def test_a_checkpoint_of_the_hub_finds_its_encoder_inside_its_own_folder(checkpoint):
    """As docs/cookbook.md has it where there is no network: shape and tokenizer, without weights."""
    hparams = yaml.safe_load((checkpoint / "hparams.yaml").read_text())
    (checkpoint / "hparams.yaml").write_text(yaml.safe_dump(hparams | {"pretrained_model": "xlm-roberta-large"}))
    (checkpoint / "xlm-roberta-large").mkdir()
    for path in (sources.EMBEDDED / "encoder").glob("*.json"):
        shutil.copy(path, checkpoint / "xlm-roberta-large")
    scores = CometScorer(ScoreConfig(model=str(checkpoint))).score(SOURCES, TARGETS)
    assert (scores == CometScorer(ScoreConfig()).score(SOURCES, TARGETS)).all()


def test_a_model_that_needs_references(checkpoint):
    hparams = yaml.safe_load((checkpoint / "hparams.yaml").read_text())
    (checkpoint / "hparams.yaml").write_text(yaml.safe_dump({**hparams, "class_identifier": "regression_metric"}))
    with pytest.raises(ModelError, match="expected a reference-free"):
        load_comet(checkpoint)


def test_a_corrupt_checkpoint(checkpoint):
    (checkpoint / "checkpoints" / "model.ckpt").write_bytes(b"not a checkpoint")
    with pytest.raises(ModelError, match="not a readable COMET checkpoint") as caught:
        load_comet(checkpoint)
    assert "\n" not in str(caught.value)


def test_a_folder_without_checkpoint(tmp_path):
    with pytest.raises(ModelError, match=r"hparams\.yaml: missing"):
        load_comet(tmp_path)


def test_the_identity_holds_what_changes_results_and_nothing_else(tmp_path):
    base = identity(ScoreConfig())
    assert identity(ScoreConfig(batch_tokens=7, shard_size=9, num_actors=3)) == base
    for change in ({"compute_type": "float32"}, {"revision": "x"}, {"model": "org/name"}):
        assert identity(ScoreConfig(**change)) != base
    folders = [cache(ScoreConfig(num_actors=count), str(tmp_path)).folder for count in (1, 2)]
    assert folders[0] == folders[1] and folders[0].startswith(f"{tmp_path}/scores/")
