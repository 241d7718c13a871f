"""What runs left, read from their folders alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nlift import uris
from nlift.data import transfer
from nlift.errors import ArtifactError
from nlift.evaluation.comparisons import PerQuery
from nlift.pipeline import STAGES, evaluate, per_query, saved_experiment
from nlift.pipeline.stage_folder import MANIFEST, read_manifest


@dataclass(frozen=True)
class RunFolder:
    """A finished run."""

    label: str
    """What the page calls it: its folder's name, with what stands before it where names are alike."""
    encoders: dict[str, Any]
    """As metrics.json has them."""
    per_query: Mapping[tuple[str, str], tuple[list[str], PerQuery]]
    """By set and encoder."""
    manifests: dict[str, dict[str, Any]]
    """By stage."""

    @property
    def sets(self) -> list[str]:
        """The sets that it was measured on, in order."""
        return list(dict.fromkeys(set_name for set_name, _ in self.per_query))

    def content_of(self, set_name: str) -> str | None:
        """The fingerprint of a set's content as it was measured; None where the run does not say."""
        identity = self.manifests.get(evaluate.STAGE.name, {}).get("identity", {})
        names = [config["name"] for config in identity.get("config", {}).get("sets", [])]
        return dict(zip(names, identity.get("sets", []), strict=False)).get(set_name)


def here(run: Path | str) -> Path:
    """The folder of a run on this machine; what a URI has of it is fetched."""
    if not uris.is_remote(str(run)):
        return Path(run)
    uri = str(run).rstrip("/")
    folder = uris.mirror(uri)
    folder.mkdir(parents=True, exist_ok=True)
    settings = transfer.read(transfer.joined(uri, saved_experiment.FILE))
    if settings is None:
        raise ArtifactError(f"{uri}: no {saved_experiment.FILE} there; expected a run's, as s3://bucket/runs/demo")
    (folder / saved_experiment.FILE).write_bytes(settings)
    for stage in STAGES:
        kept = stage.folder_type(stage.name, folder / stage.name, {}, transfer.joined(uri, stage.name))
        about, path = kept.store.about(), folder / stage.name
        if about is not None and not ((path / MANIFEST).is_file() and read_manifest(path) == about):
            kept.bring()
    return folder


def checked(folder: Path) -> Path:
    """The folder, if it is a run's. Raises ArtifactError where it is none, naming the runs that are in it."""
    if not folder.is_dir():
        raise ArtifactError(f"{folder}: no such folder; expected that of a run, as runs/demo")
    if not (folder / saved_experiment.FILE).is_file() and not manifests(folder):
        runs = sorted({path.parts[-3] for stage in STAGES for path in folder.glob(f"*/{stage.name}/{MANIFEST}")})
        hint = f"one of the runs in it: {', '.join(runs)}" if runs else "one as runs/demo"
        raise ArtifactError(f"{folder}: not a run's folder: no finished stage is there; expected {hint}")
    return folder


def read(folders: Sequence[Path]) -> list[RunFolder]:
    """Several runs. Raises ArtifactError where one is none, has no evaluation, or stands there twice."""
    places = [checked(folder).resolve() for folder in folders]
    twice = next((folder for folder, place in zip(folders, places, strict=True) if places.count(place) > 1), None)
    if twice is not None:
        raise ArtifactError(f"{twice}: named twice; expected different runs")
    runs = []
    for place, folder in zip(places, folders, strict=True):
        evaluated = folder / evaluate.STAGE.name
        encoders = evaluate.read_metrics(evaluated)["encoders"]
        rows = per_query.read_named(evaluated / evaluate.PER_QUERY_FILE)
        runs.append(RunFolder(_label(place, places), encoders, rows, manifests(folder)))
    return runs


def manifests(folder: Path) -> dict[str, dict[str, Any]]:
    """The manifests of a run's finished stages by name, in order."""
    names = (stage.name for stage in STAGES)
    return {name: read_manifest(folder / name) for name in names if (folder / name / MANIFEST).is_file()}


def _label(place: Path, places: Sequence[Path]) -> str:
    """The end of a path that no other has."""
    for count in range(1, len(place.parts)):
        end = place.parts[-count:]
        if sum(other.parts[-count:] == end for other in places) == 1:
            return "/".join(end)
    return str(place)
