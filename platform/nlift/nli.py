"""Stage `nli`: read English NLI pairs, bad rows set aside."""

import csv
import glob
import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from nlift import remote, sources
from nlift.artifacts import Output, Stage, parquet_rows
from nlift.config import Experiment
from nlift.errors import DataError
from nlift.remote import RemoteFile
from nlift.schema import LABELS, NLIPair
from nlift.sections import NLIConfig

File = Path | RemoteFile
NOT_UTF8 = "\N{REPLACEMENT CHARACTER}"
NO_GOLD_LABEL = {"-", "-1", ""}


def stage(experiment: Experiment) -> Stage:
    """The stage's folder and what its content depends on."""
    config = experiment.nli
    content = [_fingerprint(path) for path in _files(config)] or [f"{config.dataset}/{config.split}"]
    return Stage("nli", experiment.folder / "nli", {"config": config.model_dump(mode="json"), "inputs": content})


def write(experiment: Experiment, output: Output) -> None:
    """Read the pairs; a row with an empty text or an unknown label goes to quarantine."""
    read(experiment.nli, output)
    output.notes = {"left_out": output.rows_in - output.quarantined - output.rows_out}
    if not output.rows_out:
        why = f"; most often: {output.reasons.most_common(1)[0][0]}" if output.reasons else ""
        raise DataError(f"{experiment.nli.path or experiment.nli.dataset}: no usable pair in {output.rows_in} rows{why}")


def read(config: NLIConfig, output: Output) -> None:
    """Write the usable pairs to `output`, a piece at a time, and set the bad ones aside there."""
    output.write_rows(_pairs(config, output), NLIPair)


def _pairs(config: NLIConfig, output: Output) -> Iterator[NLIPair]:
    for number, row in enumerate(read_rows(config)):
        output.rows_in += 1
        reason = _fault(row)
        if reason:
            output.quarantine(row, reason)
        elif _label(row) in config.labels:
            yield NLIPair(f"{number:08d}", row["premise"].strip(), row["hypothesis"].strip(), _label(row))


def read_rows(config: NLIConfig) -> Iterator[dict[str, str]]:
    """Rows as premise, hypothesis and label, all text; at most `limit` of them."""
    rows = _read_hub(config) if config.dataset else _read_files(config)
    yield from islice(rows, config.limit)


def read_table(path: File, undecodable: Literal["strict", "replace"] = "strict") -> Iterator[dict[str, Any]]:
    """Rows of a TSV, CSV, JSONL or Parquet file as dicts, one at a time. Raises DataError with the line.

    Bytes that are not UTF-8 raise too, or with `replace` become U+FFFD.
    """
    suffix = path.suffix.lower()
    try:
        if suffix == ".parquet":
            yield from parquet_rows(path)
        elif suffix == ".jsonl":
            for number, line in enumerate(path.open(encoding="utf-8-sig", errors=undecodable), 1):
                yield _json_object(line, path, number)
        elif suffix in (".tsv", ".csv"):
            with path.open(encoding="utf-8-sig", errors=undecodable, newline="") as stream:
                csv.field_size_limit(2**31 - 1)
                if suffix == ".tsv":
                    yield from csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
                else:
                    yield from csv.DictReader(stream)
        else:
            raise DataError(f"{path}: found a {suffix or 'nameless'} file, expected .tsv, .csv, .jsonl or .parquet")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text (byte {error.start}); convert it to UTF-8") from None


def need_columns(row: dict[str, Any], names: list[str], path: File) -> None:
    """Raise DataError where a row lacks a column, naming what was found."""
    for name in names:
        if name not in row:
            found = ", ".join(str(key) for key in row)
            raise DataError(f"{path}:1: no column {name!r}; found {found}; expected {', '.join(names)}")


def _json_object(line: str, path: File, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError:
        raise DataError(f"{path}:{number}: not JSON; expected one object per line") from None
    if not isinstance(row, dict):
        raise DataError(f"{path}:{number}: found {type(row).__name__}, expected one JSON object per line")
    return row


def _fingerprint(path: File) -> str:
    return path.fingerprint() if isinstance(path, RemoteFile) else sources.fingerprint(path)


def _files(config: NLIConfig) -> Sequence[File]:
    if config.path is None:
        return []
    if remote.is_remote(config.path):
        return remote.find(config.path)
    if any(character in config.path for character in "*?["):
        found = sorted(glob.glob(config.path, recursive=True))
        if not found:
            raise DataError(f"nli.path {config.path}: the glob matches no file")
        return [Path(path) for path in found]
    path = sources.data_path(config.path)
    if path.is_dir():
        raise DataError(f"nli.path {config.path}: is a folder; name a file or a glob as {config.path}/*.tsv")
    return [path]


def _read_files(config: NLIConfig) -> Iterator[dict[str, str]]:
    for path in _files(config):
        for number, row in enumerate(read_table(path, undecodable="replace")):
            if number == 0:
                need_columns(row, [config.premise, config.hypothesis, config.label], path)
            yield _rename(row, config)


def _read_hub(config: NLIConfig) -> Iterator[dict[str, str]]:
    import datasets

    try:
        rows = datasets.load_dataset(config.dataset, split=config.split, streaming=True)
    except Exception as error:
        message = str(error).splitlines()[0]
        raise DataError(f"nli.dataset {config.dataset} ({config.split}): cannot be loaded: {message}") from None
    for row in rows:
        yield _rename(row, config)


def _rename(row: dict[str, Any], config: NLIConfig) -> dict[str, str]:
    columns = {"premise": config.premise, "hypothesis": config.hypothesis, "label": config.label}
    return {name: "" if row.get(column) is None else str(row[column]) for name, column in columns.items()}


def _label(row: dict[str, str]) -> str:
    """A row's label by name; `0`, `1` and `2` count in the order of LABELS."""
    label = row["label"]
    return LABELS[int(label)] if label in ("0", "1", "2") else label


def _fault(row: dict[str, str]) -> str | None:
    for name in ("premise", "hypothesis"):
        if not row[name].strip():
            return f"empty {name}"
        if NOT_UTF8 in row[name]:
            return f"{name} is not UTF-8"
    if row["label"] in NO_GOLD_LABEL:
        return "no gold label"
    if row["label"] not in (*LABELS, "0", "1", "2"):
        return f"unknown label {row['label']!r}"
    return None
