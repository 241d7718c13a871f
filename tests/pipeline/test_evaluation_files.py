"""What an evaluation leaves beside metrics.json, and runs of other tools."""

import json

import numpy as np
import pytest

from nlift.errors import ConfigError, DataError
from nlift.evaluation.datasets import load_set
from nlift.pipeline import evaluate, per_query


@pytest.fixture(scope="module")
def folder(tiny_run):
    return tiny_run.folder / "evaluate"


def read(folder, name):
    return json.loads((folder / name).read_text())


def test_every_figure_lies_in_its_interval(folder):
    metrics, intervals = read(folder, "metrics.json")["encoders"], read(folder, "intervals.json")
    seen = 0
    for name, groups in metrics.items():
        for set_name, figures in [*groups["retrieval"].items(), *groups["sts"].items()]:
            for metric, (low, high) in intervals[name][set_name].items():
                assert low - 1e-4 <= figures[metric] <= high + 1e-4
                seen += 1
    assert seen > 20


def test_groups_add_up_to_the_whole(folder):
    groups = read(folder, "groups.json")["tiny"]
    assert set(groups) == {"words of the query", "its words in a relevant document", "base beside bm25"}
    whole = read(folder, "metrics.json")["encoders"]["tuned"]["retrieval"]["tiny"]
    for by_group in groups.values():
        parts = [names["tuned"] for names in by_group.values()]
        count = sum(part["queries"] for part in parts)
        assert count == whole["queries"]
        mean = sum(part["queries"] * part["ndcg@10"] for part in parts) / count
        assert mean == pytest.approx(whole["ndcg@10"], abs=1e-3)


def test_pictures_are_of_encoders_alone(folder):
    pictures = read(folder, "pictures.json")
    assert set(pictures["tiny"]) == set(pictures["pairs"]) == {"base", "tuned"}
    assert set(pictures["tiny"]["tuned"]) == {"cosines", "map"} and set(pictures["pairs"]["base"]) == {"cosines"}


def test_a_run_of_another_tool_is_judged_as_ours(tiny_run, folder, tmp_path):
    lines = [line.split() for line in (folder / "runs" / "tiny.tuned.trec").read_text().splitlines()]
    path = tmp_path / "other.trec"  # in another order, with other ranks
    path.write_text("".join(f"{q} Q0 {d} 0 {score} other\n" for q, _, d, _, score, _ in reversed(lines)))
    (judged,) = evaluate.judge_runs(tiny_run, [f"tiny={path}"])
    assert (judged.name, judged.set_name) == ("other", "tiny")
    ours = read(folder, "metrics.json")["encoders"]["tuned"]["retrieval"]["tiny"]
    assert judged.groups["retrieval"] == pytest.approx(ours)
    queries, columns = per_query.read(judged.per_query)
    assert np.mean(columns["ndcg@10"]) == pytest.approx(ours["ndcg@10"]) and len(queries) == ours["queries"]


def test_a_query_that_a_run_lacks_has_found_nothing(tiny_run, folder, tmp_path):
    lines = (folder / "runs" / "tiny.tuned.trec").read_text().splitlines(keepends=True)
    first = lines[0].split()[0]
    (tmp_path / "part.trec").write_text("".join(line for line in lines if line.split()[0] != first))
    (judged,) = evaluate.judge_runs(tiny_run, [f"tiny={tmp_path / 'part.trec'}"])
    queries, columns = per_query.read(judged.per_query)
    assert first in queries and columns["ndcg@10"][queries.index(first)] == 0


def test_further_measures_are_added(tiny_run, folder, tmp_path):
    experiment = tiny_run.override({"evaluate.measures": ["P@5", "nDCG@3"]})
    (judged,) = evaluate.judge_runs(experiment, [f"tiny={folder / 'runs' / 'tiny.tuned.trec'}"])
    queries, columns = per_query.read(judged.per_query)
    assert {"P@5", "nDCG@3"} <= judged.groups["retrieval"].keys() & columns.keys()
    qrels = load_set(tiny_run.evaluate.sets[0]).qrels
    run: dict = {}
    for line in (folder / "runs" / "tiny.tuned.trec").read_text().splitlines():
        run.setdefault(line.split()[0], []).append(line.split()[2])
    wanted = [sum(qrels[query].get(doc_id, 0) > 0 for doc_id in run[query][:5]) / 5 for query in queries]
    assert columns["P@5"].tolist() == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["pairs=x.trec"], "one of the retrieval sets: tiny"),
        (["x.trec"], "expected SET=FILE"),
    ],
)
def test_a_run_without_a_set(tiny_run, given, message):
    with pytest.raises(ConfigError, match=message):
        evaluate.judge_runs(tiny_run, given)


def test_two_runs_of_one_tag(tiny_run, folder):
    run = f"tiny={folder / 'runs' / 'tiny.tuned.trec'}"
    with pytest.raises(ConfigError, match="tiny: tuned stands twice"):
        evaluate.judge_runs(tiny_run, [run, run])
    with pytest.raises(DataError, match="cannot be read"):
        evaluate.judge_runs(tiny_run, ["tiny=nothing.trec"])
