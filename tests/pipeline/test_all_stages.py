"""The whole pipeline on a dozen pairs: every stage on Ray, with the embedded models."""

import json

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer

from nlift import pipeline
from nlift.config import load_experiment
from nlift.data.files import read_rows
from nlift.data.schema import ScoredPair, Triplet
from nlift.errors import ConfigError, NliftError
from nlift.models.encoder import Encoder
from nlift.pipeline.stage_folder import read_manifest
from nlift.report import html
from nlift.search.bundle import Bundle

pytestmark = pytest.mark.usefixtures("ray_session")


def again(experiment, **changes):
    return experiment.override(changes)


def test_every_stage_is_complete(tiny_run):
    stages = pipeline.stages(tiny_run)
    assert [result.name for result in pipeline.run(tiny_run)] == [stage.name for stage in stages]
    for stage in stages:
        assert read_manifest(stage.path(tiny_run))["stage"] == stage.name
    assert not list(tiny_run.folder.glob("*.tmp-*"))


def test_bad_rows_are_set_aside_with_their_reason(tiny_run):
    lines = (tiny_run.folder / "nli" / "quarantine.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["reason"] for line in lines) == ["empty hypothesis", "unknown label 'perhaps'"]
    manifest = read_manifest(tiny_run.folder / "nli")
    assert manifest["rows_in"] == manifest["rows_out"] + manifest["quarantined"]


def test_pairs_are_translated_and_scored(tiny_run):
    rows = read_rows(tiny_run.folder / "score", ScoredPair)
    assert len(rows) == read_manifest(tiny_run.folder / "nli")["rows_out"]
    assert all(row.premise_mt and row.premise_mt != row.premise for row in rows)
    assert np.isfinite([row.hypothesis_comet for row in rows]).all()
    same = {row.premise: row.premise_mt for row in rows}
    assert all(same[row.premise] == row.premise_mt for row in rows)


def test_triplets_are_in_the_target_language(tiny_run):
    translated = {row.premise_mt for row in read_rows(tiny_run.folder / "score", ScoredPair)}
    triplets = read_rows(tiny_run.folder / "triplets", Triplet)
    assert triplets and {row.anchor for row in triplets} <= translated


def test_the_encoder_learned_and_loads_everywhere(tiny_run):
    folder = tiny_run.folder / "train" / "encoder"
    texts = ["Kobieta czyta książkę.", "Pies", "Dwóch mężczyzn gra w piłkę na plaży w słoneczny dzień."]
    tuned, base = Encoder.load(folder).encode(texts), Encoder.load("embedded").encode(texts)
    assert np.abs(tuned - base).max() > 1e-4
    assert np.abs(tuned - SentenceTransformer(str(folder), device="cpu").encode(texts)).max() < 1e-5


def test_metrics_runs_and_report(tiny_run):
    folder = tiny_run.folder / "evaluate"
    encoders = json.loads((folder / "metrics.json").read_text())["encoders"]
    assert list(encoders) == ["base", "tuned", "bm25", "base+bm25", "hybrid", "bm25_plain"]
    retrieval = encoders["tuned"]["retrieval"]["tiny"]
    assert {"ndcg@10", "recall@100", "mrr@10", "map", "queries", "documents"} <= set(retrieval)
    assert retrieval["documents"] == 30 and retrieval["queries"] < 20  # the dev part is left out
    assert set(encoders["base"]["sts"]["pairs"]) == {"spearman", "pearson", "pairs"}
    geometry = {"uniformity", "alignment", "anisotropy", "effective_rank"}
    assert geometry == set(encoders["base"]["geometry"]["tiny"])
    fields = (folder / "runs" / "tiny.bm25.trec").read_text().splitlines()[0].split()
    assert fields[1] == "Q0" and fields[3] == "1" and fields[5] == "bm25"
    deployed = json.loads((folder / "metrics.json").read_text())["deployed"]["tiny"]
    assert {"mode", "alpha", "analyzer", "language", "chosen_on", "reason", "reported", "name"} <= deployed.keys()
    for mode, name in (("dense", "tuned"), ("lexical", "bm25"), ("hybrid", "hybrid")):
        assert deployed["reported"]["ndcg@10"][mode] == round(encoders[name]["retrieval"]["tiny"]["ndcg@10"], 4)
    assert "search when nobody says" not in (page := html.write(tiny_run).read_text()) and "<h2>Search</h2>" in page
    assert "<svg" in page and "http" not in page.replace("http://www.w3.org", "")


def test_the_bundle_is_searched_as_evaluation_says(tiny_run):
    metrics = json.loads((tiny_run.folder / "evaluate" / "metrics.json").read_text())
    search = Bundle.load(tiny_run.folder / "index").info["search"]
    assert search == {name: value for name, value in metrics["deployed"]["tiny"].items() if name in search}
    assert metrics["deployed"]["tiny"].keys() - search.keys() == {"reported", "name"}
    manifest = read_manifest(tiny_run.folder / "index")
    assert manifest["search"] == search


def test_the_bundle_answers(tiny_run):
    bundle = Bundle.load(tiny_run.folder / "index")
    by_default, (hits,) = bundle.search(["pies"]), bundle.search(["pies"], mode=bundle.info["search"]["mode"])
    assert by_default == [hits]
    document = bundle.documents[3]
    assert bundle.search([document.text], top_k=1, mode="lexical")[0][0].doc_id == document.doc_id
    assert len(bundle.search(["pies"], top_k=5)[0]) == 5
    assert bundle.info["recall@10"] > 0.9


def test_a_second_run_does_nothing(tiny_run):
    before = {path: path.stat().st_mtime_ns for path in tiny_run.folder.rglob("*") if path.is_file()}
    assert all(result.seconds == 0 for result in pipeline.run(tiny_run))
    assert before == {path: path.stat().st_mtime_ns for path in tiny_run.folder.rglob("*") if path.is_file()}


def test_another_experiment_uses_the_memories(tiny_run):
    experiment = again(tiny_run, name="other", seed=2, **{"translate.batch_tokens": 512, "translate.num_actors": 1})
    pipeline.run(experiment, ["nli", "translate", "score"])
    assert read_manifest(experiment.folder / "translate")["translated_now"] == 0
    assert read_manifest(experiment.folder / "score")["scored_now"] == 0


@pytest.mark.slow
def test_other_decoding_misses_the_memory(tiny_run):
    experiment = again(tiny_run, name="greedy", **{"translate.num_beams": 1})
    pipeline.run(experiment, ["nli", "translate"])
    manifest = read_manifest(experiment.folder / "translate")
    assert manifest["translated_now"] == manifest["distinct_sentences"] > 0


@pytest.mark.slow
def test_a_share_of_the_base(tiny_run):
    bare = {"evaluate": {"sets": []}, "index": None, "train.dev": None}
    runs = [
        again(tiny_run, name=name, **bare, **{"train.base_share": share}) for name, share in (("a", 0), ("c", 0.25))
    ]
    for run in runs:
        pipeline.run(run)
    tuned, blended = (load_file(run.folder / "train" / "encoder" / "model.safetensors") for run in runs)
    base = dict(Encoder.load("embedded").backbone.named_parameters())
    for name, tensor in tuned.items():
        if name in base:
            assert torch.allclose(blended[name], tensor.lerp(base[name].detach(), 0.25), atol=1e-6)


def test_a_memory_that_cannot_be_written_is_one_line(tiny_run, tmp_path):
    (tmp_path / "file").write_text("in the way")
    experiment = again(tiny_run, name="nowhere", **{"cluster.memory_dir": str(tmp_path / "file")})
    with pytest.raises(
        NliftError, match=f"{tmp_path}/file: a file stands where .* another cluster.memory_dir"
    ) as caught:
        pipeline.run(experiment, ["nli", "translate"])
    assert "\n" not in str(caught.value) and not (experiment.folder / "translate").exists()


def test_only_an_unknown_stage(tiny_run):
    with pytest.raises(ConfigError, match="--only trian"):
        pipeline.run(tiny_run, ["trian"])


@pytest.mark.slow
def test_english_arm_without_translation(tiny_run, tmp_path):
    raw = again(tiny_run, name="english").model_dump(mode="json")
    raw |= {"translate": None, "score": None, "index": None, "evaluate": {"sets": []}}
    raw["train"] |= {"dev": None, "num_workers": 1, "epochs": 1}
    (tmp_path / "en.yaml").write_text(yaml.safe_dump(raw))
    experiment = load_experiment(tmp_path / "en.yaml")
    pipeline.run(experiment)
    anchors = {row.anchor for row in read_rows(experiment.folder / "triplets", Triplet)}
    assert any("woman" in anchor or "man" in anchor for anchor in anchors)
