"""The stage `index`: what is refused before work starts, and the order of rows."""

import json

import pytest

from nlift.data.corpus import load_corpus
from nlift.data.sources import data_path
from nlift.errors import ModelError
from nlift.models.encoder import Encoder
from nlift.pipeline.index import build
from nlift.search.bundle import Bundle
from nlift.search.bundle_format import read_info
from nlift.settings import IndexConfig, SearchConfig


def test_an_encoder_that_has_no_int8_is_refused_before_work_starts(tmp_path, monkeypatch, make_model):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("nlift.pipeline.index.embed", None)  # not to be reached
    folder = make_model("electra", hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
    with pytest.raises(ModelError, match="cannot run in int8, compute_type float32 can"):
        build(
            IndexConfig(corpus="embedded:poquad_pl", compute_type="int8"), SearchConfig(), folder, tmp_path / "bundles"
        )
    assert not (tmp_path / "bundles").exists()


def test_rows_are_numbered_by_descending_id_and_keep_their_vectors(ray_session, bert, tmp_path):
    Encoder.load(bert).save(tmp_path / "encoder")
    lines = [{"_id": name, "text": f"a woman sees the map {name}"} for name in ("b", "a", "c10", "c9", "ż")]
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    config = IndexConfig(corpus=str(tmp_path / "corpus.jsonl"))
    bundle = Bundle.load(build(config, SearchConfig(), tmp_path / "encoder", tmp_path / "bundles"))
    assert [document.doc_id for document in bundle.documents] == ["ż", "c9", "c10", "b", "a"]
    texts = [document.content for document in bundle.documents]
    vectors = bundle.encoder.encode(texts, role="passage")
    assert bundle.index.vectors(range(5)) == pytest.approx(vectors, abs=1e-6)


def test_the_number_of_documents_is_in_the_manifest(tiny_run):
    documents = load_corpus(data_path(tiny_run.index.corpus))
    manifest = json.loads((tiny_run.folder / "index" / "manifest.json").read_text())
    bundle = tiny_run.folder / "index" / manifest["version"]
    assert manifest["rows_out"] == len(documents) == read_info(bundle)["documents"]
