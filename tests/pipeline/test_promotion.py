"""A version is compared with the current one before it takes its name."""

import json
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

from nlift import cli
from nlift.data import sources
from nlift.data.files import read_jsonl, write_jsonl
from nlift.errors import ArtifactError
from nlift.pipeline import promotion
from nlift.search.aliases import promote, read_aliases, rollback


def version_of(bundles, name, source, vectors=None, judged=None):
    """A copy of a bundle with other vectors, searched by them alone."""
    folder = shutil.copytree(source, bundles / name)
    info = json.loads((folder / "bundle.json").read_text())
    if vectors is not None:
        np.save(folder / "index" / "vectors.npy", vectors)
    write_jsonl(folder / "judged.jsonl", judged or [])
    for file in ("index/vectors.npy", "judged.jsonl"):
        info["checksums"][file] = sources.fingerprint(folder / file)
    info["search"]["mode"] = "dense"
    (folder / "bundle.json").write_text(json.dumps({**info, "version": name}))
    return folder


@pytest.fixture
def bundles(bundle, several_sentences, tmp_path):
    """`good` in production, `same` like it, `bad` with the vectors of other documents."""
    folder = tmp_path / "bundles"
    folder.mkdir()
    vectors = bundle.dense.index.vectors.vectors_PD
    judged = [{"query": document.content, "relevant": {document.doc_id: 1}} for document in several_sentences]
    version_of(folder, "good", bundle.folder, vectors, judged)
    version_of(folder, "same", bundle.folder, vectors, judged)
    version_of(folder, "bad", bundle.folder, np.roll(vectors, 1, axis=0), judged)
    version_of(folder, "silent", bundle.folder, vectors)
    promote(folder, "good")
    return folder


def test_a_worse_version_is_refused_with_its_figures(bundles):
    with pytest.raises(ArtifactError, match=r"bad: not promoted, worse than production: NDCG@10 of 49 dev queries"):
        promotion.promote(bundles, "bad")
    assert read_aliases(bundles) == {"production": "good"}
    assert len(read_jsonl(bundles / "aliases.log.jsonl")) == 1


def test_force_overrules_and_the_log_says_so(bundles):
    assert promotion.promote(bundles, "bad", force=True).forced
    row = read_jsonl(bundles / "aliases.log.jsonl")[-1]
    assert row["forced"] is True and row["gate"]["difference"] < -0.1 and row["gate"]["compared_with"] == "good"


def test_a_version_as_good_is_promoted(bundles):
    done = promotion.promote(bundles, "same", force=True)
    assert not done.forced and done.comparison.difference == 0 and read_aliases(bundles) == {"production": "same"}


def test_a_wide_margin_lets_it_pass_unless_it_is_surely_worse(bundles):
    with pytest.raises(ArtifactError, match="worse than production"):
        promotion.promote(bundles, "bad", margin=1)


def test_nothing_to_compare_on_is_said(bundles):
    done = promotion.promote(bundles, "silent")
    assert str(done) == "not compared: fewer than 20 queries whose documents both versions have"
    assert "not_compared" in read_jsonl(bundles / "aliases.log.jsonl")[-1]["gate"]


def test_the_first_of_a_name_is_not_compared(bundles):
    assert "there is no candidate yet" in str(promotion.promote(bundles, "bad", "candidate"))


def test_queries_of_a_folder_decide(bundles, several_sentences, tmp_path):
    folder = tmp_path / "queries"
    (folder / "qrels").mkdir(parents=True)
    write_jsonl(
        folder / "corpus.jsonl", [{"_id": d.doc_id, "text": d.text, "title": d.title} for d in several_sentences]
    )
    write_jsonl(
        folder / "queries.jsonl", [{"_id": f"q{i}", "text": d.content} for i, d in enumerate(several_sentences)]
    )
    rows = [f"q{i}\t{document.doc_id}\t1\n" for i, document in enumerate(several_sentences)]
    (folder / "qrels" / "test.tsv").write_text("".join(["query-id\tcorpus-id\tscore\n", *rows]))
    planned = promotion.plan(bundles, "silent", queries=folder)
    assert planned.comparison.queries == 49 and f"queries of {folder}" in str(planned)


def test_a_tampered_version_is_refused_by_its_file(bundles):
    (bundles / "same" / "judged.jsonl").write_text("")
    with pytest.raises(ArtifactError, match=r"same/judged\.jsonl: changed since"):
        promotion.promote(bundles, "same")


def test_what_replaces_a_damaged_version_is_not_compared(bundles):
    (bundles / "good" / "documents" / "rows.arrow").write_text("none")
    done = promotion.promote(bundles, "bad")
    assert "what production means cannot be loaded" in str(done) and read_aliases(bundles) == {"production": "bad"}
    with pytest.raises(ArtifactError, match=r"rows\.arrow: changed since"):
        rollback(bundles)


def test_a_damaged_version_is_refused_for_a_new_name_too(bundles):
    (bundles / "same" / "documents" / "rows.arrow").unlink()
    with pytest.raises(ArtifactError, match=r"rows\.arrow: missing"):
        promotion.promote(bundles, "same", "candidate", force=True)


def test_an_index_keeps_what_is_worse_as_candidate(bundles):
    done = promotion.promote_or_keep(bundles, "bad")
    assert done.alias == "candidate" and read_aliases(bundles) == {"production": "good", "candidate": "bad"}
    assert promotion.promote_or_keep(bundles, "same").alias == "production"


def run(*arguments):
    result = CliRunner().invoke(cli.app, list(map(str, arguments)))
    return result.exit_code, result.output


def test_the_commands(bundles):
    code, said = run("promote", bundles, "bad", "--dry-run")
    assert code == 0 and "would be refused; nothing was changed" in said
    code, said = run("promote", bundles, "bad")
    assert code == 2 and said.startswith("error: bad: not promoted") and len(said.splitlines()) == 1
    code, said = run("promote", bundles, "bad", "--force")
    assert code == 0 and "production is now bad, by force" in said
    code, said = run("bundles", bundles)
    assert code == 0 and "production" in said and all(name in said for name in ("good", "same", "bad", "silent"))
    assert run("rollback", bundles) == (0, "production is now good\n")
    code, said = run("rollback", bundles)
    assert code == 2 and "no version before" in said


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--filter", "row=3", "--mode", "dense"], 0, "1. "),
        (["--filter", "row={gte: 3, lte: 4}", "--filter", "odd=true"], 0, "d03"),
        (["--filter", "row={gte: 100}"], 0, "nothing found"),
        (["--filter", "rwo=3"], 2, "did you mean row?"),
        (["--filter", "row"], 2, "expected KEY=VALUE"),
        (["--filter", "row=1", "--filter", "row=2"], 2, "each key once"),
        (["--filter", "row={"], 2, "no YAML value"),
        (["--filter", "row=2024-13-45"], 2, "found 2024-13-45, expected a number"),
        (["--filter", "row='3'"], 2, "found 3, expected a number"),
        (["--filter", "row=[3, 4]"], 0, "1. "),
        (["--filter", "odd=no"], 2, "found no, expected true or false"),
        (["--explain"], 0, "rank 1"),
    ],
)
def test_nlift_search(bundles, arguments, code, said):
    got, printed = run("search", bundles, "the small dog near the river", *arguments)
    assert got == code and said in printed, printed
