"""Texts, or pairs of them, with classes: what transfer probes are fitted to and judged on."""

from collections.abc import Sequence
from dataclasses import dataclass

from nlift.data.table_row import TableRow, is_missing, is_number, kind_of, number_text
from nlift.errors import DataError
from nlift.evaluation.set_rows import set_rows
from nlift.settings import EvaluationSet

COLUMNS = {"classification": ("text", "label"), "pair_classification": ("sentence1", "sentence2", "label")}


@dataclass(frozen=True)
class LabelledSet:
    """Texts, or pairs of them, with the class of each."""

    name: str
    texts: Sequence[str | tuple[str, str]]
    labels: Sequence[str]
    train: "LabelledSet | None" = None
    """What a probe learns from; None where the set is divided for it."""


def load_labelled(config: EvaluationSet) -> LabelledSet:
    """A set of kind classification or pair_classification.

    Raises DataError, with file and line where a row is to blame, for a row without text or class, or fewer than two
    rows or classes.
    """
    has_train = config.train is not None or config.train_split is not None
    train = _part(config, training=True) if has_train else None
    return _part(config, training=False, train=train)


def _part(config: EvaluationSet, *, training: bool, train: LabelledSet | None = None) -> LabelledSet:
    columns = COLUMNS[config.kind]
    texts: list[str | tuple[str, str]] = []
    labels: list[str] = []
    for row in set_rows(config, columns, training=training):
        labels.append(_label(row))
        values = [row.text(name) for name in columns[:-1]]
        texts.append(values[0] if len(values) == 1 else (values[0], values[1]))
    part = "training part" if training else "set"
    if len(texts) < 2 or len(set(labels)) < 2:
        raise DataError(
            f"{config.name}: its {part} has {len(texts)} rows of {len(set(labels))} classes; expected two at least"
        )
    return LabelledSet(config.name, texts, labels, train)


def _label(row: TableRow) -> str:
    value = row.values.get("label")
    if is_missing(value) or value == "":
        raise row.mistake("label is empty; expected a class")
    if is_number(value):
        return number_text(value)
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str):
        raise row.mistake(f"label is {kind_of(value)}; expected a class")
    return value
