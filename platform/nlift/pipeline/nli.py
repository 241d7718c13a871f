"""Stage `nli`: read English NLI pairs, bad rows set aside."""

import glob
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from nlift.config import Experiment
from nlift.data import remote, sources
from nlift.data.files import File, need_columns, read_table
from nlift.data.remote import RemoteFile
from nlift.data.schema import LABELS, NLIPair
from nlift.errors import DataError, first_line
from nlift.pipeline.stage import DataSize, Output, Stage
from nlift.settings import NLIConfig

NOT_UTF8 = "\N{REPLACEMENT CHARACTER}"
NO_GOLD_LABEL = {"-", "-1", ""}


class NLI(Stage):
    """The pairs of a file or of a hub data set."""

    name = "nli"
    writes = NLIPair

    def identity(self, experiment: Experiment) -> dict[str, Any]:
        """The section and the files' content."""
        config = experiment.nli
        content = [_fingerprint(path) for path in _files(config)] or [f"{config.dataset}/{config.split}"]
        return {"config": config.model_dump(mode="json"), "inputs": content}

    def check(self, experiment: Experiment) -> None:
        """The file is there and has the columns."""
        if experiment.nli.path is not None:
            next(read_rows(experiment.nli), None)

    def work(self, experiment: Experiment, size: DataSize) -> str:
        """How many rows of what."""
        source = experiment.nli.dataset or experiment.nli.path
        return f"{source}, counted when it is read" if size.rows is None else f"{size.rows} rows of {source}"

    def run(self, experiment: Experiment, output: Output) -> None:
        """Read the pairs; a row with an empty text or an unknown label goes to quarantine."""
        read(experiment.nli, output)
        output.notes = {"left_out": output.rows_in - output.quarantined - output.rows_out}
        if not output.rows_out:
            why = f"; most often: {output.reasons.most_common(1)[0][0]}" if output.reasons else ""
            source = experiment.nli.path or experiment.nli.dataset
            raise DataError(f"{source}: no usable pair in {output.rows_in} rows{why}")


STAGE = NLI()


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


def _fingerprint(path: File) -> str:
    return path.fingerprint() if isinstance(path, RemoteFile) else sources.fingerprint(path)


def _files(config: NLIConfig) -> Sequence[File]:
    if config.path is None:
        return []
    if remote.is_remote(config.path):
        return remote.find(config.path)
    if any(character in config.path for character in "*?["):
        matches = sorted(glob.glob(config.path, recursive=True))
        if not matches:
            raise DataError(f"nli.path {config.path}: the glob matches no file")
        return [Path(match) for match in matches]
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
        why = first_line(error)
        raise DataError(f"nli.dataset {config.dataset} ({config.split}): cannot be loaded: {why}") from None
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
