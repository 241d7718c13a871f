"""Translator and COMET on sets that people made, with the embedded models; no Ray."""

import numpy as np
import pytest
import sacrebleu
from scipy.stats import pearsonr, spearmanr

from nlift.config import Experiment
from nlift.data.sources import model_source
from nlift.errors import DataError
from nlift.evaluation import translation
from nlift.models.comet import CometScorer
from nlift.models.translator import Translator, candidates
from nlift.settings import EvaluationSet, ScoreConfig, TranslateConfig

PAIRS = [
    ("I have a dog.", "Mam psa."),
    ("She reads a book.", "Ona czyta książkę."),
    ("We went to school.", "Poszliśmy do szkoły."),
]


GREEDY = TranslateConfig(num_beams=1)


def saved(path, header, rows):
    path.write_text("\n".join("\t".join(row) for row in [header, *rows]) + "\n")
    return path


def evaluation_set(kind, path):
    return EvaluationSet(name="a", kind=kind, path=str(path))


def test_translations_are_judged_as_sacrebleu_does(tmp_path):
    dataset = evaluation_set("translation", saved(tmp_path / "a.tsv", ("source", "target"), PAIRS))
    scores = translation.measure(dataset, [GREEDY], ScoreConfig())["embedded"]
    translations = Translator(GREEDY).translate([source for source, _ in PAIRS])
    gold = [[target for _, target in PAIRS]]
    assert scores["chrf"] == pytest.approx(sacrebleu.corpus_chrf(translations, gold).score)
    assert scores["bleu"] == pytest.approx(sacrebleu.corpus_bleu(translations, gold).score)
    assert scores["pairs"] == 3
    assert scores["chrf"] > 20


def test_comet_is_judged_by_its_correlation_with_people(tmp_path):
    rows = [(source, target, str(5 - i)) for i, (source, target) in enumerate(PAIRS)]
    rows.append(("A cat.", "Samolot leci.", "1"))
    path = saved(tmp_path / "a.tsv", ("src", "mt", "score"), rows)
    measured = translation.measure(evaluation_set("quality", path), [GREEDY], ScoreConfig())["embedded"]
    scores = CometScorer(ScoreConfig()).score([row[0] for row in rows], [row[1] for row in rows])
    human = np.array([float(row[2]) for row in rows])
    assert measured["spearman"] == pytest.approx(spearmanr(scores, human).statistic)
    assert measured["pearson"] == pytest.approx(pearsonr(scores, human).statistic)
    assert measured["pairs"] == 4


def test_every_candidate_is_measured(tmp_path):
    path = saved(tmp_path / "a.tsv", ("source", "target"), PAIRS[:1])
    again = model_source("embedded", "translator")
    both = candidates(TranslateConfig(num_beams=1, candidates=["embedded", again]))
    measured = translation.measure(evaluation_set("translation", path), both, None)
    assert list(measured) == ["embedded", again]
    assert measured["embedded"] == measured[again]


def test_a_missing_column_is_named(tmp_path):
    path = saved(tmp_path / "a.tsv", ("en", "pl"), PAIRS)
    with pytest.raises(DataError, match=r"a\.tsv:1: no column .source.; found en, pl; expected"):
        translation.measure(evaluation_set("translation", path), [GREEDY], None)


def test_training_cannot_watch_such_a_set(tmp_path):
    sets = [{"name": "a", "kind": "translation", "path": str(tmp_path / "a.tsv")}]
    with pytest.raises(ValueError, match="expected sts or retrieval"):
        Experiment.model_validate(
            {"name": "a", "nli": {"path": "embedded"}, "evaluate": {"sets": sets}, "train": {"dev": "a"}}
        )
