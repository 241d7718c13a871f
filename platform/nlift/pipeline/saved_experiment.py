"""The experiment that a run's folder was made by, kept in it: its page can be drawn again from the folder alone."""

from pathlib import Path

import yaml

from nlift.config import Experiment, load_experiment
from nlift.data import transfer
from nlift.data.files import write_text
from nlift.errors import ArtifactError

FILE = "experiment.yaml"


def save(experiment: Experiment, overwrite: bool = True) -> None:
    """Write all settings of an experiment into its run's folder; `overwrite`: in place of those that are there."""
    path, text = experiment.folder / FILE, as_yaml(experiment)
    if experiment.folder_store is not None:
        uri = transfer.joined(experiment.folder_store, FILE)
        kept = transfer.read(uri)
        if kept is None or (overwrite and kept != text.encode()):
            transfer.write(uri, text.encode())
    if not path.exists() or (overwrite and path.read_text(encoding="utf-8") != text):
        experiment.folder.mkdir(parents=True, exist_ok=True)
        write_text(path, text)


def as_yaml(experiment: Experiment) -> str:
    """All settings, as `load_experiment` reads them."""
    return yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def load(folder: Path) -> Experiment:
    """The experiment of a run's folder, wherever the folder stands now.

    Raises ArtifactError where it has none, ConfigError where this version cannot read it.
    """
    path = folder / FILE
    if not path.is_file():
        raise ArtifactError(
            f"{folder}: no {FILE}: an older version made it; `nlift run` its experiment once more, what is done stays"
        )
    place = folder.absolute()
    return load_experiment(path).override({"output_dir": str(place.parent), "name": place.name})
