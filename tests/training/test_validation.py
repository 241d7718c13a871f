"""The dev part as training sees it: the evaluator's numbers on that part alone."""

import pytest
import torch
from conftest import on_ranks

from nlift.errors import ModelError
from nlift.evaluation.datasets import load_set
from nlift.evaluation.evaluator import measure_retrieval, measure_sts
from nlift.models.encoder import Encoder
from nlift.settings import EvaluationSet
from nlift.training.validation import Validator

MAX_LENGTH = 32


@pytest.fixture(scope="module")
def encoder():
    return Encoder.load("embedded")


def flat(measured):
    return {name: value for group in measured.groups.values() for name, value in group.items()}


def test_sentence_pairs(encoder):
    config = EvaluationSet(name="pairs", kind="sts", path="embedded:stsb_pl")
    expected = flat(measure_sts("dev", encoder, load_set(config).part(dev=True)))
    assert Validator(config, MAX_LENGTH, rank=0, ranks=1).measure(encoder) == expected


def test_a_retrieval_set(encoder, tmp_path):
    (tmp_path / "qrels").mkdir()
    texts = ["pies biega", "kot śpi", "samolot leci", "zupa stygnie"]
    rows = [f'{{"_id": "{i}", "text": "{text}"}}\n' for i, text in enumerate(texts * 6)]
    for name in ("corpus", "queries"):
        (tmp_path / f"{name}.jsonl").write_text("".join(rows))
    qrels = "".join(f"{i}\t{i}\t1\n" for i in range(len(rows)))
    (tmp_path / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{qrels}")
    config = EvaluationSet(name="set", kind="retrieval", path=str(tmp_path))
    dev = load_set(config).part(dev=True)
    assert 0 < len(dev.queries) < len(rows)
    (expected,) = measure_retrieval("dev", encoder, dev, MAX_LENGTH)
    assert Validator(config, MAX_LENGTH, rank=0, ranks=1).measure(encoder) == pytest.approx(flat(expected))


def broken(folder):
    """An encoder whose vectors are no numbers."""
    encoder = Encoder.load(folder)
    with torch.no_grad():
        next(encoder.backbone.parameters()).fill_(float("nan"))
    return encoder


def on_two_ranks(rank, ranks, folder, config):
    try:
        Validator(config, MAX_LENGTH, rank, ranks).measure(broken(folder))
    except ModelError as error:
        return str(error)
    return None


@pytest.mark.parametrize(("kind", "path"), [("sts", "embedded:stsb_pl"), ("retrieval", "embedded:poquad_pl")])
def test_vectors_that_are_no_numbers_are_said_on_every_rank(bert, tmp_path, kind, path):
    said = on_ranks(on_two_ranks, 2, tmp_path, str(bert), EvaluationSet(name="set", kind=kind, path=path))
    assert len(said) == 2 and all("NaN" in line for line in said)
