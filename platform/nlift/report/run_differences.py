"""What differs between runs beside their figures: settings, inputs, versions; from their manifests."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nlift.report.lineage import is_fingerprint
from nlift.report.run_folder import RunFolder
from nlift.report.tables import Column, Row, Table

MISSING = "–"  # of a stage that a run has not
SHARED = ("search", "language", "compute_type", "overlap", "max_length", "seed")  # of the run, told once
FIRST = "nli"  # whose inputs are files; those of others are the stage before


def differences(runs: Sequence[RunFolder]) -> list[Table]:
    """Settings, inputs and versions that are not the same in all runs; a table each, those with no row left out."""
    settings, inputs = _identities(runs)
    columns = (Column("", words=True), *(Column(run.label, words=True) for run in runs))
    tables = []
    for title, rows in (
        ("settings that differ", settings),
        ("inputs that differ, by fingerprint", inputs),
        ("versions that differ", _versions(runs)),
    ):
        differing = [Row((key, *values)) for key, values in rows.items() if len(set(values)) > 1]
        tables += [Table(title, columns, tuple(differing))] if differing else []
    return tables


def _identities(runs: Sequence[RunFolder]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """By dotted key the values of all runs: of settings, and of what is named by its content."""
    flat = [dict(_flat_manifests(run.manifests)) for run in runs]
    stages = list(dict.fromkeys(stage for run in runs for stage in run.manifests))
    settings = {stage: ["run" if stage in run.manifests else "not run" for run in runs] for stage in stages}
    inputs: dict[str, list[str]] = {}
    for key in dict.fromkeys(key for own in flat for key in own):
        stage = key.split(".")[0]
        if stage in stages and any(stage not in run.manifests for run in runs):
            continue  # told in one row
        values = [own.get(key, MISSING) for own in flat]
        named = all(value == MISSING or _is_content(value) for value in values)
        (inputs if named else settings)[key] = values
    return settings, inputs


def _is_content(value: str) -> bool:
    return all(map(is_fingerprint, value.split(", ")))


def _flat_manifests(manifests: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Dotted keys of what stages depend on; the stage before is none: it has rows of its own."""
    for stage, manifest in manifests.items():
        for key, value in manifest.get("identity", {}).items():
            if key == "inputs" and stage != FIRST:
                continue
            path = stage if key == "config" else key if key in SHARED else f"{stage}.{key}"
            yield from _flat(path, value)


def _flat(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flat(f"{path}.{key}", inner)
    elif isinstance(value, list) and value and all(isinstance(item, dict) and "name" in item for item in value):
        for item in value:
            yield from _flat(f"{path}.{item['name']}", {key: inner for key, inner in item.items() if key != "name"})
    elif isinstance(value, list):
        yield path, ", ".join(map(_text, value)) or "[]"
    else:
        yield path, _text(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _versions(runs: Sequence[RunFolder]) -> dict[str, list[str]]:
    """Versions of nlift and packages, and commits; of a run that was made by several, all of them."""
    versions = [[dict(_versions_of(manifest)) for manifest in run.manifests.values()] for run in runs]
    names = dict.fromkeys(name for run in versions for manifest in run for name in manifest)
    return {
        name: [
            ", ".join(dict.fromkeys(manifest[name] for manifest in run if name in manifest)) or MISSING
            for run in versions
        ]
        for name in names
    }


def _versions_of(manifest: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "nlift", str(manifest.get("nlift", MISSING))
    yield "commit", (manifest.get("git_commit") or MISSING)[:10]
    yield from manifest.get("packages", {}).items()
