"""Texts, or pairs of them, with classes: what transfer probes are fitted to and judged on."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from nlift import progress
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

    @property
    def learnable(self) -> frozenset[str]:
        """Classes with two examples or more in what a probe learns from; rows of others are left out."""
        counts = Counter(self.train.labels if self.train is not None else self.labels)
        return frozenset(label for label, count in counts.items() if count >= 2)


def load_labelled(config: EvaluationSet) -> LabelledSet:
    """A set of kind classification or pair_classification.

    Raises DataError, with file and line where a row is to blame, for a row without text or class, or fewer than two
    rows or classes, or none that a probe can learn.
    """
    has_train = config.train is not None or config.train_split is not None
    train = _part(config, training=True) if has_train else None
    dataset = _part(config, training=False, train=train)
    learnable = dataset.learnable
    left_out = [label for label in dataset.labels if label not in learnable]
    if len(left_out) == len(dataset.labels):
        problem = f"none of its {len(left_out)} rows is of a class with two examples to learn from"
        raise DataError(f"{config.name}: {problem}; the first is of {left_out[0]!r}")
    if left_out:
        progress.notice(
            f"{config.name}: {len(left_out)} of {len(dataset.labels)} rows, as of class {left_out[0]!r}, are left out: "
            "their classes have fewer than two examples to learn from"
        )
    return dataset


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
