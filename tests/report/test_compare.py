"""Several runs on one page: paired differences on the same queries, and what is left out, said."""

import json
import shutil

import numpy as np
import pytest

from nlift.data.files import write_json
from nlift.errors import ArtifactError
from nlift.pipeline import per_query
from nlift.report import compare, run_folder

HASHES = {"same": "0" * 16, "other": "1" * 16}


def make_run(folder, values, content="same", set_name="places", shift=0, config=None):
    """A run's folder: base and tuned on a set, NDCG@10 by query."""
    evaluated = folder / "evaluate"
    evaluated.mkdir(parents=True)
    files = []
    for name, own in values.items():
        per_query.write(folder / name, {f"q{i + shift}": {"ndcg@10": value} for i, value in enumerate(own)})
        files.append((set_name, name, folder / name))
    per_query.write_all(evaluated / "per_query.parquet", files)
    encoders = {name: {"retrieval": {set_name: {"ndcg@10": float(np.mean(own))}}} for name, own in values.items()}
    write_json(evaluated / "metrics.json", {"encoders": encoders})
    identity = {"config": {"sets": [{"name": set_name}]}, "sets": [HASHES[content]]}
    common = {"fingerprint": "f", "nlift": "0.1.0", "packages": {"torch": "2.1"}, "git_commit": "c" * 40}
    write_json(evaluated / "manifest.json", {**common, "identity": identity})
    (folder / "train").mkdir()
    write_json(folder / "train" / "manifest.json", {**common, "identity": {"config": config or {"epochs": 1}}})
    return folder


CHANCE = np.random.default_rng(0)
BASE = CHANCE.uniform(0, 0.5, 60)
TUNED = BASE + 0.1
BETTER = TUNED + CHANCE.uniform(0, 0.2, 60)


@pytest.fixture
def runs(tmp_path):
    return [
        make_run(tmp_path / "one", {"base": BASE, "tuned": TUNED}),
        make_run(tmp_path / "two", {"base": BASE, "tuned": BETTER}, config={"epochs": 2}),
    ]


def test_differences_are_those_of_the_same_queries(runs, tmp_path):
    path = compare.write(runs)
    assert path == tmp_path / "compare.html"
    text = path.read_text()
    mean = (BETTER - TUNED).mean()
    assert f"places: tuned of two is above tuned of one by NDCG@10, {mean:+.3f} [" in text
    assert f"{BETTER.mean():.3f}" in text and f"{TUNED.mean():.3f}" in text and "(the same everywhere)" in text  # base
    assert '<td class="words">train.epochs</td><td class="words">1</td><td class="words">2</td>' in text
    assert "Left out" not in text


def test_a_difference_that_is_not_shown_is_said_to_be_none(tmp_path):
    noisy = np.clip(TUNED + CHANCE.normal(0, 0.2, 60), 0, 1)
    runs = [make_run(tmp_path / name, {"tuned": own}) for name, own in (("one", TUNED), ("two", noisy))]
    text = compare.write(runs).read_text()
    assert "no difference of tuned of two and tuned of one is shown" in text and "; not shown)" in text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"content": "other"}, "places of odd: its content is another one than one&#39;s"),
        ({"shift": 5}, "places of odd: measured on other queries than one: 60 and 60, 55 in common"),
        ({"set_name": "more"}, "more of odd: one was not measured on it"),
    ],
)
def test_what_cannot_be_compared_is_said_and_left_out(runs, tmp_path, changes, said):
    odd = make_run(tmp_path / "odd", {"base": BASE, "tuned": BETTER}, **changes)
    text = compare.write([*runs, odd]).read_text()
    assert said in text and "tuned of odd" not in text and "tuned of two is above" in text


@pytest.mark.parametrize("changes", [{"content": "other"}, {"shift": 5}, {"set_name": "more"}])
def test_nothing_in_common(runs, tmp_path, changes):
    odd = make_run(tmp_path / "odd", {"base": BASE, "tuned": BETTER}, **changes)
    with pytest.raises(ArtifactError, match="nothing to compare: places of odd: "):
        compare.write([runs[0], odd], tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_a_run_without_evaluation(runs, tmp_path):
    shutil.rmtree(runs[1] / "evaluate")
    with pytest.raises(ArtifactError, match=r"metrics.json: missing; run the stage evaluate first"):
        compare.write(runs)


def test_a_run_that_was_evaluated_before_queries_were_kept(runs):
    (runs[1] / "evaluate" / "per_query.parquet").unlink()
    with pytest.raises(ArtifactError, match=r"per_query.parquet: missing; run the stage evaluate again"):
        compare.write(runs)


def test_folders_that_are_no_runs(runs, tmp_path):
    (tmp_path / "empty").mkdir()
    for odd, said in ((tmp_path / "gone", "no such folder"), (tmp_path / "empty", "not a run's folder")):
        with pytest.raises(ArtifactError, match=said):
            compare.write([runs[0], odd])
    with pytest.raises(ArtifactError, match="named twice"):
        compare.write([runs[0], tmp_path / "two" / ".." / "one"])


def test_names_that_are_alike_are_told_apart(tmp_path):
    places = [make_run(tmp_path / part / "demo", {"tuned": TUNED}) for part in ("a", "b")]
    assert [run.label for run in run_folder.read(places)] == ["a/demo", "b/demo"]


def test_names_are_text(runs, tmp_path):
    odd = make_run(tmp_path / "<b>bm25_plain", {"base": BASE, "tuned": BETTER}, config={"<i>": "<script>"})
    text = compare.write([runs[0], odd]).read_text()
    assert not [tag for tag in ("<b>bm25", "<i>", "<script") if tag in text] and "&lt;script&gt;" in text


def test_a_real_run_beside_another(tiny_run, tmp_path):
    """Of the same content but other figures of one query."""
    shutil.copytree(tiny_run.folder / "evaluate", tmp_path / "copy" / "evaluate")
    path = tmp_path / "copy" / "evaluate" / "metrics.json"
    assert json.loads(path.read_text())["encoders"]
    text = compare.write([tiny_run.folder, tmp_path / "copy"], tmp_path / "page.html").read_text()
    assert "tuned of copy and tuned of tiny are the same on every query by NDCG@10" in text
    assert '<td class="words">train</td><td class="words">run</td><td class="words">not run</td>' in text
