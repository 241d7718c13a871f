"""The terms of a run's loss, by its settings, from the files that stages write."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from conftest import SENTENCES

from nlift.data.schema import ParallelPair, RankedPassages, Triplet, to_table
from nlift.errors import ArtifactError
from nlift.models.encoder import Encoder
from nlift.pipeline.stage_folder import Output
from nlift.settings import TrainConfig
from nlift.training.gradcache import Embedder, add_gradients
from nlift.training.objectives import PARALLEL, RANKINGS, TEACHER, objectives
from nlift.training.search_distillation import SearchDistillation
from nlift.training.simcse import SimCSE
from nlift.training.translation_distillation import TranslationDistillation

ROWS = [Triplet(str(i), SENTENCES[i], SENTENCES[i + 4], SENTENCES[i + 8]) for i in range(8)]
RANKED = [
    RankedPassages(f"{SENTENCES[i]} there", [SENTENCES[i], SENTENCES[i + 1], SENTENCES[i + 2]], [0.9, 0.5, 0.25])
    for i in range(6)
]
PAIRS = [ParallelPair(SENTENCES[i], SENTENCES[-i - 1], 0.5 if i % 2 else None) for i in range(6)]
KINDS = {"search_distillation": SearchDistillation, "translation_distillation": TranslationDistillation}


@pytest.fixture
def lessons(tmp_path):
    """A folder of what is distilled, as the stages write it."""
    output = Output(tmp_path)
    output.write_rows(RANKED, RankedPassages, RANKINGS)
    output.write_rows(PAIRS, ParallelPair, PARALLEL)
    vectors_ND = np.random.default_rng(1).normal(size=(len(PAIRS), 32)).astype(np.float32)
    np.save(tmp_path / TEACHER, vectors_ND / np.linalg.norm(vectors_ND, axis=1, keepdims=True))
    return tmp_path


def terms(loss, lessons, *, device_rows=None, device_texts=None, seed=3, passage_length=40, **settings):
    config = TrainConfig(loss=loss, global_batch_size=4, **settings)
    return objectives(
        ROWS,
        config,
        seed,
        lessons=lessons,
        passage_length=passage_length,
        device_rows=device_rows,
        device_texts=device_texts,
    )


@pytest.mark.parametrize("loss", ["simcse", "simcse_reference"])
@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_simcse_alone_whatever_the_share(loss, share):
    (simcse,) = terms(loss, None, distillation_share=share)
    assert isinstance(simcse, SimCSE)
    assert (simcse.rows, simcse.seed, simcse.config.loss) == (ROWS, 3, loss)
    assert simcse.config.simcse_share == 1.0


@pytest.mark.parametrize("loss", list(KINDS))
def test_what_is_distilled_stands_beside_simcse(bert, lessons, loss):
    parts = terms(loss, lessons, distillation_share=0.3)
    assert [type(objective) for objective in parts] == [SimCSE, KINDS[loss]]
    encoder = Encoder.load(bert)
    made = [objective.term(0, encoder, 0, 1) for objective in parts]
    assert [term.name for term in made] == ["simcse", "distillation"]
    assert [term.weight for term in made] == [pytest.approx(0.7), pytest.approx(0.3)]
    losses = add_gradients(embedder := Embedder(encoder), embedder, made, seed=torch.manual_seed)
    expected = 0.7 * losses["simcse"] + 0.3 * losses["distillation"]
    assert losses["loss"].item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("loss", list(KINDS))
def test_a_share_of_one_leaves_simcse_out(bert, lessons, loss):
    (distilled,) = terms(loss, lessons, distillation_share=1)
    assert isinstance(distilled, KINDS[loss])
    assert distilled.term(0, Encoder.load(bert), 0, 1).weight == 1


def test_rankings_are_read_as_they_were_written(lessons):
    _, search = terms("search_distillation", lessons)
    assert search.queries == [ranking.query for ranking in RANKED] and search.seed == 3
    assert [[search.passages[place] for place in ranked] for ranked in search.lists] == [r.passages for r in RANKED]
    assert [scores.tolist() for scores in search.scores] == [ranking.scores for ranking in RANKED]


def test_translations_and_the_teachers_vectors_are_read_as_they_were_written(lessons):
    _, translation = terms("translation_distillation", lessons)
    assert translation.pairs == PAIRS and translation.seed == 3
    assert np.array_equal(translation.teacher_ND, np.load(lessons / TEACHER))
    assert translation.weights_N[0] == pytest.approx(2 * translation.weights_N[1])


def test_files_of_any_writer_are_read(tmp_path):
    pq.write_table(to_table(RANKED[::-1], RankedPassages), tmp_path / RANKINGS)
    assert terms("search_distillation", tmp_path)[1].queries == [ranking.query for ranking in RANKED[::-1]]


@pytest.mark.parametrize(("loss", "name"), [("search_distillation", RANKINGS), ("translation_distillation", PARALLEL)])
def test_a_file_that_is_not_there(lessons, loss, name):
    (lessons / name).unlink()
    with pytest.raises(ArtifactError, match=f"{name}: missing"):
        terms(loss, lessons)


def test_pieces_are_texts_where_rows_are_triplets(bert, lessons):
    """Of what is distilled as many texts as is said."""
    encoder = Encoder.load(bert)
    given = {"device_rows": 4, "device_texts": 5, "max_length": 16, "passage_length": 48}
    simcse, search = (objective.term(0, encoder, 0, 1) for objective in terms("search_distillation", lessons, **given))
    _, translation = (
        objective.term(0, encoder, 0, 1) for objective in terms("translation_distillation", lessons, **given)
    )
    assert (simcse.device_texts, search.device_texts, translation.device_texts) == (12, 5, 5)
    assert (simcse.max_length, search.max_length, translation.max_length) == (16, 48, 16)


@pytest.mark.parametrize("loss", list(KINDS))
def test_all_at_once_where_rows_fit(bert, lessons, loss):
    encoder = Encoder.load(bert)
    assert [term.term(0, encoder, 0, 1).device_texts for term in terms(loss, lessons)] == [None, None]


@pytest.mark.parametrize("loss", ["simcse", *KINDS])
def test_every_text_of_a_step_is_among_those_that_are_named(bert, lessons, loss):
    encoder = Encoder.load(bert, prefixes={"query": "the map ", "passage": "a red ball "})
    for objective in terms(loss, lessons):
        named = {(text, length) for group, length in objective.texts(encoder) for text in group}
        for step in range(4):
            for rank in range(2):
                term = objective.term(step, encoder, rank, 2)
                assert term.texts and {(text, term.max_length) for text in term.texts} <= named
