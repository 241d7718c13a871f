"""The experiment in a run's folder: whole, and found wherever the folder is moved to."""

import pytest

from nlift.config import Experiment, load_experiment
from nlift.errors import ArtifactError, ConfigError
from nlift.pipeline import saved_experiment
from nlift.report import html


@pytest.fixture
def experiment(tmp_path):
    sets = [{"name": "żółw: [x]", "kind": "sts", "path": "no"}]
    return Experiment(
        name="tiny",
        output_dir=str(tmp_path / "runs"),
        nli={"path": "a.tsv", "label_names": {"1": "neutral"}},
        evaluate={"sets": sets},
        train={"learning_rate": 1e-3},
    )


def test_it_comes_back_as_it_was(experiment):
    saved_experiment.save(experiment)
    assert saved_experiment.load(experiment.folder) == experiment
    assert load_experiment(experiment.folder / "experiment.yaml") == experiment


def test_a_folder_that_was_moved(experiment, tmp_path):
    saved_experiment.save(experiment)
    experiment.folder.rename(tmp_path / "elsewhere")
    moved = saved_experiment.load(tmp_path / "elsewhere")
    assert moved.folder == tmp_path / "elsewhere"
    assert moved.override({"name": "tiny", "output_dir": experiment.output_dir}) == experiment


def test_what_may_not_be_overwritten_stays(experiment):
    saved_experiment.save(experiment)
    changed = experiment.override({"seed": 7})
    saved_experiment.save(changed, overwrite=False)
    assert saved_experiment.load(experiment.folder).seed == 1
    saved_experiment.save(changed)
    assert saved_experiment.load(experiment.folder).seed == 7


def test_a_run_of_an_older_version(tmp_path):
    with pytest.raises(ArtifactError, match=r"no experiment.yaml.*nlift run"):
        saved_experiment.load(tmp_path)


def test_settings_that_this_version_does_not_know(experiment):
    saved_experiment.save(experiment)
    with (experiment.folder / "experiment.yaml").open("a") as stream:
        stream.write("future: 1\n")
    with pytest.raises(ConfigError, match=r"experiment.yaml:\d+: future: unknown key"):
        saved_experiment.load(experiment.folder)


def test_a_run_leaves_its_own(tiny_run):
    assert saved_experiment.load(tiny_run.folder) == tiny_run
    before = html.write(tiny_run).read_text()
    assert html.redraw(tiny_run.folder).read_text() == before
