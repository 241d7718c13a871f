"""Translator and COMET on sets that people made, with the embedded models; no Ray."""

import numpy as np
import pytest
import sacrebleu
from scipy.stats import pearsonr, spearmanr

from nlift import references
from nlift.config import Experiment
from nlift.errors import DataError
from nlift.score import CometScorer
from nlift.sections import EvaluationSet
from nlift.translate import Translator

PAIRS = [
    ("I have a dog.", "Mam psa."),
    ("She reads a book.", "Ona czyta książkę."),
    ("We went to school.", "Poszliśmy do szkoły."),
]


def experiment(**settings):
    return Experiment.model_validate({"name": "a", "nli": {"path": "embedded"}, "translate": {"num_beams": 1}, **settings})


def saved(path, header, rows):
    path.write_text("\n".join("\t".join(row) for row in [header, *rows]) + "\n")
    return path


def test_translations_are_judged_as_sacrebleu_does(tmp_path):
    one = EvaluationSet(name="a", kind="translation", path=str(saved(tmp_path / "a.tsv", ("source", "target"), PAIRS)))
    found = references.measure(experiment(), one)["embedded"]
    translations = Translator(experiment().translate).translate([source for source, _ in PAIRS])
    gold = [[target for _, target in PAIRS]]
    assert found["chrf"] == pytest.approx(sacrebleu.corpus_chrf(translations, gold).score)
    assert found["bleu"] == pytest.approx(sacrebleu.corpus_bleu(translations, gold).score)
    assert found["pairs"] == 3 and found["chrf"] > 20


def test_comet_is_judged_by_its_correlation_with_people(tmp_path):
    rows = [(source, target, str(5 - i)) for i, (source, target) in enumerate(PAIRS)] + [("A cat.", "Samolot leci.", "1")]
    path = saved(tmp_path / "a.tsv", ("src", "mt", "score"), rows)
    found = references.measure(experiment(), EvaluationSet(name="a", kind="quality", path=str(path)))["embedded"]
    scores = CometScorer(experiment().score).score([row[0] for row in rows], [row[1] for row in rows])
    human = np.array([float(row[2]) for row in rows])
    assert found["spearman"] == pytest.approx(spearmanr(scores, human).statistic)
    assert found["pearson"] == pytest.approx(pearsonr(scores, human).statistic)
    assert found["pairs"] == 4


def test_every_candidate_is_measured(tmp_path):
    from nlift.sources import model_source

    path = saved(tmp_path / "a.tsv", ("source", "target"), PAIRS[:1])
    again = model_source("embedded", "translator")
    both = experiment(translate={"num_beams": 1, "candidates": ["embedded", again]})
    found = references.measure(both, EvaluationSet(name="a", kind="translation", path=str(path)))
    assert list(found) == ["embedded", again] and found["embedded"] == found[again]


def test_a_missing_column_is_named(tmp_path):
    path = saved(tmp_path / "a.tsv", ("en", "pl"), PAIRS)
    with pytest.raises(DataError, match=r"a\.tsv:1: no column 'source'; found en, pl"):
        references.measure(experiment(), EvaluationSet(name="a", kind="translation", path=str(path)))


def test_training_cannot_watch_such_a_set(tmp_path):
    sets = [{"name": "a", "kind": "translation", "path": str(tmp_path / "a.tsv")}]
    with pytest.raises(Exception, match="expected sts or retrieval"):
        experiment(evaluate={"sets": sets}, train={"dev": "a"})
