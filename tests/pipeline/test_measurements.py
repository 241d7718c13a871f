"""Measurements: computed once, by what they depend on; numbers come back, runs are files."""

import json
from dataclasses import replace

import pytest

from nlift import cluster
from nlift.errors import ModelError
from nlift.evaluation.datasets import load_set
from nlift.evaluation.deployment import Deployment
from nlift.evaluation.evaluator import measure_bm25, measure_retrieval, measure_sts
from nlift.models.encoder import Encoder
from nlift.pipeline import evaluate, measurement_job, measurements, per_query
from nlift.pipeline.measurement_job import Contender, Job
from nlift.pipeline.measurements import measured
from nlift.search.analyzers import Analyzer
from nlift.settings import EvaluationSet, SearchConfig


@pytest.fixture
def job(tiny_run, bert, tmp_path):
    """Makes a job on a set of the tiny run."""

    def make(set_name="tiny", source=bert, name="base", hybrid=None, **changes):
        config = next(config for config in tiny_run.evaluate.sets if config.name == set_name)
        contender = Contender(name, source and str(source), hybrid)
        search = SearchConfig(language="en", analyzer="stem")
        job = Job(contender, config, False, 32, tmp_path / "measurements", search, None, "float32", None)
        return replace(job, **changes)

    return make


def lines(path):
    return [line.split() for line in path.read_text().splitlines()]


def test_numbers_are_the_evaluators_and_runs_are_files(job, bert):
    retrieval, sts, bm25 = job(hybrid="hybrid"), job("pairs"), job(source=None, name="bm25")
    (alone, hybrid), (pairs,), (lexical, plain) = measured([retrieval, sts, bm25])
    dataset, encoder = load_set(retrieval.config), Encoder.load(bert)
    expected = measure_retrieval("base", encoder, dataset, 32, "hybrid", Deployment(retrieval.search))
    assert [alone.groups, hybrid.groups] == [result.groups for result in expected]
    assert pairs.groups == measure_sts("base", encoder, load_set(sts.config)).groups and pairs.run is None
    assert lexical.groups == measure_bm25("bm25", dataset, Analyzer("stem", "en")).groups
    assert plain.groups == measure_bm25("bm25_plain", dataset).groups and plain.name == "bm25_plain"
    assert hybrid.deployed == expected[1].deployed
    for result, peer in ((alone, expected[0]), (hybrid, expected[1])):
        hits = [(query, doc_id, name) for query, _, doc_id, _, _, name in lines(result.run)]
        assert hits == [(query, doc_id, result.name) for query, ranking in peer.run.items() for doc_id, _ in ranking]
        queries, columns = per_query.read(result.per_query)
        assert {name: values.tolist() for name, values in columns.items()} == {
            name: [peer.per_query[query][name] for query in queries] for name in columns
        } and queries == list(peer.per_query)
    assert not list(retrieval.root.glob(".*"))


def test_runs_are_kept_or_not(job):
    kept, bare = measured([job(), job(keeps_run=False)])
    assert kept[0].run is not None and bare[0].run is None
    assert bare[0].groups == kept[0].groups and bare[0].per_query.is_file()


def test_nothing_is_measured_twice(job, monkeypatch):
    first = measured([job()])
    monkeypatch.setattr(measurements, "ray_task", None)
    assert measured([job(), job()]) == [*first, *first]


def test_what_a_number_depends_on_is_another_measurement(job, xlm_roberta):
    folders = [
        job().folder,
        job(source=xlm_roberta).folder,
        job(source=None).folder,
        job(is_dev=True).folder,
        job(max_length=16).folder,
        job("pairs").folder,
        job(name="tuned").folder,
        job(hybrid="hybrid").folder,
        job(search=SearchConfig(alpha=0.2)).folder,
        job(compute_type="int8").folder,
        job(expected_language="pl").folder,
    ]
    assert len(set(folders)) == len(folders) and job().folder == folders[0]


def test_another_prefix_is_another_measurement(bert, tmp_path):
    config = EvaluationSet(name="pairs", kind="sts", path="embedded:stsb_pl")

    def folder(*prefixes):
        contender = Contender("base", str(bert), prefixes=prefixes or (None, None))
        return Job(contender, config, False, 32, tmp_path, SearchConfig(), None, "float32", None).folder

    others = [("query: ", None), (None, "query: "), ("query: ", "passage: "), ("", "")]
    folders = [folder(), *(folder(*prefixes) for prefixes in others)]
    assert len(set(folders)) == 5 and folder(None, None) == folders[0] and folder("query: ", None) == folders[1]


def test_a_contenders_prefixes_stand_before_its_texts(bert, sentences, tmp_path):
    config = EvaluationSet(name="pairs", kind="sts", path="embedded:stsb_pl")

    def vectors(*prefixes):
        job = Job(
            Contender("base", str(bert), prefixes=prefixes),
            config,
            False,
            32,
            tmp_path,
            SearchConfig(),
            None,
            "float32",
            None,
        )
        encoder = measurement_job._encoder(job)
        return [encoder.encode(sentences[:4], role=role).tolist() for role in ("query", "passage", None)]

    query, passage = (Encoder.load(bert, prefixes={role: "a red ball "}) for role in ("query", "passage"))
    plain = vectors(None, None)
    assert vectors("a red ball ", None) == [query.encode(sentences[:4], role="query").tolist(), *plain[1:]]
    assert vectors(None, "a red ball ")[1] == passage.encode(sentences[:4], role="passage").tolist() != plain[1]


def test_encoders_are_measured_in_the_compute_type_of_the_index(job, bert, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    exact, coarse = job("pairs"), job("pairs", compute_type="int8")
    ((first,), (second,)) = measured([exact, coarse])
    encoder = Encoder.load(bert, compute_type="int8")
    assert second.groups == measure_sts("base", encoder, load_set(coarse.config)).groups != first.groups


def test_of_a_dev_set_the_test_part_is_measured(job):
    ((whole, _),), ((part, _),) = measured([job(source=None)]), measured([job(source=None, is_dev=True)])
    assert 0 < part.queries < whole.queries
    assert measurement_job.set_size(job().config, True) == (30, part.queries)


def test_progress_counts_texts(job, monkeypatch):
    counts = []

    class Bar:
        def __init__(self, title, total, unit, waits_for):
            counts.append((total, unit))

        def advance(self, units):
            counts.append(units)

        def end(self):
            pass

    monkeypatch.setattr("nlift.progress.Bar", Bar)
    measured([job(max_length=20), job("pairs", max_length=20), job(source=None, max_length=20)])
    queries = measurement_job.set_size(job().config, False)[1]
    assert counts[0] == (30 + queries + 80 + queries, "texts") and sum(counts[1:]) == counts[0][0]


def test_an_encoder_that_fails_leaves_nothing(job, tmp_path):
    with pytest.raises(ModelError, match="nowhere"):
        measured([job(contender=Contender("x", "org/nowhere"), root=tmp_path / "none")])
    assert not list((tmp_path / "none").iterdir())


def test_the_run_of_an_experiment_is_the_measurements(tiny_run):
    folder = tiny_run.folder / "evaluate" / "runs"
    names = {path.name for path in folder.iterdir()}
    assert names == {
        *(f"tiny.{name}.trec" for name in ("base", "base+bm25", "tuned", "bm25", "bm25_plain", "hybrid")),
        "tiny.qrels",
    }
    stored = {path.stat().st_ino for path in (tiny_run.root / evaluate.FOLDER).rglob("*.trec")}
    assert all((folder / name).stat().st_ino in stored for name in names - {"tiny.qrels"})
    judged = lines(folder / "tiny.qrels")
    assert {fields[0] for fields in judged} == {fields[0] for fields in lines(folder / "tiny.base.trec")}


def test_another_experiment_measures_its_own_encoder_alone(tiny_run, bert):
    before = {path.name for path in (tiny_run.root / evaluate.FOLDER).iterdir()}
    base = replace(evaluate.base_contender(tiny_run), hybrid=evaluate.BASE_HYBRID)
    cluster.connect(tiny_run.cluster)
    evaluate.measure_all(tiny_run, [base, Contender("other", str(bert))])
    after = {path.name for path in (tiny_run.root / evaluate.FOLDER).iterdir()}
    names = [
        json.loads((tiny_run.root / evaluate.FOLDER / name / "metrics.json").read_text()) for name in after - before
    ]
    assert {row["name"] for rows in names for row in rows} == {"other"}
