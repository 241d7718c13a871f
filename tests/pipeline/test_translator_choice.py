"""Which of several translators is kept; on the embedded models and Ray."""

import shutil

import pyarrow as pa
import pyarrow.dataset as pads
import pytest

from nlift import pipeline
from nlift.config import Experiment
from nlift.data.database import open_database
from nlift.data.files import read_rows
from nlift.data.schema import NLIPair, TranslatedPair, to_table
from nlift.data.sources import EMBEDDED
from nlift.errors import ConfigError, DataError
from nlift.pipeline import translator_choice
from nlift.pipeline.stage_folder import read_manifest


def damaged(folder):
    """A bad translator: the embedded one, a part of its decoder left out."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(EMBEDDED / "translator", folder)
    weights = load_file(folder / "model.safetensors")
    for name, tensor in weights.items():
        if "decoder.layers.1.fc2" in name:
            weights[name] = tensor * 0
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.slow
def test_the_better_one_is_kept(ray_session, tmp_path):
    lines = (EMBEDDED / "data" / "snli.tsv").read_text().splitlines()[:13]
    (tmp_path / "nli.tsv").write_text("\n".join(lines) + "\n")
    worse = str(damaged(tmp_path / "worse"))
    experiment = Experiment.model_validate(
        {
            "name": "two",
            "output_dir": str(tmp_path / "runs"),
            "nli": {"path": str(tmp_path / "nli.tsv")},
            "translate": {"candidates": [worse, "embedded"], "num_beams": 2},
        }
    )
    pipeline.run(experiment, ["nli", "translate", "score"])
    manifest = read_manifest(experiment.folder / "translate")
    by_model = {row["model"]: row for row in manifest["candidates"]}
    assert manifest["chosen"] == "embedded" and by_model["embedded"]["mean"] > by_model[worse]["mean"]
    alone = experiment.override({"name": "alone", "translate.candidates": []})
    pipeline.run(alone, ["nli", "translate"])
    assert read_manifest(alone.folder / "translate")["translated_now"] == 0  # from the memory
    rows = [read_rows(run.folder / "translate", TranslatedPair) for run in (experiment, alone)]
    assert rows[0] == rows[1]
    assert pipeline.run(experiment, ["translate"])[0].seconds == 0


def test_a_model_that_translates_nothing_loses(ray_session, tmp_path):
    experiment = Experiment.model_validate({"name": "a", "output_dir": str(tmp_path), "nli": {"path": "embedded"}})
    good = [("A dog runs.", "Pies biegnie.", None), ("A dog.", "Pies.", None)]
    silent = [(source, None, "the model emitted nothing") for source, _, _ in good]
    names = ("source", "target", "fault")

    def compared(*of_models):
        with open_database(tmp_path) as database:
            database.add("pairs", pads.dataset(to_table([NLIPair("0", good[0][0], good[1][0], "entailment")], NLIPair)))
            for i, rows in enumerate(of_models):
                table = pa.table(
                    {name: pa.array([row[j] for row in rows], pa.string()) for j, name in enumerate(names)}
                )
                database.add(translator_choice.table_of(i), pads.dataset(table))
            return translator_choice.compare(database, ["silent", "good"], experiment.score, experiment.memories)

    comparison = compared(silent, good)
    assert comparison.best == 1 and [row["translated"] for row in comparison.table] == [0, 1]
    assert comparison.table[0]["mean"] == 0.0 < comparison.table[1]["mean"]
    with pytest.raises(DataError, match="no pair was translated by all of silent, good"):
        compared(silent, silent)


def test_candidates_need_comet():
    with pytest.raises(ConfigError, match=r"translate\.candidates needs score"):
        Experiment.model_validate({"name": "a", "nli": {"path": "embedded"}}).override(
            {"translate.candidates": ["a", "b"], "score": None}
        )
