"""Building a bundle: what is bad is set aside, what is known is not embedded again, what was cut goes on."""

import json

import numpy as np
import pytest

from nlift.data.files import read_jsonl
from nlift.data.sources import EMBEDDED
from nlift.errors import ArtifactError, DataError
from nlift.pipeline import corpus_embedding, index_build
from nlift.pipeline.corpus_embedding import KnownVectors, digests_of
from nlift.pipeline.index import build
from nlift.search.bundle import Bundle
from nlift.search.bundle_format import read_info
from nlift.settings import IndexConfig, SearchConfig

LONG = "The red map of the cold river is old. " * 30


def corpus(path, lines):
    path.write_text("".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines))
    return path


def rows(names, text="A woman sees the map {}."):
    return [{"_id": name, "title": f"No {name}", "text": text.format(name), "page": i} for i, name in enumerate(names)]


@pytest.fixture
def folder(tmp_path, encoder_folder):
    def built(lines, *, name="corpus.jsonl", must_update=False, encoder=encoder_folder, **settings):
        path = corpus(tmp_path / name, lines)
        config = IndexConfig(**{"corpus": str(path), "max_length": 32, "overlap": 4, **settings})
        return build(config, SearchConfig(language="en"), encoder, tmp_path / "bundles", must_update=must_update)

    return built


def test_bad_rows_are_set_aside_and_counted(ray_session, folder, tmp_path):
    good = rows("abc")
    built = folder(
        [*good[:2], {"_id": "x"}, "not json\n", {"_id": "a", "text": "again"}, {"_id": "", "text": "y"}, good[2]]
    )
    assert (built.rows_in, built.rows_out) == (7, 3)
    bundle = Bundle.load(built.folder)
    assert [document.doc_id for document in bundle.documents] == ["c", "b", "a"]
    assert bundle.documents[2].text == good[0]["text"]  # of two of an id the first
    aside = read_jsonl(tmp_path / "bundles" / "quarantine.jsonl")
    assert [row["where"].rpartition(":")[2] for row in aside] == ["3", "4", "6", "5"]  # doubles are found in the end
    reasons = ["no column 'text'", "not JSON", "_id is empty", "id 'a' stands twice (first in "]
    assert all(reason in row["reason"] for reason, row in zip(reasons, aside, strict=True)), aside


def test_a_corpus_without_a_usable_row_is_refused(ray_session, folder, tmp_path):
    with pytest.raises(DataError, match="no usable document in 2 rows"):
        folder(["{}x\n", "nothing\n"])
    assert not [path for path in (tmp_path / "bundles").iterdir() if path.name != "quarantine.jsonl"]


@pytest.mark.slow
def test_vectors_of_a_damaged_version_are_not_taken_over(ray_session, folder):
    first = folder(rows("abcdef"))
    vectors = np.load(first.folder / "index" / "vectors.npy")
    np.save(first.folder / "index" / "vectors.npy", -vectors)
    second = folder(rows("abcdefg"))
    assert second.embedded == 7
    assert Bundle.load(second.folder).dense.index.vectors.vectors_PD[1:] == pytest.approx(vectors, abs=1e-6)


def test_only_what_is_new_is_embedded(ray_session, folder):
    first = folder(rows("abcdef"))
    assert first.embedded == first.passages == 6
    changed = [*rows("abcd"), {"_id": "e", "title": "No e", "text": "Another text."}, {"_id": "g", "text": "New."}]
    second = folder(changed, must_update=True)
    assert (second.rows_out, second.embedded) == (6, 2) and second.folder != first.folder
    before, after = Bundle.load(first.folder), Bundle.load(second.folder)
    assert [document.doc_id for document in after.documents] == list("gedcba")
    kept = after.dense.index.vectors.vectors_PD[2:]
    assert np.array_equal(kept, before.dense.index.vectors.vectors_PD[2:])
    again = folder([*rows("abcdef")], must_update=True)
    assert again.folder == first.folder and again.embedded == 2  # of the newest version


def test_there_must_be_something_to_update(ray_session, folder):
    with pytest.raises(ArtifactError, match="to update"):
        folder(rows("abc"), must_update=True)
    folder(rows("abc"))
    with pytest.raises(ArtifactError, match="to update"):
        folder(rows("abc"), must_update=True, max_length=16)


def test_a_long_document_is_found_by_its_best_passage(ray_session, folder):
    long = {"_id": "long", "title": "Old maps", "text": LONG + "A small dog likes a green ball. " + LONG}
    built = folder([*rows("abc"), long], encoder=EMBEDDED / "encoder")
    assert built.passages > built.rows_out == 4
    bundle = Bundle.load(built.folder)
    assert read_info(built.folder)["passages"] == built.passages
    for mode in ("dense", "lexical", "hybrid"):
        (hits,) = bundle.search(["a small dog likes a green ball"], 4, mode=mode)
        (hit,) = [hit for hit in hits if hit.doc_id == "long"]
        assert "green ball" in hit.passage and len(hit.passage) < 300 and hit.passage in long["text"]
        assert all(other.passage is None for other in hits if other.doc_id != "long")


def test_without_passages_the_rest_of_a_long_document_is_not_embedded(ray_session, folder):
    built = folder([*rows("abc"), {"_id": "long", "text": LONG}], passages=False)
    assert built.passages == 4


def test_a_build_that_was_cut_goes_on(ray_session, folder, tmp_path, monkeypatch):
    def cut(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(index_build, "_finish", cut)
    lines = [*rows("abcdef"), {"_id": "bad"}]
    with pytest.raises(KeyboardInterrupt):
        folder(lines)
    (working,) = (path for path in (tmp_path / "bundles").iterdir() if path.is_dir())
    shards = {path.name: path.stat().st_mtime_ns for path in (working / "shards").iterdir()}
    assert shards and not list((tmp_path / "bundles").glob("*/bundle.json"))
    monkeypatch.undo()
    built = folder(lines)
    assert (built.rows_in, built.rows_out, built.embedded) == (7, 6, 0)
    assert not working.exists() and len(Bundle.load(built.folder).documents) == 6


@pytest.mark.slow
def test_shards_of_an_approximate_index_answer_as_one(ray_session, folder):
    lines = rows([f"{i:03}" for i in range(60)])
    whole, sharded = (Bundle.load(folder(lines, kind="hnsw", shards=shards).folder) for shards in (1, 3))
    assert len(list((sharded.folder / "index").glob("faiss-*.index"))) == 3
    assert sharded.info["index"]["shards"] == 3 and sharded.info["recall@10"] >= 0.99
    for mode in ("dense", "hybrid"):
        first, second = (bundle.search(["the map 017"], 20, mode=mode)[0] for bundle in (whole, sharded))
        assert [hit.doc_id for hit in first] == [hit.doc_id for hit in second]
        np.testing.assert_allclose([hit.score for hit in first], [hit.score for hit in second], atol=1e-5)


def test_a_large_corpus_is_indexed_by_a_task(ray_session, folder, monkeypatch):
    here = folder(rows("abcdef"))
    before = Bundle.load(here.folder).search(["the map a"], 6)
    for path in here.folder.rglob("*"):
        if path.is_file():
            path.unlink()
    monkeypatch.setattr(index_build, "HELD_BELOW", 0)
    by_task = folder(rows("abcdef"))
    assert by_task.folder == here.folder and Bundle.load(by_task.folder).search(["the map a"], 6) == before


def test_a_corpus_of_several_files(ray_session, folder, tmp_path):
    corpus(tmp_path / "part-1.jsonl", rows("ab"))
    corpus(tmp_path / "part-2.jsonl", rows("cd"))
    by_glob = folder([], name="none.txt", corpus=str(tmp_path / "part-*.jsonl"))
    by_uri = folder([], name="none.txt", corpus=f"file://{tmp_path}/part-*.jsonl")
    assert by_glob.rows_out == by_uri.rows_out == 4 and by_uri.embedded == 0


def test_two_builds_of_the_same_at_once(folder, tmp_path, encoder_folder):
    info = {"x": 1}
    with (
        index_build._working_folder(tmp_path / "bundles", info),
        pytest.raises(ArtifactError, match="another process builds the same"),
        index_build._working_folder(tmp_path / "bundles", info),
    ):
        raise AssertionError


def test_vectors_are_known_by_what_stands_in_a_passage():
    digests = digests_of([f"text {i}" for i in range(50)])
    vectors = np.arange(100, dtype=np.float32).reshape(50, 2)
    known = KnownVectors(digests, vectors)
    wanted = digests_of(["text 7", "another", "text 49"])
    taken, there = known.of(wanted)
    assert there.tolist() == [True, False, True] and taken.tolist() == [[14, 15], [0, 0], [98, 99]]
    assert not KnownVectors.none(2).of(wanted)[1].any()
    half = wanted.copy()
    half[0, 1] += 1  # the same first half
    assert known.of(half)[1].tolist() == [False, False, True]
    assert corpus_embedding.digests_of([]).shape == (0, 2)
