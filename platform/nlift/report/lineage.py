"""Where a run's results come from: its settings, and of every stage what its content depends on."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from nlift.config import Experiment
from nlift.pipeline.saved_experiment import as_yaml
from nlift.report.run_folder import manifests
from nlift.report.tables import Column, Row, Table
from nlift.settings import Section

OWN_SECTIONS = ("name", "output_dir", "cluster")  # where a run stands and works, and nothing of what it is


@dataclass(frozen=True)
class Lineage:
    """What the page says of where results come from."""

    changed: Table
    """Settings that differ from their defaults."""
    settings: str
    """All of them, as YAML."""
    stages: Table
    packages: list[str]
    identities: dict[str, str]
    """By stage, as JSON, all that its content depends on."""


def lineage(experiment: Experiment) -> Lineage:
    """The settings of an experiment and the manifests of its finished stages."""
    made = manifests(experiment.folder)
    rows = tuple(Row(cells) for cells in changed_settings(experiment) if cells[0].split(".")[0] not in OWN_SECTIONS)
    columns = tuple(Column(name, words=True) for name in ("setting", "value", "default"))
    return Lineage(
        Table("settings that differ from their defaults", columns, rows),
        as_yaml(experiment),
        _stages(made),
        _packages(made),
        {
            name: json.dumps(manifest.get("identity", {}), ensure_ascii=False, indent=2)
            for name, manifest in made.items()
        },
    )


def changed_settings(section: Section, path: str = "") -> Iterator[tuple[str, str, str]]:
    """Dotted key, value and default of each setting that is not at its default, or has none."""
    for name, info in type(section).model_fields.items():
        value, key = getattr(section, name), f"{path}{name}"
        if isinstance(value, Section):
            yield from changed_settings(value, f"{key}.")
        elif info.is_required():
            yield key, _shown(value), ""
        elif value != (default := info.get_default(call_default_factory=True)):
            yield key, _shown(value), _shown(default)


def _shown(value: Any) -> str:
    """A value in one line, of sections what differs from the defaults."""
    if isinstance(value, Section):
        return ", ".join(f"{key} {shown}" for key, shown, _ in changed_settings(value))
    if isinstance(value, list) and any(isinstance(item, Section) for item in value):
        return "; ".join(map(_shown, value))
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_shown(inner)}" for key, inner in value.items())
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)


def _stages(manifests: dict[str, dict[str, Any]]) -> Table:
    """A row per stage: its fingerprint, what it was made from, by which code, when."""
    made = {manifest["fingerprint"]: name for name, manifest in manifests.items()}
    rows = []
    for name, manifest in manifests.items():
        identity = manifest.get("identity", {})
        inputs = [f"{made[item]} {item}" if item in made else str(item) for item in identity.get("inputs", [])]
        files = [
            f"{key} {', '.join(_hashes(value))}"
            for key, value in identity.items()
            if key not in ("inputs", "config") and _hashes(value)
        ]
        seed, commit = manifest.get("seed"), manifest.get("git_commit")
        cells = (name, manifest["fingerprint"], "; ".join([*inputs, *files]), "" if seed is None else str(seed))
        rows.append(
            Row((*cells, str(manifest.get("nlift", "")), (commit or "")[:10], str(manifest.get("finished", ""))))
        )
    names = ("stage", "fingerprint", "made from", "seed", "nlift", "commit", "finished")
    columns = tuple(Column(name, words=name != "seed") for name in names)
    return Table("made from", columns, tuple(rows))


def _hashes(value: Any) -> list[str]:
    """The fingerprints among what a manifest's identity holds."""
    if isinstance(value, str):
        return [value] if is_fingerprint(value) else []
    return [fingerprint for item in value for fingerprint in _hashes(item)] if isinstance(value, list) else []


def is_fingerprint(text: str) -> bool:
    """Whether a text is a hash, or several, as sources.fingerprint gives them."""
    return all(len(part) == 16 and not set(part) - set("0123456789abcdef") for part in text.split("+"))


def _packages(manifests: dict[str, dict[str, Any]]) -> list[str]:
    """Versions of packages in a line, and the stages that have others."""
    by_versions: dict[str, list[str]] = {}
    for name, manifest in manifests.items():
        versions = ", ".join(f"{package} {version}" for package, version in manifest.get("packages", {}).items())
        by_versions.setdefault(versions, []).append(name)
    if len(by_versions) == 1:
        return [f"All stages: {next(iter(by_versions))}."]
    return [f"{', '.join(names)}: {versions}." for versions, names in by_versions.items()]
