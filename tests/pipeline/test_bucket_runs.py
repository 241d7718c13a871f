"""Runs whose output_dir is a bucket: another machine takes over, two write at once, the network goes away."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest

from nlift import pipeline
from nlift.config import Experiment, load_experiment
from nlift.data import transfer
from nlift.data.files import read_rows
from nlift.data.schema import NLIPair, Triplet
from nlift.data.stored_folder import StoredFolder, place
from nlift.errors import ArtifactError, ConfigError, DataError, ResourceError
from nlift.pipeline import clean_store, nli, triplets
from nlift.pipeline.stage_folder import read_manifest
from nlift.report import run_folder

ONLY = ["nli", "triplets"]  # no stage that needs Ray
LABELS = ("entailment", "neutral", "contradiction")


@pytest.fixture
def pairs(tmp_path):
    rows = [f"a dog {i} runs\tan animal {i} {label}\t{label}\n" for i in range(20) for label in LABELS]
    (tmp_path / "nli.tsv").write_text("premise\thypothesis\tlabel\n" + "".join(rows))
    return tmp_path / "nli.tsv"


@pytest.fixture
def experiment(bucket, pairs):
    return Experiment.model_validate(
        {
            "name": "small",
            "output_dir": f"{bucket}/runs",
            "nli": {"path": str(pairs)},
            "translate": None,
            "score": None,
        }
    )


def run(experiment, **options):
    return [result.seconds > 0 for result in pipeline.run(experiment, ONLY, **options)]


def another_machine(monkeypatch, tmp_path, name="other"):
    """From here on nothing is here that was."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))


def test_stages_are_kept_and_done(experiment, copies):
    assert run(experiment) == [True, True]
    assert run(experiment) == [False, False]
    kept = transfer.sizes(experiment.folder_store)
    assert {"nli/folder.json", "triplets/folder.json", "experiment.yaml"} < kept.keys()
    assert not [name for name in kept if ".tmp" in name]
    assert read_manifest(experiment.folder / "nli") == StoredFolder(f"{experiment.folder_store}/nli").about()
    assert place(experiment.folder / "nli").startswith(f"{experiment.folder_store}/nli/")
    assert experiment.folder.is_relative_to(copies)


def test_another_machine_takes_all_of_it_over(experiment, monkeypatch, tmp_path):
    run(experiment)
    rows = read_rows(triplets.STAGE.path(experiment), Triplet)
    another_machine(monkeypatch, tmp_path)
    assert not experiment.folder.exists()
    pipeline.preflight(experiment, [nli.STAGE, triplets.STAGE])
    assert not (experiment.folder / "nli").exists()  # what nobody reads is not fetched
    assert run(experiment) == [False, False]
    assert read_rows(triplets.STAGE.path(experiment), Triplet) == rows
    assert load_experiment(experiment.folder / "experiment.yaml") == experiment


def test_another_machine_goes_on(experiment, monkeypatch, tmp_path):
    pipeline.run(experiment, ["nli"])
    another_machine(monkeypatch, tmp_path)
    assert run(experiment) == [False, True]
    assert len(read_rows(nli.STAGE.path(experiment), NLIPair)) == 60


def test_another_result_takes_the_place_of_the_one_before(experiment, monkeypatch, tmp_path):
    run(experiment)
    before = place(experiment.folder / "nli")
    fewer = experiment.override({"nli.limit": 30})
    another_machine(monkeypatch, tmp_path)
    with pytest.raises(ArtifactError, match=rf"{fewer.folder_store}/nli: holds another result"):
        run(fewer, overwrite=False)
    assert run(fewer) == [True, True]
    assert len(read_rows(nli.STAGE.path(fewer), NLIPair)) == 30
    assert place(fewer.folder / "nli") != before
    another_machine(monkeypatch, tmp_path, "third")
    assert len(read_rows(nli.STAGE.path(fewer), NLIPair)) == 30


def test_what_is_here_gives_way_to_what_counts(experiment, monkeypatch, tmp_path):
    """A machine that made something else before reads what another has kept since."""
    fewer = experiment.override({"nli.limit": 30})
    run(fewer)
    another_machine(monkeypatch, tmp_path)
    run(experiment)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "copies"))
    assert run(experiment) == [False, False]
    assert len(read_rows(nli.STAGE.path(experiment), NLIPair)) == 60


def test_two_runs_at_once(experiment, monkeypatch, tmp_path):
    """On two machines: of one experiment, and of another beside it."""
    names = ["first", "second"]
    machines = {name: experiment.override({"name": "small" if name != "third" else "third"}) for name in names}
    folders = {}
    for name in names:
        another_machine(monkeypatch, tmp_path, name)
        folders[name] = machines[name].folder, nli.STAGE.folder(machines[name]).work
    assert len(set(folders.values())) == 2

    def kept(name):
        stage = nli.STAGE.folder(machines[name])
        stage = type(stage)(stage.name, folders[name][0] / "nli", stage.identity, stage.uri)
        with stage.writing() as output:
            nli.STAGE.run(machines[name], output)
            output.notes["by"] = name
        stage.store.publish(stage.path, read_manifest(stage.path))

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(kept, names))
    another_machine(monkeypatch, tmp_path, "reader")
    assert run(experiment) == [False, True]
    winner = read_manifest(nli.STAGE.path(experiment))["by"]
    assert winner in names and len(read_rows(nli.STAGE.path(experiment), NLIPair)) == 60


def test_a_network_that_goes_away_leaves_the_work_here(experiment, monkeypatch):
    put = transfer.put
    with monkeypatch.context() as patch:
        patch.setattr(transfer, "WAITS_S", (0.0, 0.0))

        def cut(uri, fill):
            raise OSError("AWS Error NETWORK_CONNECTION during CreateMultipartUpload operation: curlCode: 7")

        def gone(file, uri):
            patch.setattr(transfer, "_written", cut)
            put(file, uri)

        patch.setattr(transfer, "put", gone)
        with pytest.raises(ResourceError, match="run again to go on") as caught:
            run(experiment)
        assert "\n" not in str(caught.value)
    assert (experiment.folder / "nli" / "manifest.json").is_file()
    assert StoredFolder(f"{experiment.folder_store}/nli").about() is None
    assert run(experiment) == [False, True]
    assert StoredFolder(f"{experiment.folder_store}/nli").about() is not None


def test_what_was_removed_from_the_bucket_is_kept_again(experiment):
    run(experiment)
    transfer.remove(experiment.folder_store)
    assert run(experiment) == [False, False]
    assert "triplets/folder.json" in transfer.sizes(experiment.folder_store)


def test_copies_may_be_removed_at_any_time(experiment, copies):
    run(experiment)
    shutil.rmtree(copies)
    assert run(experiment) == [False, False]
    assert len(read_rows(nli.STAGE.path(experiment), NLIPair)) == 60


@pytest.mark.parametrize(
    ("output_dir", "error", "part"),
    [
        ("s3://nowhere-at-all/runs", ResourceError, "there is no such bucket; create it"),
        ("carrier://pigeon/runs", DataError, "output_dir carrier://pigeon/runs"),
        ("s3://bucket/runs?region=x", ConfigError, "expected no ? or #"),
    ],
)
def test_where_nothing_can_be_kept(experiment, copies, output_dir, error, part):
    wrong = experiment.override({"output_dir": output_dir})
    for call in (lambda: pipeline.preflight(wrong), lambda: pipeline.run(wrong, ONLY)):
        with pytest.raises(error) as caught:
            call()
        assert part in str(caught.value) and "\n" not in str(caught.value)


def test_what_is_no_manifest(experiment):
    run(experiment)
    transfer.write(f"{experiment.folder_store}/nli/folder.json", json.dumps({"folder": 1}).encode())
    with pytest.raises(ArtifactError, match=r"nli/folder\.json: not written by nlift"):
        run(experiment.override({"nli.limit": 12}))


def test_what_was_replaced_and_what_was_cut_is_cleaned(experiment, monkeypatch, tmp_path):
    run(experiment)
    before = place(experiment.folder / "nli")
    another_machine(monkeypatch, tmp_path)
    fewer = experiment.override({"nli.limit": 30})
    run(fewer)
    transfer.write(f"{experiment.folder_store}/train.tmp-01234567/ray/checkpoint", b"cut")
    assert clean_store.clean(experiment.store) == []  # a run may be at it
    monkeypatch.setattr(clean_store, "LEAST_DAYS", -1.0)
    work = f"{experiment.folder_store}/train.tmp-01234567"
    listed = {leftover.uri: leftover.why for leftover in clean_store.clean(experiment.store)}
    assert listed.keys() > {before, work} and len(listed) == 3 and listed[work] == "left by work that was cut"
    assert clean_store.clean(experiment.store, older_than=1) == []
    clean_store.clean(experiment.store, remove=True)
    assert clean_store.clean(experiment.store) == [] and not transfer.sizes(before)
    another_machine(monkeypatch, tmp_path, "third")
    assert run(fewer) == [False, False] and len(read_rows(nli.STAGE.path(fewer), NLIPair)) == 30
    with pytest.raises(ArtifactError, match="nothing of nlift there"):
        clean_store.clean(f"{experiment.store}/elsewhere")


def test_a_run_is_brought_to_who_wants_its_page(experiment, monkeypatch, tmp_path):
    run(experiment)
    another_machine(monkeypatch, tmp_path)
    assert run_folder.manifests(run_folder.here(experiment.folder_store)).keys() == {"nli", "triplets"}
    fewer = experiment.override({"nli.limit": 30})
    another_machine(monkeypatch, tmp_path, "third")
    run(fewer)
    another_machine(monkeypatch, tmp_path)
    manifests = run_folder.manifests(run_folder.here(experiment.folder_store))
    assert manifests["nli"]["rows_in"] == 30
    with pytest.raises(ArtifactError, match=r"no experiment\.yaml there"):
        run_folder.here(f"{experiment.store}/elsewhere")


def test_memories_stand_in_the_bucket_too(experiment):
    assert experiment.memories == experiment.store
    assert experiment.override({"cluster.memory_dir": "/srv/memory"}).memories == "/srv/memory"
