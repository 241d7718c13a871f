"""Transfer probes beside scikit-learn, and what they make of odd sets."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from sklearn.preprocessing import StandardScaler

from nlift.errors import DataError
from nlift.evaluation.labelled_sets import LabelledSet, load_labelled
from nlift.evaluation.probes import STRENGTHS, probe, triplet_accuracy
from nlift.settings import EvaluationSet

CLASSES = ("animals", "rivers", "maps")


class Planted:
    """An encoder whose vectors have a text's class in one of eight dimensions, and noise."""

    def encode(self, texts, *, role=None, max_length=None):
        rows = []
        for text in texts:
            chance = np.random.default_rng(sum(map(ord, text)))
            vector = chance.normal(size=8)
            vector[len(text) % 3] += 2.0
            rows.append(vector / np.linalg.norm(vector))
        return np.array(rows, dtype=np.float32)


def texts(count, start=0):
    return [f"{'x' * (i * 7 % 23)}{i}" for i in range(start, start + count)]


def labels(rows):
    return [CLASSES[len(text) % 3] for text in rows]


def test_a_probe_is_logistic_regression_over_frozen_vectors():
    train, test = texts(240), texts(90, 1000)
    dataset = LabelledSet("t", test, labels(test), LabelledSet("t", train, labels(train)))
    result = probe(Planted(), dataset)
    scaler = StandardScaler().fit(Planted().encode(train))
    predictions = []
    for strength in STRENGTHS:
        model = LogisticRegression(C=strength, max_iter=300).fit(
            scaler.transform(Planted().encode(train)), labels(train)
        )
        predictions.append(model.predict(scaler.transform(Planted().encode(test))).tolist())
    assert list(result.predicted) in predictions
    metrics = result.metrics()
    assert (
        metrics["accuracy"] == pytest.approx(accuracy_score(labels(test), result.predicted))
        and metrics["accuracy"] > 0.7
    )
    assert metrics["macro_f1"] == pytest.approx(f1_score(labels(test), result.predicted, average="macro"))
    assert (metrics["examples"], metrics["classes"], metrics["left_out"]) == (90, 3, 0)


def test_without_a_training_part_each_fifth_is_predicted_from_the_others():
    rows = texts(150)
    result = probe(Planted(), LabelledSet("t", rows, labels(rows)))
    assert len(result.predicted) == 150 and result.metrics()["accuracy"] > 0.7
    shuffled = np.random.default_rng(0).permutation(labels(rows)).tolist()
    assert probe(Planted(), LabelledSet("t", rows, shuffled)).metrics()["accuracy"] < 0.5  # nothing leaks


def test_a_class_with_one_example_is_left_out_and_counted():
    rows = texts(60)
    alone = [*labels(rows)[:-1], "seldom"]
    metrics = probe(Planted(), LabelledSet("t", rows, alone)).metrics()
    assert (metrics["examples"], metrics["classes"], metrics["left_out"]) == (59, 3, 1)
    with pytest.raises(DataError, match="1 classes with two examples"):
        probe(Planted(), LabelledSet("t", rows[:4], ["a", "a", "b", "c"]))


def test_pairs_are_told_by_differences_and_products():
    first = texts(300)
    second = np.random.default_rng(0).permutation(first).tolist()
    same = ["same" if len(a) % 3 == len(b) % 3 else "other" for a, b in zip(first, second, strict=True)]
    dataset = LabelledSet("t", list(zip(first, second, strict=True)), same)
    metrics = probe(Planted(), dataset).metrics()
    assert metrics["accuracy"] > metrics["majority"] + 0.05


def test_entailment_is_nearer_than_contradiction():
    pairs = [("aa", "xx"), ("aa", "yyy"), ("b", "z"), ("ccc", "w")]
    relations = ["entailment", "contradiction", "entailment", "contradiction"]
    encoder = Planted()
    anchor, positive, negative = encoder.encode(["aa", "xx", "yyy"])
    expected = {"triplet_accuracy": float(anchor @ positive > anchor @ negative), "triplets": 1}
    assert triplet_accuracy(encoder, LabelledSet("t", pairs, relations)) == expected
    assert triplet_accuracy(encoder, LabelledSet("t", pairs[2:], relations[2:])) == {}


def loaded(tmp_path, text, kind="classification", name="t.tsv", **settings):
    (tmp_path / name).write_text(text)
    return load_labelled(EvaluationSet(name="t", kind=kind, path=str(tmp_path / name), **settings))


def test_columns_by_other_names(tmp_path):
    rows = "a\tb\tx\nc\td\ty\n"
    pairs = loaded(tmp_path, f"premise\thypothesis\tlabel\n{rows * 2}", "pair_classification")
    assert (pairs.texts, pairs.labels) == ([("a", "b"), ("c", "d")] * 2, ["x", "y"] * 2)
    rows = "a\t1\nb\t2\n" * 2
    named = loaded(tmp_path, f"query\tclass\n{rows}", columns={"text": "query", "label": "class"})
    assert (named.texts, named.labels, named.train) == (["a", "b"] * 2, ["1", "2"] * 2, None)
    (tmp_path / "train.tsv").write_text("text\tlabel\nq\t1\nr\t2\ns\t1\nt\t2\n")
    with_train = loaded(tmp_path, "text\tlabel\na\t1\nb\t2\n", train=str(tmp_path / "train.tsv"))
    assert with_train.train is not None and with_train.train.texts == ["q", "r", "s", "t"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("text\tlabel\na\t\nb\tx\n", "t.tsv:2: label is empty"),
        ("text\tclass\na\tx\n", "t.tsv:1: no column 'label'"),
        ("text\tlabel\na\tx\nb\tx\n", "has 2 rows of 1 classes"),
        ("text\tlabel\n", "has 0 rows"),
        ("text\tlabel\na\tx\nb\ty\n", "t: none of its 2 rows is of a class with two examples"),
    ],
)
def test_what_is_no_labelled_set(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        loaded(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("text\tclass\na\tx\n", r"train\.tsv:1: no column 'label'; found text, class; expected text, label"),
        ("text\tlabel\na\tx\nb\tx\n", "its training part has 2 rows of 1 classes"),
        ("text\tlabel\na\tx.0\nb\ty.0\nc\tx.0\n", "none of its 2 rows is of a class with two examples"),
    ],
)
def test_what_is_no_training_part(tmp_path, text, message):
    (tmp_path / "train.tsv").write_text(text)
    with pytest.raises(DataError, match=message):
        loaded(tmp_path, "text\tlabel\na\tx\nb\ty\n", train=str(tmp_path / "train.tsv"))


def test_it_is_said_which_rows_no_probe_can_learn(tmp_path, caplog):
    loaded(tmp_path, "text\tlabel\na\tx\nb\tx\nc\ty\nd\ty\ne\tseldom\n")
    assert "t: 1 of 5 rows, as of class 'seldom', are left out: their classes have fewer than two" in caplog.text
    (tmp_path / "train.tsv").write_text("text\tlabel\na\tx\nb\tx\nc\ty\nd\ty\ne\tseldom\n")
    rows = "text\tlabel\na\tx\nb\ty\nc\tnever\nd\tseldom\n"
    dataset = loaded(tmp_path, rows, train=str(tmp_path / "train.tsv"))
    assert "t: 2 of 4 rows, as of class 'never', are left out" in caplog.text
    assert probe(Planted(), dataset).metrics()["left_out"] == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "classification"}, "path or dataset, exactly one"),
        ({"kind": "classification", "path": "a", "dataset": "b"}, "path or dataset, exactly one"),
        ({"kind": "sts", "path": "a", "train": "b"}, "only what a probe learns has a training part"),
        ({"kind": "retrieval", "dataset": "b"}, "expected path, a BEIR folder"),
        ({"kind": "classification", "path": "a", "train_split": "x"}, "train_split without dataset"),
        ({"kind": "classification", "dataset": "a", "train": "x"}, "expected train_split"),
        ({"kind": "sts", "path": "a", "revision": "b"}, "has revision without dataset"),
        ({"kind": "quality", "path": "a", "scale": [0, 1]}, "only sts has a scale"),
        ({"kind": "sts", "path": "a", "scale": [5, 0]}, "the scale 5 to 0; expected the lowest score first"),
    ],
)
def test_settings_that_do_not_go_together(settings, message):
    with pytest.raises(ValueError, match=message):
        EvaluationSet(name="t", **settings)


def test_a_data_set_of_the_hub_s_form(tmp_path):
    (tmp_path / "data").mkdir()
    for split in ("train", "test"):
        (tmp_path / "data" / f"{split}.csv").write_text("text,label\na,x\nb,y\n" + "c,x\nd,y\n" * (split == "train"))
    config = EvaluationSet(name="t", kind="classification", dataset=str(tmp_path), train_split="train")
    dataset = load_labelled(config)
    assert dataset.labels == ["x", "y"] and dataset.train.labels == ["x", "y", "x", "y"]
    with pytest.raises(DataError, match=r"dataset .*\(none\): cannot be loaded"):
        load_labelled(config.model_copy(update={"split": "none"}))
