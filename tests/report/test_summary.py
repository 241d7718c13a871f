"""A run in one sentence: what fine-tuning did, as far as it is shown."""

import pytest

from nlift.config import Experiment
from nlift.pipeline.stage_folder import StageFolder
from nlift.report.summary import sentence


def metrics(*names, group="retrieval", metric="ndcg@10", sets=("places",)):
    figures = {"base": 0.2, "tuned": 0.375, "bm25": 0.8, "hybrid": 0.85}
    return {"encoders": {name: {group: {at: {metric: figures[name]} for at in sets}} for name in names}}


ALL = ("base", "tuned", "bm25", "hybrid")


def row(difference=0.175, shown=True, at="places", metric="ndcg@10", detectable=0.05):
    return {
        "set": at,
        "metric": metric,
        "name": "tuned",
        "against": "base",
        "difference": difference,
        "low": difference - 0.025,
        "high": difference + 0.025,
        "p_holm": 0.001 if shown else 0.2,
        "detectable": detectable,
        "count": 40.0,
    }


@pytest.fixture
def experiment(tmp_path):
    sets = [{"name": name, "kind": "retrieval", "path": "p"} for name in ("places", "more")]
    return Experiment(name="tiny", output_dir=str(tmp_path), nli={"path": "a.tsv"}, evaluate={"sets": sets})


def test_what_fine_tuning_did(experiment):
    assert sentence(experiment, metrics(*ALL), [row()]) == (
        "Fine-tuning lifts NDCG@10 on places from 0.200 to 0.375 (+0.175, 0.150 to 0.200); "
        "beside it words alone (bm25) 0.800 and both together (hybrid) 0.850."
    )
    assert sentence(experiment, metrics(*ALL), [row(-0.1)]).startswith("Fine-tuning lowers NDCG@10 on places")


def test_what_is_not_shown_is_not_said(experiment):
    said = sentence(experiment, metrics("base", "tuned"), [row(0.01, shown=False)])
    assert said == (
        "Fine-tuning is not shown to change NDCG@10 on places: 0.200 and 0.375 (+0.010, -0.015 to 0.035), "
        "where 40 queries can show 0.050."
    )
    assert "not compared" in sentence(experiment, metrics("base", "tuned"), [])
    assert "can show" not in sentence(experiment, metrics("base", "tuned"), [row(0.01, shown=False, detectable=None)])


def test_the_main_set_is_the_one_that_training_looks_at(experiment):
    measured = metrics(*ALL, sets=("places", "more"))
    assert " on places " in sentence(experiment, measured, [row()])
    watched = experiment.override({"train.dev": "more"})
    assert " on more from" in sentence(watched, measured, [row(), row(at="more")])


def test_a_run_on_pairs_alone(experiment):
    measured = metrics("base", "tuned", group="sts", metric="spearman", sets=("pairs",))
    assert "lifts Spearman on pairs" in sentence(experiment, measured, [row(at="pairs", metric="spearman")])


@pytest.mark.parametrize("names", [(), ("base",), ("tuned", "bm25")])
def test_nothing_is_said_without_base_and_tuned(experiment, names):
    assert sentence(experiment, metrics(*names), []) == ""


@pytest.mark.parametrize(
    ("alias", "said"),
    [("production", "the index answers by lexical search."), ("candidate", "stays a candidate")],
)
def test_what_answers_searches(experiment, alias, said):
    measured = metrics("base", "tuned") | {"deployed": {"places": {"mode": "dense"}}}
    assert sentence(experiment, measured, [row()]).endswith("; an index of it would answer by dense search.")
    with StageFolder("index", experiment.folder / "index", {}).writing() as output:
        output.notes |= {"search": {"mode": "lexical"}, "alias": alias}
    assert said in sentence(experiment, measured, [row()])
