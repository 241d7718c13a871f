"""What fine-tuning changed: the queries that differ most, with the texts that were found."""

import json

import pytest

from nlift.config import Experiment
from nlift.data.files import write_json
from nlift.evaluation import trec
from nlift.evaluation.set_rows import content_of
from nlift.pipeline import evaluate, measurements, per_query
from nlift.report import changes, html

MARKUP = '<script>alert("x")</script>'
# by query: NDCG@10 of base and tuned, and their first hits
QUERIES = {
    "q1": (0.0, 1.0, "d2", "d1"),
    "q2": (0.5, 0.5, "d1", "d1"),
    "q3": (1.0, 0.25, "new york", None),
    "q4": (0.0, 0.5, None, "d2"),
}


def write_rows(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def experiment(tmp_path):
    """Of a retrieval set of four queries and of three pairs, both measured."""
    beir = tmp_path / "beir"
    texts = {"d1": f"one {MARKUP}", "d2": "two " + "word " * 200, "new york": "three"}
    write_rows(beir / "corpus.jsonl", [{"_id": name, "title": "", "text": text} for name, text in texts.items()])
    write_rows(beir / "queries.jsonl", [{"_id": name, "text": f"text of {name} {MARKUP}"} for name in QUERIES])
    (beir / "qrels").mkdir()
    judged = ["q1\td1\t1", "q1\td2\t0", "q2\td1\t1", "q2\td2\t2", "q3\tnew york\t1", "q4\td2\t1"]
    (beir / "qrels" / "test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *judged]) + "\n")
    (tmp_path / "sts.tsv").write_text("sentence1\tsentence2\tscore\na\tb\t5\nc\td\t3\ne\tf\t1\n")
    sets = [
        {"name": "places", "kind": "retrieval", "path": str(beir)},
        {"name": "pairs", "kind": "sts", "path": str(tmp_path / "sts.tsv")},
    ]
    made = Experiment(name="tiny", output_dir=str(tmp_path / "runs"), nli={"path": "a"}, evaluate={"sets": sets})
    folder = evaluate.STAGE.path(made)
    (folder / "runs").mkdir(parents=True)
    files = []
    for place, name in enumerate(("base", "tuned")):
        run = {query: [(row[2 + place], 1.0), ("d2", 0.5)] if row[2 + place] else [] for query, row in QUERIES.items()}
        trec.write_run(evaluate.run_file(folder, "places", name), run, name)
        per_query.write(tmp_path / f"p{place}", {query: {"ndcg@10": row[place]} for query, row in QUERIES.items()})
        cosines = [(0.1, 0.5, 0.9), (0.9, 0.1, 0.5)][place]
        rows = {str(i): {"cosine": cosine, "score": 5.0 - 2 * i} for i, cosine in enumerate(cosines)}
        per_query.write(tmp_path / f"s{place}", rows)
        files += [("places", name, tmp_path / f"p{place}"), ("pairs", name, tmp_path / f"s{place}")]
    per_query.write_all(folder / evaluate.PER_QUERY_FILE, files)
    return made


def test_gains_and_losses_with_their_texts(experiment):
    places = changes.changes(experiment)[0]
    assert places.counts == {"better": 2, "the same": 1, "worse": 1} and places.note == ""
    first, second = places.gains
    assert (first.before, first.after, second.after) == (0.0, 1.0, 0.5)
    assert first.query == f"text of q1 {MARKUP}" and first.relevant[0].doc_id == "d1" and first.more == 0
    assert (first.hits["base"].doc_id, first.hits["base"].relevant) == ("d2", False)
    assert (first.hits["tuned"].doc_id, first.hits["tuned"].relevant) == ("d1", True)
    assert second.hits["base"] is None
    (lost,) = places.losses
    assert lost.hits["base"].text == "three" and lost.hits["base"].relevant and lost.hits["tuned"] is None
    assert len(first.hits["base"].text) == changes.SNIPPET_CHARACTERS


def test_pairs_whose_rank_changed(experiment):
    """By people 1, 2, 3; by base 3, 2, 1; by tuned 1, 3, 2."""
    pairs = changes.changes(experiment)[1]
    assert list(pairs.counts.values()) == [2, 0, 1]
    nearer, further = pairs.pairs
    assert nearer.rows[0].cells == ("a", "b", "5", "1", "3", "1")
    assert [row.cells[0] for row in nearer.rows] == ["a", "e"] and further.rows[0].cells[-2:] == ("2", "3")


def test_texts_are_escaped(experiment):
    write_json(evaluate.STAGE.path(experiment) / "metrics.json", {"encoders": {"base": {}, "tuned": {}}})
    page = html.write(experiment).read_text()
    assert "<script" not in page and page.count("&lt;script&gt;alert(&#34;x&#34;)") >= 3
    assert "2 better, 1 the same, 1 worse" in page


def test_a_set_that_is_gone_leaves_its_counts(experiment, tmp_path):
    (tmp_path / "beir" / "qrels" / "test.tsv").unlink()
    places = changes.changes(experiment)[0]
    assert places.counts["better"] == 2 and places.gains == []
    assert places.note.startswith("Its texts cannot be read: ") and "test.tsv" in places.note


def test_texts_of_a_set_that_has_changed_are_not_shown(experiment, tmp_path):
    """They may be others than those that were measured."""
    folder, sets = evaluate.STAGE.path(experiment), experiment.evaluate.sets
    identity = {
        "config": {"sets": [{"name": config.name} for config in sets]},
        "sets": [content_of(config) for config in sets],
        "dev": [],
    }
    write_json(folder / "manifest.json", {"fingerprint": "x", "identity": identity})
    assert changes.changes(experiment)[0].gains
    with (tmp_path / "beir" / "queries.jsonl").open("a") as stream:
        stream.write('{"_id": "q9", "text": "new"}\n')
    places = changes.changes(experiment)[0]
    assert places.gains == [] and "another one now" in places.note
    assert changes.changes(experiment)[1].pairs  # of the other set they are


def test_before_evaluation(experiment):
    (evaluate.STAGE.path(experiment) / evaluate.PER_QUERY_FILE).unlink()
    assert changes.changes(experiment) == []


def test_a_real_run(tiny_run):
    """Counts are those of the test part; the first hits are those of the runs."""
    tiny, pairs = changes.changes(tiny_run)
    config = tiny_run.evaluate.sets[0]
    dataset = measurements.test_part(config, is_dev=True)
    assert sum(tiny.counts.values()) == dataset.answerable and sum(pairs.counts.values()) == 40
    assert tiny.note == pairs.note == "" and pairs.pairs
    known = {changes.snippet(text) for text in dataset.queries.values()}
    for change in (*tiny.gains, *tiny.losses):
        assert change.query in known and change.relevant[0].relevant and change.before != change.after
        better = max((change.after, "tuned"), (change.before, "base"))
        if better[0] == 1:
            assert change.hits[better[1]].relevant
