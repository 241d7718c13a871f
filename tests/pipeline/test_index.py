"""The stage `index`: what is refused before work starts, and the order of rows."""

import json
import shutil

import pytest

from nlift.data.corpus import load_corpus
from nlift.data.files import read_jsonl
from nlift.data.sources import data_path
from nlift.errors import ModelError
from nlift.evaluation.gate import Comparison
from nlift.models.encoder import Encoder
from nlift.pipeline import run
from nlift.pipeline.index import build
from nlift.report import console
from nlift.search.aliases import read_aliases, versions
from nlift.search.bundle import Bundle
from nlift.search.bundle_format import read_info
from nlift.settings import IndexConfig, SearchConfig


def test_an_encoder_that_has_no_int8_is_refused_before_work_starts(tmp_path, monkeypatch, make_model):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("nlift.pipeline.index_build.embed_corpus", None)  # not to be reached
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
    bundle = Bundle.load(build(config, SearchConfig(), tmp_path / "encoder", tmp_path / "bundles").folder)
    assert [document.doc_id for document in bundle.documents] == ["ż", "c9", "c10", "b", "a"]
    texts = [document.content for document in bundle.documents]
    vectors = bundle.encoder.encode(texts, role="passage")
    assert bundle.dense.index.vectors.vectors_PD == pytest.approx(vectors, abs=1e-6)


def test_the_number_of_documents_is_in_the_manifest(tiny_run):
    documents = load_corpus(data_path(tiny_run.index.corpus))
    manifest = json.loads((tiny_run.folder / "index" / "manifest.json").read_text())
    bundle = tiny_run.folder / "index" / manifest["version"]
    assert manifest["rows_out"] == len(documents) == read_info(bundle)["documents"]


def test_a_run_with_other_settings_adds_a_version_and_keeps_those_before(ray_session, tiny_run, tmp_path):
    folder = shutil.copytree(tiny_run.folder, tmp_path / tiny_run.name)
    first = read_aliases(folder / "index")["production"]
    changed = tiny_run.override({"output_dir": str(tmp_path), "index.max_length": 16})
    (result,) = run(changed, ["index"])
    version = json.loads((folder / "index" / "manifest.json").read_text())["version"]
    assert result.seconds and version != first and versions(folder / "index") == [first, version]
    assert read_aliases(folder / "index")["production"] == version  # thirty documents are too few to compare on
    assert Bundle.load(folder / "index" / first).version == first
    assert [row["by"] for row in read_jsonl(folder / "index" / "aliases.log.jsonl")] == ["promote", "promote"]
    (again,) = run(changed, ["index"])
    assert not again.seconds


def test_a_worse_version_becomes_the_candidate(ray_session, tiny_run, tmp_path, monkeypatch, capsys):
    folder = shutil.copytree(tiny_run.folder, tmp_path / tiny_run.name)
    first = read_aliases(folder / "index")["production"]
    worse = Comparison("new", first, "dev queries", 50, 0.5, 0.6, -0.15, -0.05, 0.01)
    monkeypatch.setattr("nlift.pipeline.promotion.compare", lambda *_: worse)
    changed = tiny_run.override({"output_dir": str(tmp_path), "index.max_length": 12})
    run(changed, ["index"])
    aliases = read_aliases(folder / "index")
    assert aliases["production"] == first and aliases["candidate"] != first
    console.show_built(changed)
    printed = capsys.readouterr().out
    assert "worse than production, which stays as it is; this one is candidate" in printed and "-0.100" in printed
