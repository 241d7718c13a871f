"""Bundles: written once, checked when loaded, searched three ways, named by aliases."""

import json
import shutil

import numpy as np
import pytest

from nlift.data import sources
from nlift.data.schema import Document
from nlift.errors import ArtifactError
from nlift.models.embed import TextEmbedder
from nlift.models.encoder import Encoder
from nlift.search.bundle import Bundle, hits_to_json, promote, read_aliases, resolve, write_bundle
from nlift.search.faiss_index import FaissIndex
from nlift.search.ranking import row_order


@pytest.fixture(scope="module")
def encoder(bert, tmp_path_factory):
    """A saved encoder's folder."""
    folder = tmp_path_factory.mktemp("encoder")
    Encoder.load(bert, prefixes={"query": "the map ", "passage": ""}).save(folder)
    return folder


@pytest.fixture(scope="module")
def documents(sentences):
    unordered = [Document(f"d{i}", f"No{i}", text, json.dumps({"row": i})) for i, text in enumerate(sentences)]
    return [unordered[i] for i in row_order([document.doc_id for document in unordered])]


@pytest.fixture(scope="module")
def vectors(encoder, documents):
    return Encoder.load(encoder).encode([document.content for document in documents], role="passage")


def written(bundles, encoder, documents, vectors, kind="flat", version="v1", **more):
    index = FaissIndex.build(vectors, kind)
    info = {"version": version, "dim": vectors.shape[1], "index": {"kind": kind, **index.parameters}, **more}
    return write_bundle(bundles, encoder=encoder, documents=documents, index=index, info=info)


@pytest.fixture(scope="module")
def original(encoder, documents, vectors, tmp_path_factory):
    return written(tmp_path_factory.mktemp("bundles"), encoder, documents, vectors)


@pytest.fixture
def folder(original, tmp_path):
    """A copy of the bundle, to be damaged."""
    return shutil.copytree(original, tmp_path / "bundles" / "v1")


@pytest.fixture(scope="module")
def bundle(original):
    return Bundle.load(original)


def error(path):
    with pytest.raises(ArtifactError) as caught:
        Bundle.load(path)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_a_bundle_is_complete(original, documents):
    info = json.loads((original / "bundle.json").read_text())
    assert (info["version"], info["documents"], info["dim"]) == ("v1", len(documents), 32)
    files = {str(path.relative_to(original)) for path in original.rglob("*") if path.is_file()} - {"bundle.json"}
    assert (
        set(info["checksums"]) == files >= {"index/index.faiss", "documents/rows.parquet", "encoder/model.safetensors"}
    )
    assert [path.name for path in original.parent.iterdir()] == ["v1"]


def test_a_loaded_bundle_has_what_was_written(bundle, documents, sentences, encoder):
    assert bundle.version == "v1" and bundle.documents == documents
    assert np.array_equal(bundle.encoder.encode(sentences), Encoder.load(encoder).encode(sentences))


def test_documents_and_queries_are_encoded_in_the_bundle_s_precision(
    tmp_path, monkeypatch, encoder, documents, sentences
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    quick, exact = (Encoder.load(encoder, compute_type=kind) for kind in ("int8", "float32"))
    batch = {"row": np.arange(len(documents)), "text": np.array([document.content for document in documents])}
    vectors = TextEmbedder(str(encoder), None, "passage", 64, "int8")(batch)["vector"]
    assert np.array_equal(vectors, quick.encode(list(batch["text"]), role="passage"))
    loaded = Bundle.load(written(tmp_path, encoder, documents, vectors, compute_type="int8"))
    assert np.array_equal(loaded.encoder.encode(sentences), quick.encode(sentences))
    assert not np.array_equal(loaded.encoder.encode(sentences), exact.encode(sentences))


def test_dense_search_is_by_cosine_of_the_prefixed_query(bundle, documents, vectors):
    queries = ["a map", "the small dog near the river"]
    results = bundle.search(queries, top_k=7)
    for query, hits in zip(bundle.encoder.encode(queries, role="query"), results, strict=True):
        cosines = vectors @ query
        assert [hit.doc_id for hit in hits] == [documents[i].doc_id for i in np.argsort(-cosines)[:7]]
        assert [hit.score for hit in hits] == pytest.approx(sorted(cosines)[:-8:-1], abs=1e-5)


def test_lexical_search_finds_titles_and_nothing_without_a_shared_word(bundle):
    ((first,), none) = bundle.search(["no17", "unheardof"], mode="lexical")
    assert (first.doc_id, first.title, first.metadata) == ("d17", "No17", {"row": 17}) and first.score > 0
    assert none == []
    ((hit, *rest),) = bundle.search(["no3 river"], top_k=5, mode="lexical")
    assert hit.doc_id == "d3" and len(rest) == 4
    assert [hit.score for hit in rest] == sorted((hit.score for hit in rest), reverse=True)


def test_hybrid_search_fuses_both(bundle):
    query = "no5 a woman"
    dense, lexical = (bundle.search([query], top_k=100, mode=mode)[0] for mode in ("dense", "lexical"))
    ranks = [{hit.doc_id: rank for rank, hit in enumerate(hits, 1)} for hits in (dense, lexical)]
    results = bundle.search([query], top_k=6, mode="hybrid")[0]
    for hit in results:
        assert hit.score == pytest.approx(
            sum(1 / (60 + leg[hit.doc_id]) for leg in ranks if hit.doc_id in leg), rel=1e-6
        )
    assert [hit.score for hit in results] == sorted((hit.score for hit in results), reverse=True)


def test_documents_out_of_order_are_refused(tmp_path, encoder, documents, vectors):
    assert "not in order of descending ids" in error(written(tmp_path, encoder, documents[::-1], vectors[::-1].copy()))


@pytest.mark.parametrize("mode", ["dense", "lexical", "hybrid"])
def test_top_k_of_more_than_there_is_and_no_query(bundle, documents, mode):
    ((*hits,),) = bundle.search(["a woman sees the map"], top_k=1000, mode=mode)
    assert 0 < len(hits) <= len(documents) and len({hit.doc_id for hit in hits}) == len(hits)
    assert bundle.search([], mode=mode) == []


def test_hits_as_json(bundle):
    (hits,) = bundle.search(["a map"], top_k=1)
    assert set(*map(frozenset, hits_to_json(hits))) == {"doc_id", "score", "title", "text", "metadata"}


@pytest.mark.parametrize("kind", ["hnsw", "ivf"])
def test_approximate_kinds_find_what_exact_search_finds(tmp_path, encoder, documents, vectors, bundle, kind):
    loaded = Bundle.load(written(tmp_path, encoder, documents, vectors, kind))
    queries = [document.content for document in documents[::10]]
    exact, approximate = (
        [[hit.doc_id for hit in hits] for hits in bundle_of_kind.search(queries, 3)]
        for bundle_of_kind in (bundle, loaded)
    )
    assert approximate == exact


FILES = ["index/index.faiss", "documents/rows.parquet", "encoder/model.safetensors", "encoder/modules.json"]


@pytest.mark.parametrize("name", FILES)
def test_a_changed_file_is_refused(folder, name):
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    message = error(folder)
    assert name in message and "checksum differs" in message


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused(folder, name):
    (folder / name).unlink()
    message = error(folder)
    assert name in message and "missing from the bundle" in message


def test_another_encoder_is_refused(folder, bert):
    shutil.rmtree(folder / "encoder")
    Encoder.load(bert, pooling="cls").save(folder / "encoder")
    assert "checksum differs" in error(folder)


@pytest.mark.parametrize("key", ["dim", "documents"])
def test_parts_that_do_not_belong_together(folder, key):
    info = json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(json.dumps({**info, key: 7}))
    assert "do not belong together" in error(folder)


def test_documents_that_are_fewer_than_the_index_has(tmp_path, encoder, documents, vectors):
    assert "do not belong together" in error(written(tmp_path, encoder, documents[:-1], vectors))


@pytest.mark.parametrize("text", ["{", "{}", "[]", "3", "null"])
def test_a_corrupt_bundle_json(folder, text):
    (folder / "bundle.json").write_text(text)
    assert "not readable as a bundle" in error(folder)


def test_the_same_version_is_written_once(folder, encoder, documents, vectors):
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}
    assert written(folder.parent, encoder, documents, vectors) == folder
    assert before == {
        path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()
    }
    assert [path.name for path in folder.parent.iterdir()] == ["v1"]


def test_writing_again_mends_a_damaged_bundle(folder, encoder, documents, vectors):
    (folder / "documents" / "rows.parquet").unlink()
    written(folder.parent, encoder, documents, vectors)
    assert Bundle.load(folder).documents == documents


def test_the_same_content_has_the_same_checksums(tmp_path, encoder, documents, vectors):
    for kind in ("flat", "hnsw", "ivf"):
        folders = [written(tmp_path / side, encoder, documents, vectors, kind, kind) for side in "ab"]
        first, second = (
            json.loads((bundle_folder / "bundle.json").read_text())["checksums"] for bundle_folder in folders
        )
        assert first == second and first["index/index.faiss"] == sources.fingerprint(
            folders[1] / "index" / "index.faiss"
        )


def test_an_interrupted_write_leaves_no_bundle(tmp_path, encoder, documents, vectors, monkeypatch):
    monkeypatch.setattr("nlift.search.bundle.write_json", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        written(tmp_path, encoder, documents, vectors)
    assert not (tmp_path / "v1").exists()
    monkeypatch.undo()
    assert Bundle.load(written(tmp_path, encoder, documents, vectors)).version == "v1"


def test_promote_and_resolve(folder):
    bundles = folder.parent
    shutil.copytree(folder, bundles / "v2")
    promote(bundles, "v1")
    promote(bundles, "v2", alias="staging")
    assert read_aliases(bundles) == {"production": "v1", "staging": "v2"}
    assert resolve(bundles) == folder == resolve(folder) and resolve(bundles, "staging") == bundles / "v2"
    promote(bundles, "v2")
    assert resolve(bundles) == bundles / "v2"
    assert sorted(path.name for path in bundles.iterdir()) == ["aliases.json", "v1", "v2"]


def test_a_bundles_folder_loads_its_production_version(folder):
    promote(folder.parent, "v1")
    assert Bundle.load(folder.parent).folder == folder


def test_promote_a_version_that_is_not_there(folder):
    promote(folder.parent, "v1")
    with pytest.raises(ArtifactError, match="no version 'v9'; found v1"):
        promote(folder.parent, "v9")
    assert read_aliases(folder.parent) == {"production": "v1"}


@pytest.mark.parametrize(
    ("aliases", "message"),
    [
        (None, "no alias 'production'"),
        ('{"staging": "v1"}', "no alias 'production'"),
        ('{"production": "v9"}', "production is 'v9', which is not in"),
        ("{", "aliases.json: not a JSON object"),
        ("[1]", "aliases.json"),
        ("null", "aliases.json"),
    ],
)
def test_aliases_that_lead_nowhere(folder, aliases, message):
    if aliases is not None:
        (folder.parent / "aliases.json").write_text(aliases)
    assert message in error(folder.parent)


def test_a_path_where_nothing_is(tmp_path):
    assert "no such folder" in error(tmp_path / "nowhere")
