"""The work of stages, counted by hand."""

import math

import pytest
from conftest import SENTENCES, write_file
from transformers import AutoTokenizer

from nlift import pipeline
from nlift.config import Experiment
from nlift.data.sources import EMBEDDED
from nlift.pipeline import index, score, train, translate, triplets
from nlift.pipeline.stage import DataSize
from nlift.pipeline.survey import survey
from nlift.pipeline.workload import NamedModel, document_tokens, mean_tokens, shards

ENCODER = NamedModel("embedded", "encoder")
SIZE = DataSize(
    rows=1000, rows_in=1200, sentences=600, sample=["a b c"], triplets=400, with_negative=100, known={"embedded": 88}
)


def experiment(**changes):
    return Experiment.model_validate(
        {
            "name": "a",
            "nli": {"path": "embedded"},
            "translate": {"model": "embedded", "engine": "ctranslate2", "num_beams": 4, "shard_size": 256},
            "score": {"model": "embedded", "shard_size": 250, "num_actors": 2},
            "train": {"base_model": "embedded", "global_batch_size": 32, "epochs": 2, "base_share": 0},
            **changes,
        }
    )


def length(folder, text):
    return len(AutoTokenizer.from_pretrained(EMBEDDED / folder)(text)["input_ids"])


def test_tokens_of_texts():
    texts = ["Pies biegnie.", "Kot śpi na kanapie, a deszcz pada."]
    lengths = [length("encoder", text) for text in texts]
    assert mean_tokens(ENCODER, texts) == sum(lengths) / 2
    assert mean_tokens(ENCODER, texts, 5) == sum(min(5, tokens) for tokens in lengths) / 2
    assert mean_tokens(ENCODER, []) == 0
    assert mean_tokens(NamedModel("embedded", "comet"), texts) == sum(lengths) / 2  # it has the encoder's tokenizer
    assert mean_tokens(NamedModel("embedded", "translator"), texts[:1]) == length("translator", texts[0])


def test_tokens_for_a_model_that_is_not_here_go_by_characters():
    assert mean_tokens(NamedModel("someone/model", "encoder"), ["four" * 10]) == 40 / 4 + 2


def test_a_long_text_is_read_once_and_what_passages_share_again(tmp_path):
    corpus = write_file(tmp_path / "corpus.jsonl", [{"_id": "1", "text": " ".join(["pies"] * 100)}])
    whole = length("encoder", " ".join(["pies"] * 100))
    assert document_tokens(ENCODER, str(corpus), 50, None) == (1, 50)
    assert document_tokens(ENCODER, str(corpus), 50, 10) == (1, whole + 10 * math.ceil((whole - 50) / 40))
    assert document_tokens(ENCODER, str(corpus), 1000, 10) == (1, whole)


def test_shards():
    assert shards(0, 10) == shards(10, 10) == 1
    assert shards(11, 10) == 2
    assert shards(1000, 10, 4) == 4


def test_translation_is_of_what_the_memory_lacks():
    (work,) = translate.STAGE.workload(experiment(), SIZE).passes
    assert work.tokens == (600 - 88) * length("translator", "a b c")
    assert (work.use, work.settings, work.most_workers) == ("translate", "ctranslate2, auto, 4 beams", 2)


def test_candidates_are_scored_too():
    load = translate.STAGE.workload(experiment(translate={"candidates": ["embedded", "x/y"]}), SIZE)
    assert [(work.use, work.model.name) for work in load.passes] == [
        ("translate", "embedded"),
        ("score", "embedded"),
        ("translate", "x/y"),
        ("score", "embedded"),
    ]
    assert load.serial_s == pytest.approx(2 * 1000 * translate.S_PER_ROW)


def test_scoring_reads_sentences_and_their_translations():
    (work,) = score.STAGE.workload(experiment(), SIZE).passes
    assert work.tokens == pytest.approx(600 * 2 * length("encoder", "a b c"))
    assert work.most_workers == 2


def test_training_reads_the_texts_of_whole_batches():
    """400 triplets, a quarter with a negative: 12 batches of 32 rows, each row of 2.25 texts."""
    (work,) = train.STAGE.workload(experiment(), SIZE).passes
    assert work.tokens == pytest.approx(2 * 12 * 32 * 2.25 * length("encoder", "a b c"))
    assert work.most_workers == 1
    config = {"mode": "pairs", "base_share": 0, "global_batch_size": 100, "epochs": 1}
    (pairs,) = train.STAGE.workload(experiment(train=config), SIZE).passes
    assert pairs.tokens == pytest.approx(4 * 100 * 2 * length("encoder", "a b c"))


def test_the_guard_encodes_by_every_average():
    changed = experiment(train={"base_model": "embedded"}, index={"corpus": "embedded:poquad_pl"})
    *_, guarding = train.STAGE.workload(changed, SIZE).passes
    assert (guarding.use, guarding.most_workers) == ("embed", 5)
    assert guarding.tokens > 5 * 1104 * 100


def test_an_index_reads_every_passage():
    changed = experiment(index={"corpus": "embedded:poquad_pl", "max_length": 256, "overlap": 32})
    (work,) = index.STAGE.workload(changed, SIZE).passes
    assert work.tokens == document_tokens(ENCODER, "embedded:poquad_pl", 256, 32)[1]
    assert work.most_workers == 16


def test_an_evaluation_is_shared_by_encoder_and_set():
    sets = [
        {"name": "one", "kind": "retrieval", "path": "embedded:poquad_pl"},
        {"name": "two", "kind": "sts", "path": "embedded:stsb_pl"},
    ]
    (work,) = next(
        stage.workload(changed, SIZE).passes
        for changed in [experiment(evaluate={"sets": sets})]
        for stage in pipeline.stages(changed)
        if stage.name == "evaluate"
    )
    assert 2 <= work.most_workers < 3  # base and tuned on the large set, the small one beside either
    assert work.tokens > 2 * 1104 * 150


def test_every_stage_says_what_it_has_to_do():
    changed = experiment(
        mine={"encoder": "embedded"}, cloze={"corpus": "embedded:poquad_pl"}, index={"corpus": "embedded:poquad_pl"}
    )
    size = survey(changed)
    for stage in pipeline.stages(changed):
        load = stage.workload(changed, size)
        assert load.serial_s > 0 or load.passes, stage.name
        assert all(work.tokens >= 0 and work.most_workers >= 1 and work.cpu_s >= 0 for work in load.passes)


def test_sentences_are_drawn_from_both_sides(tmp_path):
    rows = [{"premise": text, "hypothesis": f"{text} now", "label": "entailment"} for text in SENTENCES]
    path = write_file(tmp_path / "pairs.jsonl", rows)
    sample = survey(experiment(nli={"path": str(path)}, triplets={"require_negative": False})).sample
    assert len(sample) == len(set(sample)) == 2 * len(SENTENCES)
    assert triplets.STAGE.workload(experiment(), SIZE).serial_s == pytest.approx(1000 * triplets.S_PER_ROW)
