"""The one table of metrics, and settings that take a word or a number."""

import json

import pytest
from pydantic import ValidationError

from nlift.settings import MEASURED, METRICS, TrainConfig, direction


def test_what_is_measured_by_kind_of_set():
    geometry = ("uniformity", "alignment", "anisotropy", "effective_rank")
    assert {
        "sts": ("spearman", "pearson", *geometry),
        "retrieval": ("ndcg@10", "recall@10", "recall@100", "precision@10", "mrr@10", "map", *geometry),
    } == MEASURED


def test_what_is_shown_and_in_which_order():
    short = [metric.name for metric in METRICS if metric.summary]
    long = [metric.name for metric in METRICS if metric.report]
    assert short == ["spearman", "ndcg@10", "recall@10", "recall@100", "accuracy", "uniformity", "alignment"]
    assert long == [
        *short[:4],
        "mrr@10",
        "map",
        "accuracy",
        "macro_f1",
        "triplet_accuracy",
        *short[5:],
        "anisotropy",
        "effective_rank",
    ]


def test_a_direction():
    lower = {metric.name for metric in METRICS if direction(metric.name) == "min"}
    assert lower == {"uniformity", "alignment", "anisotropy"}
    assert direction(None) == direction("loss") == "max"


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("base_share", ["auto", 0, 0.25, 1]),
        ("whitening", ["auto", None, 0, 0.25, 0.5]),
        ("device_batch_size", ["auto", None, 1, 512]),
        ("freeze", ["embeddings", None, 1, 12]),
    ],
)
def test_a_word_or_a_number_of_a_range(key, values):
    taken = [getattr(TrainConfig.model_validate({key: value}), key) for value in values]
    assert taken == values
    numbers = [type(value) for value in taken if value is not None and not isinstance(value, str)]
    assert set(numbers) == {float if key in ("base_share", "whitening") else int}
    assert [TrainConfig.model_validate_json(json.dumps({key: value})) for value in values] == [
        TrainConfig.model_validate({key: value}) for value in values
    ]


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("base_share", None, "auto or a number from 0 to 1"),
        ("base_share", float("nan"), "auto or a number from 0 to 1"),
        ("base_share", "0.5", "auto or a number from 0 to 1"),
        ("whitening", 0.51, "auto or a number from 0 to 0.5, or null"),
        ("device_batch_size", 1.0, "auto or a whole number of 1 or more, or null"),
        ("device_batch_size", -1, "auto or a whole number of 1 or more, or null"),
        ("freeze", "auto", "embeddings or a whole number of 1 or more, or null"),
        ("freeze", True, "embeddings or a whole number of 1 or more, or null"),
    ],
)
def test_anything_else_is_refused_in_one_sentence(key, value, expected):
    with pytest.raises(ValidationError) as caught:
        TrainConfig.model_validate({key: value})
    (error,) = caught.value.errors()
    assert error["loc"] == (key,) and error["msg"] == f"Value error, found {value!r}, expected {expected}"


def test_the_share_of_the_base_model_during_training():
    shares = [TrainConfig(base_share=share).fixed_base_share for share in ("auto", 0, 0.25, 1)]
    assert shares == [0, 0, 0.25, 1]


def test_the_weight_of_simcse():
    distilled = ("search_distillation", "translation_distillation")
    assert [TrainConfig(loss=loss).simcse_share for loss in ("simcse", "simcse_reference", *distilled)] == [
        1,
        1,
        0.5,
        0.5,
    ]
    assert [TrainConfig(loss=loss, distillation_share=1).simcse_share for loss in ("simcse", *distilled)] == [1, 0, 0]
