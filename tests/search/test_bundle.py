"""Bundles: written once, checked when loaded, searched three ways or as they say, named by aliases."""

import json
import shutil

import numpy as np
import pytest

from nlift.data import sources
from nlift.data.schema import Document
from nlift.errors import ArtifactError, NliftError
from nlift.models.embed import TextEmbedder
from nlift.models.encoder import Encoder
from nlift.search.aliases import promote, read_aliases, resolve
from nlift.search.analyzers import Analyzer
from nlift.search.bm25 import BM25Index
from nlift.search.bundle import Bundle
from nlift.search.bundle_format import write_bundle
from nlift.search.faiss_index import FaissIndex
from nlift.search.fusion import LEAST_WEIGHT
from nlift.search.hits import hits_to_json
from nlift.search.ranking import row_order
from nlift.search.searchers import SearchSettings

STEM = Analyzer("stem", "en")
JUDGED = [{"query": "żółw na mapie", "doc_id": "d3"}, {"query": "a map", "doc_id": "d7"}]
MODES = ["dense", "lexical", "hybrid"]


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


def search_of(analyzer=STEM, **changes):
    """How a bundle is searched, as bundle.json has it."""
    named = {"analyzer": analyzer.name, "language": analyzer.language, "analyzer_version": analyzer.version}
    return {"mode": "hybrid", "alpha": 0.5, **named, "fusion": "convex", "depth": 100, **changes}


def written(bundles, encoder, documents, vectors, kind="flat", version="v1", search=None, words=None, **more):
    index = FaissIndex.build(vectors, kind)
    info = {"version": version, "dim": vectors.shape[1], "index": {"kind": kind, **index.parameters}, **more}
    return write_bundle(
        bundles,
        encoder=encoder,
        documents=documents,
        index=index,
        words=words or BM25Index.build([document.content for document in documents], STEM),
        judged=JUDGED,
        info={**info, "search": search or search_of()},
    )


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


def rewrite(folder, **changes):
    """Let bundle.json say something else of how the bundle is searched."""
    info = json.loads((folder / "bundle.json").read_text())
    info["search"] |= changes
    (folder / "bundle.json").write_text(json.dumps(info))


def error(path):
    with pytest.raises(ArtifactError) as caught:
        Bundle.load(path)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_a_bundle_is_complete(original, documents):
    info = json.loads((original / "bundle.json").read_text())
    assert (info["version"], info["documents"], info["dim"]) == ("v1", len(documents), 32)
    files = {str(path.relative_to(original)) for path in original.rglob("*") if path.is_file()} - {"bundle.json"}
    lexical = {f"lexical/{name}" for name in ("words.json", "starts.npy", "rows.npy", "weights.npy")}
    others = {"index/vectors.npy", "documents/rows.arrow", "encoder/model.safetensors", "judged.jsonl"}
    assert set(info["checksums"]) == files >= lexical | others
    assert info["search"] == search_of()
    assert [path.name for path in original.parent.iterdir()] == ["v1"]


def test_a_bundle_has_the_queries_that_its_settings_were_chosen_on(original):
    lines = (original / "judged.jsonl").read_text(encoding="utf-8").splitlines()
    assert list(map(json.loads, lines)) == JUDGED and "żółw" in lines[0]


def test_a_loaded_bundle_has_what_was_written(bundle, documents, sentences, encoder):
    assert bundle.settings == SearchSettings(STEM, "convex", 0.5, 100, "hybrid")
    assert bundle.version == "v1" and list(bundle.documents) == documents
    assert np.array_equal(bundle.encoder.encode(sentences), Encoder.load(encoder).encode(sentences))


def test_documents_and_queries_are_encoded_in_the_bundle_s_precision(
    tmp_path, monkeypatch, encoder, documents, sentences
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    quick, exact = (Encoder.load(encoder, compute_type=kind) for kind in ("int8", "float32"))
    batch = {"row": np.arange(len(documents)), "text": np.array([document.content for document in documents])}
    vectors = TextEmbedder(str(encoder), None, "passage", None, 64, "int8")(batch)["vector"]
    assert np.array_equal(vectors, quick.encode(list(batch["text"]), role="passage"))
    loaded = Bundle.load(written(tmp_path, encoder, documents, vectors, compute_type="int8"))
    assert np.array_equal(loaded.encoder.encode(sentences), quick.encode(sentences))
    assert not np.array_equal(loaded.encoder.encode(sentences), exact.encode(sentences))


def test_dense_search_is_by_cosine_of_the_prefixed_query(bundle, documents, vectors):
    queries = ["a map", "the small dog near the river"]
    results = bundle.search(queries, top_k=7, mode="dense")
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


def test_lexical_search_is_by_stems(bundle, tmp_path, encoder, documents, vectors):
    (hits,) = bundle.search(["balls"], top_k=100, mode="lexical")
    assert len(hits) == sum("ball" in document.text for document in documents) > 0
    plain = Analyzer("none", "en")
    words = BM25Index.build([document.content for document in documents], plain)
    loaded = Bundle.load(written(tmp_path, encoder, documents, vectors, words=words, search=search_of(plain)))
    assert loaded.search(["balls"], mode="lexical") == [[]] != loaded.search(["ball"], mode="lexical")


@pytest.mark.parametrize("alpha", [0.5, 0.2, 0, 1])
def test_hybrid_search_adds_both_legs_scores(tmp_path, encoder, documents, vectors, alpha):
    loaded = Bundle.load(written(tmp_path, encoder, documents, vectors, search=search_of(alpha=alpha)))
    query = "no5 a woman"
    legs = [{hit.doc_id: hit.score for hit in loaded.search([query], 100, mode=mode)[0]} for mode in MODES[:2]]
    assert len(legs[0]) == len(documents) > len(legs[1]) > 1
    shares = []
    for leg in legs:
        scores = np.array([leg.get(document.doc_id, 0) for document in documents])
        shares.append((scores - scores.min()) / (scores.max() - scores.min()))
    alpha = np.clip(alpha, LEAST_WEIGHT, 1 - LEAST_WEIGHT)
    total = alpha * shares[0] + (1 - alpha) * shares[1]
    hits = loaded.search([query], 100, mode="hybrid")[0]
    assert [hit.score for hit in hits] == pytest.approx(sorted(total, reverse=True), abs=1e-5)
    place = {document.doc_id: i for i, document in enumerate(documents)}
    assert [total[place[hit.doc_id]] for hit in hits] == pytest.approx([hit.score for hit in hits], abs=1e-5)


def test_reciprocal_ranks_fuse_where_the_bundle_says_so(tmp_path, encoder, documents, vectors):
    bundle = Bundle.load(written(tmp_path, encoder, documents, vectors, search=search_of(fusion="rrf")))
    query = "no5 a woman"
    dense, lexical = (bundle.search([query], top_k=100, mode=mode)[0] for mode in ("dense", "lexical"))
    ranks = [{hit.doc_id: rank for rank, hit in enumerate(hits, 1)} for hits in (dense, lexical)]
    results = bundle.search([query], top_k=6, mode="hybrid")[0]
    for hit in results:
        assert hit.score == pytest.approx(
            sum(1 / (60 + leg[hit.doc_id]) for leg in ranks if hit.doc_id in leg), rel=1e-6
        )
    assert [hit.score for hit in results] == sorted((hit.score for hit in results), reverse=True)


def test_a_hybrid_search_has_no_candidates_beyond_the_bundle_s_depth(tmp_path, encoder, documents, vectors):
    loaded = Bundle.load(written(tmp_path, encoder, documents, vectors, search=search_of(depth=3)))
    legs = [{hit.doc_id for hit in loaded.search(["no5 a woman"], 3, mode=mode)[0]} for mode in MODES[:2]]
    doc_ids = {hit.doc_id for hit in loaded.search(["no5 a woman"], 100, mode="hybrid")[0]}
    assert doc_ids == legs[0] | legs[1] and 3 < len(doc_ids) <= 6


@pytest.mark.parametrize("deployed", MODES)
def test_a_search_without_a_mode_is_in_the_one_that_the_bundle_was_deployed_with(folder, deployed):
    rewrite(folder, mode=deployed)
    loaded = Bundle.load(folder)
    assert loaded.mode() == loaded.mode("auto") == deployed
    assert [loaded.mode(mode) for mode in MODES] == MODES
    queries = ["no5 a woman", "the map"]
    results = {mode: loaded.search(queries, mode=mode) for mode in MODES}
    assert loaded.search(queries) == loaded.search(queries, mode="auto") == results[deployed]
    assert all(results[mode] != results[deployed] for mode in MODES if mode != deployed)


@pytest.mark.parametrize("mode", ["magic", "", "Auto", "DENSE", None, 3])
def test_a_mode_that_is_none(bundle, mode):
    with pytest.raises(NliftError, match="expected auto, dense, lexical or hybrid") as caught:
        bundle.mode(mode)
    assert str(caught.value).startswith(f"mode: found {mode!r}, ")


def test_documents_out_of_order_are_refused(tmp_path, encoder, documents, vectors):
    assert "not in order of descending ids" in error(written(tmp_path, encoder, documents[::-1], vectors[::-1].copy()))


@pytest.mark.parametrize("mode", MODES)
def test_top_k_of_more_than_there_is_and_no_query(bundle, documents, mode):
    ((*hits,),) = bundle.search(["a woman sees the map"], top_k=1000, mode=mode)
    assert 0 < len(hits) <= len(documents) and len({hit.doc_id for hit in hits}) == len(hits)
    assert bundle.search([], mode=mode) == []


def test_hits_as_json(bundle):
    (hits,) = bundle.search(["a map"], top_k=1)
    assert set(*map(frozenset, hits_to_json(hits))) == {"doc_id", "score", "title", "text", "metadata"}


@pytest.mark.parametrize("kind", ["hnsw", "ivf_flat"])
def test_approximate_kinds_find_what_exact_search_finds(tmp_path, encoder, documents, vectors, bundle, kind):
    loaded = Bundle.load(written(tmp_path, encoder, documents, vectors, kind))
    queries = [document.content for document in documents[::10]]
    exact, approximate = (
        [[hit.doc_id for hit in hits] for hits in bundle_of_kind.search(queries, 3, mode="dense")]
        for bundle_of_kind in (bundle, loaded)
    )
    assert approximate == exact


FILES = ["index/vectors.npy", "documents/rows.arrow", "encoder/model.safetensors", "encoder/modules.json"]
FILES += ["lexical/words.json", "lexical/starts.npy", "lexical/rows.npy", "lexical/weights.npy", "judged.jsonl"]


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


def test_the_words_of_a_bundle_are_not_indexed_again(original, monkeypatch, caplog):
    monkeypatch.setattr(BM25Index, "build", lambda *_: 1 / 0)
    loaded = Bundle.load(original)
    assert loaded.search(["no17"], 1, mode="lexical")[0][0].doc_id == "d17" and not caplog.records
    assert isinstance(loaded.searchers["lexical"].index._weights, np.memmap)


def test_words_of_another_version_of_the_analyzer_are_indexed_again(
    tmp_path, encoder, documents, vectors, bundle, caplog
):
    stale = BM25Index.build(["a map"] * len(documents), Analyzer("none", "en"))
    search = search_of(analyzer_version="words 0, PyStemmer 2.0")
    folder = written(tmp_path, encoder, documents, vectors, words=stale, search=search)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    loaded = Bundle.load(folder)
    (record,) = (record for record in caplog.records if record.name == "nlift")
    message = record.getMessage()
    assert all(part in message for part in (str(folder), "words 0, PyStemmer 2.0", STEM.version, "indexed again"))
    assert len(message.splitlines()) == 1
    queries = ["no17", "the maps and balls", "no5 a woman", "unheardof"]
    for mode in ("lexical", "hybrid"):
        assert loaded.search(queries, mode=mode) == bundle.search(queries, mode=mode)
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"analyzer": "lemma"}, "unknown analyzer 'lemma'; expected one of stem, none, bigrams"),
        ({"language": "xx"}, "unknown language 'xx'"),
        ({"language": "uk"}, "stem has no uk"),
        ({"language": None}, "stem has no language"),
        ({"analyzer": "bigrams"}, "bigrams has no en"),
    ],
)
def test_an_analyzer_that_this_version_does_not_have(folder, changes, expected):
    rewrite(folder, **changes)
    message = error(folder)
    assert expected in message and str(folder / "bundle.json") in message and "build it again" in message


def test_a_bundle_of_an_earlier_nlift(folder):
    info = json.loads((folder / "bundle.json").read_text())
    del info["search"]
    (folder / "bundle.json").write_text(json.dumps(info))
    message = error(folder)
    assert str(folder / "bundle.json") in message and "a bundle of an earlier nlift; build it again" in message


def test_writing_again_replaces_a_bundle_of_an_earlier_nlift(folder, encoder, documents, vectors):
    info = json.loads((folder / "bundle.json").read_text())
    del info["search"]
    (folder / "bundle.json").write_text(json.dumps(info))
    assert Bundle.load(written(folder.parent, encoder, documents, vectors)).settings.analyzer == STEM


@pytest.mark.parametrize("search", [None, 3, [], {}, "hybrid"])
def test_a_search_section_that_is_none(folder, search):
    info = json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(json.dumps({**info, "search": search}))
    assert str(folder / "bundle.json") in error(folder)


@pytest.mark.parametrize("key", search_of())
def test_a_search_section_that_lacks_a_key(folder, key):
    info = json.loads((folder / "bundle.json").read_text())
    del info["search"][key]
    (folder / "bundle.json").write_text(json.dumps(info))
    message = error(folder)
    assert str(folder / "bundle.json") in message and key in message


@pytest.mark.parametrize(
    "changes",
    [{"mode": "magic"}, {"mode": "auto"}, {"fusion": "magic"}, {"alpha": 1.5}, {"alpha": "much"}, {"depth": 0}],
)
def test_a_search_section_with_a_value_that_is_none(folder, changes):
    rewrite(folder, **changes)
    assert str(folder / "bundle.json") in error(folder)


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
    (folder / "documents" / "rows.arrow").unlink()
    written(folder.parent, encoder, documents, vectors)
    assert list(Bundle.load(folder).documents) == documents


def test_the_same_content_has_the_same_checksums(tmp_path, encoder, documents, vectors):
    for kind in ("flat", "hnsw", "ivf_flat"):
        folders = [written(tmp_path / side, encoder, documents, vectors, kind, kind) for side in "ab"]
        first, second = (
            json.loads((bundle_folder / "bundle.json").read_text())["checksums"] for bundle_folder in folders
        )
        assert (
            first == second
            and len(first) > len(FILES)
            and first["index/vectors.npy"] == sources.fingerprint(folders[1] / "index" / "vectors.npy")
        )


def test_an_interrupted_write_leaves_no_bundle(tmp_path, encoder, documents, vectors, monkeypatch):
    monkeypatch.setattr("nlift.search.bundle_format.write_json", lambda *_: 1 / 0)
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
    assert sorted(path.name for path in bundles.iterdir()) == [
        ".aliases.lock",
        "aliases.json",
        "aliases.log.jsonl",
        "v1",
        "v2",
    ]


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
        ("{", "aliases.json: not readable as JSON"),
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
