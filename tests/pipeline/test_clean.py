"""What nothing uses under an output_dir is found and removed; what something uses, or is not ours, stays."""

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nlift import pipeline
from nlift.cli import app
from nlift.config import Experiment
from nlift.data.files import write_json
from nlift.errors import ArtifactError
from nlift.models.encoder import Encoder
from nlift.pipeline import evaluate, measurements
from nlift.pipeline.clean import Wanted, clean
from nlift.pipeline.output_lock import in_use
from nlift.pipeline.stage_folder import StageFolder, read_manifest
from nlift.search import aliases
from nlift.search.analyzers import Analyzer
from nlift.search.bm25 import BM25Index
from nlift.search.bundle_format import write_bundle
from nlift.search.faiss_index import FaissIndex
from nlift.settings import EvaluationSet


@pytest.fixture
def run(tmp_path):
    """An experiment whose first stage is done."""
    nli = tmp_path / "nli.tsv"
    nli.write_text("premise\thypothesis\tlabel\nA dog runs.\tAn animal moves.\tentailment\n")
    raw = {"name": "mine", "output_dir": str(tmp_path / "runs"), "nli": {"path": str(nli)}}
    experiment = Experiment.model_validate(raw)
    pipeline.run(experiment, ["nli"])
    return experiment


@pytest.fixture
def version(encoder_folder, several_sentences, tmp_path):
    """Adds a version to a folder of bundles."""
    analyzer, contents = Analyzer("stem", "en"), [document.content for document in several_sentences]
    vectors = Encoder.load(encoder_folder).encode(contents, role="passage")
    search = {"mode": "hybrid", "alpha": 0.5, "fusion": "convex", "depth": 10}
    search |= {"analyzer": "stem", "language": "en", "analyzer_version": analyzer.version}

    def add(bundles, name):
        return write_bundle(
            bundles,
            encoder=encoder_folder,
            documents=several_sentences,
            index=FaissIndex.build(vectors),
            words=BM25Index.build(contents, analyzer),
            judged=[],
            info={"version": name, "dim": 32, "index": {"kind": "flat"}, "search": search},
        )

    return add


@pytest.fixture
def measured(run, tmp_path):
    """Measures a run of another tool, and returns the measurement."""
    config = EvaluationSet(name="osm", kind="retrieval", path="embedded:osm_places_pl")

    def measure(tag):
        path = tmp_path / f"{tag}.trec"
        path.write_text(f"q1 Q0 d1 1 1.0 {tag}\n")
        return measurements.judged_run(config, False, path, (), run.root / evaluate.FOLDER)

    return measure


def cut(experiment, stage="translate"):
    """A stage that was ended in the middle."""
    folder = StageFolder(stage, experiment.folder / stage, {"settings": 1})
    with pytest.raises(ZeroDivisionError), folder.writing() as output:
        (output.path / "rows.parquet").write_bytes(b"x" * 1000)
        raise ZeroDivisionError
    return folder.temporary


def evaluated(experiment, results, **notes):
    folder = StageFolder("evaluate", experiment.folder / "evaluate", {"sets": []})
    with folder.writing() as output:
        output.notes = notes if notes else {evaluate.MEASUREMENTS: measurements.folders(results)}
        write_json(output.path / "metrics.json", {})


def paths(root, **wanted):
    return [leftover.path for leftover in clean(root, Wanted(**wanted))]


def removed(root, **wanted):
    return [leftover.path for leftover in clean(root, Wanted(**wanted), remove=True)]


def old(path, days=10):
    """Let everything of a folder be from days ago."""
    then = time.time() - days * 86_400
    for inner in [path, *path.rglob("*")]:
        os.utime(inner, (then, then))


def test_a_finished_run_has_nothing_to_clean(run):
    assert paths(run.root) == [] and (run.folder / "nli" / "rows.parquet").is_file()


def test_what_was_cut_is_listed_and_removed_only_when_asked_for(run):
    folder = cut(run)
    (leftover,) = clean(run.root, Wanted())
    assert (leftover.path, leftover.frees) == (folder, 1000) and folder.is_dir()
    assert removed(run.root) == [folder] and not folder.exists()
    assert {path.name for path in run.folder.iterdir()} == {"experiment.yaml", "nli"} and paths(run.root) == []


def test_folders_of_others_stay(run):
    for name in ("translate.tmp-mine", "notes.tmp-0123abcd", ".cleaned-up", "photos"):
        (run.folder / name).mkdir()
        (run.folder / name / "thesis.tex").write_text("mine")
    (run.root / "measurements").mkdir()
    (run.root / "measurements" / "0123456789abcdef").mkdir()  # a name alone is no measurement
    assert removed(run.root) == [] and (run.folder / "photos" / "thesis.tex").is_file()


def test_links_are_not_followed(run, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x" * 5000)
    folder = cut(run)
    (folder / "link").symlink_to(outside)
    (run.folder / "score.tmp-0123abcd").symlink_to(outside)
    (run.root / "linked").symlink_to(run.folder)
    (leftover,) = clean(run.root, Wanted(), remove=True)
    assert (leftover.path, leftover.frees) == (folder, 1000)
    assert (outside / "precious").is_file() and (run.folder / "score.tmp-0123abcd").is_symlink()


def test_files_that_have_another_name_elsewhere_free_nothing(run):
    folder = cut(run)
    os.link(run.folder / "nli" / "rows.parquet", folder / "shared.parquet")
    os.link(folder / "rows.parquet", folder / "twice.parquet")
    (leftover,) = clean(run.root, Wanted())
    assert leftover.frees == 1000


def test_nothing_is_touched_while_a_run_writes(run):
    folder = cut(run)
    code = (
        "import sys; from nlift.config import Experiment; from nlift.pipeline.output_lock import in_use\n"
        "with in_use(Experiment.model_validate_json(sys.argv[1])): print('there', flush=True); input()"
    )
    command = [sys.executable, "-c", code, run.model_dump_json()]
    writer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert writer.stdout.readline() == b"there\n"
    with pytest.raises(ArtifactError, match="another run writes there"):
        clean(run.root, Wanted(), remove=True)
    assert folder.is_dir()
    writer.kill()
    writer.communicate()
    assert removed(run.root) == [folder]


def test_runs_write_beside_each_other(run):
    with in_use(run), in_use(run), pytest.raises(ArtifactError, match="another run"):
        clean(run.root, Wanted())
    assert paths(run.root) == []


def test_memories_elsewhere_are_in_use_too(run, tmp_path):
    (tmp_path / "memories" / "scores" / "0123456789abcdef").mkdir(parents=True)
    sharing = run.override({"cluster.memory_dir": str(tmp_path / "memories")})
    with in_use(sharing), pytest.raises(ArtifactError, match="another run"):
        clean(tmp_path / "memories", Wanted(memories=True), remove=True)
    assert len(removed(tmp_path / "memories", memories=True)) == 1


def test_a_measurement_is_used_where_a_run_names_it(run, measured):
    kept, unused = measured("kept"), measured("unused")
    evaluated(run, [kept])
    half = run.root / "measurements" / f".{'0' * 16}-{'1' * 32}.tmp"
    half.mkdir()
    folder = unused.per_query.parent
    assert paths(run.root) == [half, folder]
    assert paths(run.root, older_than=5) == []
    old(folder)
    assert removed(run.root, older_than=5) == [folder]
    assert kept.per_query.is_file() and half.is_dir()


def test_without_a_record_age_alone_tells(run, measured):
    folder = measured("old").per_query.parent
    evaluated(run, [], of="an earlier nlift")
    assert paths(run.root) == [] and paths(run.root, older_than=5) == []
    old(folder)
    assert paths(run.root, older_than=5) == [folder]


def test_a_real_evaluation_names_its_measurements(tiny_run):
    folders = {path.name for path in (tiny_run.root / "measurements").iterdir()}
    named = read_manifest(evaluate.STAGE.path(tiny_run))[evaluate.MEASUREMENTS]
    assert set(named) <= folders and len(named) == 5  # base and tuned on two sets, bm25 on one
    assert not [path for path in paths(tiny_run.root) if path.name in named]


def test_versions_that_a_name_means_or_goes_back_to_stay(run, version):
    bundles = run.root / "bundles"
    for name in ("v1", "v2", "v3", "v4", "v5", "v6"):
        version(bundles, name)
    for name in ("v1", "v2"):
        aliases.promote(bundles, name)
    aliases.promote(bundles, "v3", "candidate")
    assert paths(run.root) == [bundles / "v4"] and paths(run.root, keep=3) == []
    assert paths(bundles, keep=1) == [bundles / "v4", bundles / "v5"]
    assert removed(run.root, keep=0) == [bundles / "v4", bundles / "v5", bundles / "v6"]
    assert aliases.versions(bundles, whole=True) == ["v1", "v2", "v3"]
    assert aliases.rollback(bundles) == "v1"


def test_a_version_of_another_name_and_builds_that_go_on(run, version, tmp_path):
    bundles = run.root / "bundles"
    version(bundles, "v1")
    aliases.promote(bundles, "v1")
    version(bundles, "v2").rename(bundles / "copy")
    version(tmp_path / "other", "v3")
    (bundles / "v3").symlink_to(tmp_path / "other" / "v3")
    building = bundles / ".building-0123456789ab"
    building.mkdir()
    lock = building.with_suffix(".lock")
    with lock.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(ArtifactError, match="is being built"):
            clean(run.root, Wanted(keep=0), remove=True)
    assert removed(run.root, keep=0) == [building, lock]
    assert (bundles / "copy" / "bundle.json").is_file() and (tmp_path / "other" / "v3" / "bundle.json").is_file()


def test_training_data_of_a_sweep_that_did_not_end(run):
    variant = run.override({"name": "mine.tune-0123abcd"})
    variant.folder.mkdir()
    (variant.folder / "nli").symlink_to(Path("..", "mine", "nli"))
    cut(variant, "triplets")
    other = run.override({"name": "other.tune-0123abcd"})  # of no experiment: somebody's own
    pipeline.run(other, ["nli"])
    assert removed(run.root) == [variant.folder]
    assert (run.folder / "nli" / "rows.parquet").is_file() and other.folder.is_dir()


def test_memories_only_when_asked_for(run):
    memory = run.root / "translations" / "0123456789abcdef"
    memory.mkdir(parents=True)
    (memory / "shard.parquet").write_bytes(b"x" * 10)
    half = memory / f".{'0' * 16}-{'1' * 32}.tmp"
    half.write_bytes(b"x")
    assert paths(run.root) == [half]
    assert removed(run.root, memories=True) == [memory] and run.folder.is_dir()


def test_studies_are_cleaned_too(run):
    inner = run.override({"output_dir": str(run.root / "study")})
    pipeline.run(inner, ["nli"])
    folder = cut(inner)
    assert removed(run.root) == [folder]


@pytest.mark.parametrize(("inner", "said"), [("", "expected its output_dir"), ("nli", "neither runs nor bundles")])
def test_a_folder_that_is_no_output_dir(run, inner, said):
    with pytest.raises(ArtifactError, match=said):
        clean(run.folder / inner, Wanted(), remove=True)
    assert (run.folder / "nli" / "rows.parquet").is_file() and not (run.folder / inner / ".nlift.lock").exists()


def test_what_the_command_prints(run):
    folder = cut(run)
    listed = CliRunner().invoke(app, ["clean", str(run.root)])
    assert listed.exit_code == 0 and f"1000 B  {folder}" in listed.output and "--yes" in listed.output
    done = CliRunner().invoke(app, ["clean", str(run.root), "--yes"])
    assert done.exit_code == 0 and "removed: 1000 B" in done.output and not folder.exists()
    assert "nothing to remove" in CliRunner().invoke(app, ["clean", str(run.root)]).output
    missing = CliRunner().invoke(app, ["clean", str(run.root / "nowhere")])
    assert missing.exit_code == 2 and "no such folder" in missing.output
