"""Stage `nli`: read English NLI pairs, bad rows set aside."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nlift.config import Experiment
from nlift.data import nli_rows, sources
from nlift.data.schema import NLIPair
from nlift.errors import DataError
from nlift.pipeline.stage import DataSize, Stage
from nlift.pipeline.stage_folder import Output
from nlift.pipeline.workload import Workload
from nlift.settings import NLIConfig

HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
S_PER_ROW = 0.000015  # read, checked and written
NAME_THEM = "say what others mean in nli.label_names, as {E: entailment, N: neutral}"


class NLI(Stage):
    """The pairs of a file or of a hub data set."""

    name = "nli"
    writes = NLIPair

    def identity(self, experiment: Experiment) -> dict[str, Any]:
        """The section and the files' content."""
        config = experiment.nli
        unset = None if config.label_names else {"label_names"}
        return {"config": config.model_dump(mode="json", exclude=unset), "inputs": nli_rows.fingerprints(config)}

    def check(self, experiment: Experiment, size: DataSize) -> None:
        """A data set that is a folder of this machine has the columns; one of the hub is not fetched for it."""
        name = experiment.nli.dataset
        if name is None:
            return
        if sources.is_there(Path(name)):
            next(nli_rows.read_rows(experiment.nli), None)
        elif not HUB_NAME.fullmatch(name):
            raise DataError(f"nli.dataset {name!r}: no such folder; expected a hub data set as org/name, or a folder")

    def work(self, experiment: Experiment, size: DataSize) -> str:
        """How many rows of what."""
        source = experiment.nli.dataset or experiment.nli.path
        return f"{source}, counted when it is read" if size.rows is None else f"{size.rows} rows of {source}"

    def workload(self, experiment: Experiment, size: DataSize) -> Workload:
        """Rows to read."""
        return Workload(serial_s=S_PER_ROW * (size.rows_in or size.rows or 0))

    def run(self, experiment: Experiment, output: Output) -> None:
        """Read the pairs; a row with an empty text or an unknown label goes to quarantine."""
        read(experiment.nli, output)


STAGE = NLI()


def seen(labels: Mapping[str, int]) -> str:
    """Labels and how many rows have them."""
    return ", ".join(f"{label or 'none'} ({count})" for label, count in Counter(labels).most_common(5))


def read(config: NLIConfig, output: Output) -> None:
    """Write the usable pairs to `output`, a piece at a time, and set the bad ones aside there.

    Raises DataError where none is usable.
    """
    labels: Counter[str] = Counter()
    output.write_rows(_pairs(config, output, labels), NLIPair)
    left_out = output.rows_in - output.quarantined - output.rows_out
    output.notes = {"left_out": left_out, "set_aside": dict(output.reasons), "labels": dict(labels)}
    if not output.rows_out:
        raise DataError(_nothing_usable(config, output, labels))


def _pairs(config: NLIConfig, output: Output, labels: Counter[str]) -> Iterator[NLIPair]:
    for number, row in enumerate(nli_rows.read_rows(config)):
        output.rows_in += 1
        labels[row.label] += 1
        if row.fault is not None:
            output.quarantine(dict(row.values), row.fault, row.where)
        elif row.label in config.labels:
            yield NLIPair(f"{number:08d}", row.premise.strip(), row.hypothesis.strip(), row.label)


def _nothing_usable(config: NLIConfig, output: Output, labels: Counter[str]) -> str:
    source = config.path or config.dataset
    line = f"{source}: no usable pair in {output.rows_in} rows"
    if not output.reasons:
        return f"{line}, none of the labels that nli.labels takes" if output.rows_in else line
    reason = output.reasons.most_common(1)[0][0]
    if reason.startswith("unknown label"):
        return f"{line}: labels are {seen(labels)}; {NAME_THEM}"
    return f"{line}; most often: {reason}"
