"""Transfer probes: how much of a task a linear model sees in an encoder's vectors, which stay as they are.

As SentEval does (Conneau and Kiela 2018): logistic regression over the vector of a text, or over |u - v| and u * v of
a pair's two. It is not KLEJ's protocol, which trains the encoder with the task.

Shape suffixes: N texts or pairs, D dimensions, F features.
"""

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nlift.errors import DataError
from nlift.evaluation.labelled_sets import LabelledSet
from nlift.evaluation.metrics import macro_f1
from nlift.evaluation.text_encoder import TextEncoder

STRENGTHS = np.logspace(-4, 1, 6)  # of C, the inverse of the regularisation, over standardised features
FOLDS = 5
MOST_TRAINED_ON = 20_000
SEED = 0


@dataclass(frozen=True)
class Probe:
    """What a probe predicts for a set's texts or pairs."""

    labels: Sequence[str]
    """The true ones, by row."""
    predicted: Sequence[str]
    left_out: int
    """Rows whose class has too few examples to learn it from."""

    def metrics(self) -> dict[str, float]:
        """Accuracy and macro F1, 0 to 1, and what they are of; `majority` is what the most frequent class gives."""
        counts = Counter(self.labels)
        return {
            "accuracy": float(np.mean(self.correct)),
            "macro_f1": macro_f1(*self.numbers),
            "examples": len(self.labels),
            "classes": len(counts),
            "majority": max(counts.values()) / len(self.labels),
            "left_out": self.left_out,
        }

    @property
    def numbers(self) -> tuple[np.ndarray, np.ndarray]:
        """The true and the predicted classes as numbers from 0, int64 [N] each."""
        both = np.unique([*self.labels, *self.predicted], return_inverse=True)[1]
        return both[: len(self.labels)], both[len(self.labels) :]

    @property
    def correct(self) -> np.ndarray:
        """Whether each row is predicted rightly, bool [N]."""
        return np.array(self.predicted) == np.array(self.labels)


def probe(encoder: TextEncoder, dataset: LabelledSet) -> Probe:
    """Fit on the set's training part and predict the rest; without one, predict each fifth from the other four.

    Classes with fewer than two examples in what is learned from are left out, and counted. Raises DataError where fewer
    than two classes remain.
    """
    features_NF, labels, kept = _features(encoder, dataset.texts), np.array(dataset.labels), _kept(dataset)
    rows = np.flatnonzero(np.isin(labels, kept))
    if dataset.train is None:
        return Probe(labels[rows].tolist(), _crossed(features_NF[rows], labels[rows]), len(labels) - len(rows))
    known = np.array(dataset.train.labels)
    learned = np.flatnonzero(np.isin(known, kept))
    if len(learned) > MOST_TRAINED_ON:
        learned = np.sort(np.random.default_rng(SEED).choice(learned, MOST_TRAINED_ON, replace=False))
    train = dataset.train.texts
    learned_NF = _features(encoder, [train[row] for row in learned.tolist()])
    predicted = _fitted(learned_NF, known[learned]).predict(features_NF[rows])
    return Probe(labels[rows].tolist(), predicted.tolist(), len(labels) - len(rows))


def triplet_accuracy(encoder: TextEncoder, dataset: LabelledSet) -> dict[str, float]:
    """The share of premises whose entailed hypothesis is nearer than their contradicted one, and how many there are.

    {} where the set has no premise with both.
    """
    by_premise: dict[str, dict[str, str]] = {}
    for text, label in zip(dataset.texts, dataset.labels, strict=True):
        if isinstance(text, tuple) and label in ("entailment", "contradiction"):
            by_premise.setdefault(text[0], {}).setdefault(label, text[1])
    triplets = [(premise, hypotheses) for premise, hypotheses in by_premise.items() if len(hypotheses) == 2]
    if not triplets:
        return {}
    anchors = encoder.encode([premise for premise, _ in triplets])
    sides = [
        encoder.encode([hypotheses[label] for _, hypotheses in triplets]) for label in ("entailment", "contradiction")
    ]
    nearer = (anchors * sides[0]).sum(1) > (anchors * sides[1]).sum(1)
    return {"triplet_accuracy": float(nearer.mean()), "triplets": len(triplets)}


def _features(encoder: TextEncoder, texts: Sequence[str | tuple[str, str]]) -> np.ndarray:
    """Vectors of texts, [N, D]; of pairs |u - v| and u * v, [N, 2 D]."""
    pairs = [text for text in texts if isinstance(text, tuple)]
    if not pairs:
        return encoder.encode([text for text in texts if isinstance(text, str)])
    first, second = (encoder.encode([pair[side] for pair in pairs]) for side in (0, 1))
    return np.concatenate([np.abs(first - second), first * second], axis=1)


def _kept(dataset: LabelledSet) -> list[str]:
    kept = sorted(dataset.learnable)
    if len(kept) < 2:
        raise DataError(f"{dataset.name}: {len(kept)} classes with two examples or more; expected two at least")
    return kept


def _fitted(features_NF: np.ndarray, labels: np.ndarray) -> Any:
    """Standardised logistic regression, its regularisation chosen by cross-validation over what is learned from."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))
    search = GridSearchCV(model, {"logisticregression__C": STRENGTHS}, cv=_folds(labels))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of the weakest regularisation, which is then not chosen
        return search.fit(features_NF, labels)


def _crossed(features_NF: np.ndarray, labels: np.ndarray) -> list[str]:
    """What each fold is predicted by a model of the others."""
    predicted = np.empty(len(labels), dtype=object)
    for learned, asked in _folds(labels).split(features_NF, labels):
        predicted[asked] = _fitted(features_NF[learned], labels[learned]).predict(features_NF[asked])
    return [str(label) for label in predicted]


def _folds(labels: np.ndarray) -> Any:
    """Five folds with each class's share of examples, fewer where a class has fewer examples."""
    from sklearn.model_selection import KFold, StratifiedKFold

    least = int(np.unique(labels, return_counts=True)[1].min())
    if least < 2:  # a fold took all but one
        return KFold(min(FOLDS, len(labels)), shuffle=True, random_state=SEED)
    return StratifiedKFold(min(FOLDS, least), shuffle=True, random_state=SEED)
