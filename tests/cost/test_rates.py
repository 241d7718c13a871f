"""Rates: what follows from them for other models and machines, and their file."""

import json
import math

import pytest

from nlift.cost import rates
from nlift.cost.model_size import size_of
from nlift.cost.rates import Rate, Rates, content_of
from nlift.errors import ArtifactError
from nlift.pipeline.workload import NamedModel, Pass

ENCODER, HUB = NamedModel("embedded", "encoder"), NamedModel("allegro/herbert-base-cased", "encoder")
TRANSLATOR = NamedModel("embedded", "translator")


def rate(use="embed", model=ENCODER, settings="float32", threads=1, beside=1, tokens_per_s=1000.0, **changes):
    size = size_of(model)
    operations = size.operations(rates.beams_of(settings))
    values = {"device": "cpu", "hardware": "this", "start_s": 5.0, "operations": operations}
    values |= {"parameters": size.parameters, **changes}
    return Rate(
        use,
        model.name,
        content_of(model),
        settings,
        threads=threads,
        beside=beside,
        tokens_per_s=tokens_per_s,
        **values,
    )


def speed(known, work, hardware="this", threads=1, beside=1, device="cpu"):
    return Rates(tuple(known), 3.0).speed(work, device, hardware, threads, beside)


def test_the_nearest_measurement_counts():
    known = [rate(), rate(beside=2, tokens_per_s=800.0), rate(beside=8, tokens_per_s=400.0)]
    known += [rate(hardware="other", tokens_per_s=9000.0)]
    work = Pass("embed", ENCODER, 1.0, "float32")
    assert [speed(known, work, beside=beside).tokens_per_s for beside in (1, 2, 6, 64)] == [1000, 800, 400, 400]
    assert speed(known, work, hardware="other").tokens_per_s == 9000
    assert speed(known, work).basis == "measured" and speed(known, work).start_s == 5


def test_more_threads_do_as_much_more():
    assert speed([rate()], Pass("embed", ENCODER, 1.0, "float32"), threads=3).tokens_per_s == 3000


def test_nothing_of_the_kind_was_measured():
    assert speed([rate()], Pass("train", ENCODER, 1.0, "auto")) is None
    assert speed([rate()], Pass("embed", ENCODER, 1.0, "float32"), device="gpu") is None
    assert speed([], Pass("embed", ENCODER, 1.0, "float32")) is None


def test_a_model_that_is_not_here_goes_by_its_size():
    """HerBERT: 12 layers of 4 x 768 x 768 + 2 x 768 x 3072 numbers, two operations each."""
    estimate = speed([rate()], Pass("embed", HUB, 1.0, "float32"))
    operations = 2 * 12 * (4 * 768 * 768 + 2 * 768 * 3072)
    assert estimate.tokens_per_s == pytest.approx(1000 * size_of(ENCODER).operations() / operations)
    assert estimate.start_s == pytest.approx(5 + 4 * (size_of(HUB).parameters - size_of(ENCODER).parameters) / 5e8)
    assert "estimated" in estimate.basis and HUB.name in estimate.basis


def test_a_model_of_unknown_size_has_no_rate():
    assert speed([rate()], Pass("embed", NamedModel("someone/model", "encoder"), 1.0, "float32")) is None


def test_more_beams_take_longer():
    work = Pass("translate", TRANSLATOR, 1.0, "ctranslate2, auto, 8 beams")
    known = [rate("translate", TRANSLATOR, "ctranslate2, auto, 4 beams")]
    size = size_of(TRANSLATOR)
    assert speed(known, work).tokens_per_s == pytest.approx(1000 * size.operations(4) / size.operations(8))


def test_what_is_measured_again_is_replaced():
    known = Rates((rate(), rate(beside=2)), 3.0)
    merged = known.merged([rate(tokens_per_s=7.0), rate(threads=2)], 1.5)
    assert [(row.threads, row.beside, row.tokens_per_s) for row in merged.measured] == [
        (1, 1, 7.0),
        (1, 2, 1000.0),
        (2, 1, 1000.0),
    ]
    assert merged.ray_start_s == 1.5 and known.merged([]).ray_start_s == 3.0


def test_a_file_of_rates(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert rates.known()[0] is None
    known = Rates((rate(), rate(beside=2)), 3.0)
    rates.save(known, rates.rates_file())
    assert rates.rates_file() == tmp_path / "nlift" / "rates.json"
    assert rates.known()[0] == known


def test_what_ships_is_of_the_embedded_models():
    shipped = rates.shipped()
    assert shipped.is_shipped
    assert {(row.use, row.model) for row in shipped.measured} == {
        (use, "embedded") for use in ("translate", "score", "embed", "train")
    }
    embedded = {content_of(NamedModel("embedded", kind)) for kind in ("translator", "comet", "encoder")}
    assert {row.content for row in shipped.measured} == embedded


WRONG = {
    "nothing": "",
    "no JSON": "{",
    "a list": "[]",
    "no version": "{}",
    "no rates": {"rates": None},
    "no start": {"ray_start_s": None},
    "not a number": {"ray_start_s": math.nan},
    "an unknown field": [{"speed": 1.0}],
    "a missing field": [{"use": None}],
    "zero": [{"tokens_per_s": 0.0}],
    "negative": [{"start_s": -1.0}],
    "infinite": [{"tokens_per_s": math.inf}],
    "text": [{"threads": "two"}],
    "no text": [{"settings": 4}],
}


@pytest.mark.parametrize("name", WRONG)
def test_a_damaged_file_is_one_line(tmp_path, name):
    path, wrong = tmp_path / "rates.json", WRONG[name]
    rates.save(Rates((rate(),), 3.0), path)
    content = json.loads(path.read_text())
    if isinstance(wrong, dict):
        content |= wrong
    elif isinstance(wrong, list):
        content["rates"][0] |= wrong[0]
    path.write_text(wrong if isinstance(wrong, str) else json.dumps(content))
    with pytest.raises(ArtifactError) as caught:
        rates.read(path)
    line = str(caught.value)
    assert str(path) in line and "remove it" in line and len(line.splitlines()) == 1


def test_rates_of_another_version_are_one_line(tmp_path):
    path = tmp_path / "rates.json"
    path.write_text(json.dumps({"version": 2, "rates": []}))
    with pytest.raises(ArtifactError, match=r"rates\.json: rates of version 2, expected 1; remove it"):
        rates.read(path)
