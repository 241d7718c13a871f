"""Where results come from: settings beside their defaults, stages back to files."""

import yaml

from nlift.config import Experiment
from nlift.pipeline.stage_folder import StageFolder
from nlift.report.lineage import changed_settings, is_fingerprint, lineage

HASH = "0123456789abcdef"


def experiment_of(tmp_path, **sections):
    return Experiment(name="tiny", output_dir=str(tmp_path), nli={"path": "a.tsv"}, **sections)


def test_settings_at_their_defaults_are_not_listed(tmp_path):
    rows = dict(row[:2] for row in changed_settings(experiment_of(tmp_path)))
    assert rows == {"name": "tiny", "output_dir": str(tmp_path), "nli.path": "a.tsv"}


def test_what_differs_is_listed_with_its_default(tmp_path):
    sets = [{"name": "places", "kind": "retrieval", "path": "p"}]
    made = experiment_of(
        tmp_path,
        train={"learning_rate": 1e-3, "dev": "places"},
        cloze={"corpus": "c"},
        score=None,
        evaluate={"sets": sets},
    )
    rows = {key: (value, default) for key, value, default in changed_settings(made)}
    assert rows["train.learning_rate"] == ("0.001", "5e-05")
    assert rows["cloze.corpus"] == ("c", "") and "cloze.keep_share" not in rows
    assert rows["score"][0] == "null"
    assert rows["evaluate.sets"] == ("name places, kind retrieval, path p", "[]")


def test_stages_lead_back_to_their_inputs(tmp_path):
    made = experiment_of(tmp_path)
    nli = StageFolder("nli", made.folder / "nli", {"inputs": [HASH], "config": {"model": HASH}})
    for folder in (
        nli,
        StageFolder("train", made.folder / "train", {"inputs": [nli.fingerprint], "seed": 3, "model": HASH}),
    ):
        with folder.writing() as output:
            output.rows_out = 1
    origin = lineage(made)
    first, second = (row.cells for row in origin.stages.rows)
    assert first[:4] == ("nli", nli.fingerprint, HASH, "")
    assert second[0] == "train" and second[2:4] == (f"nli {nli.fingerprint}; model {HASH}", "3")
    assert yaml.safe_load(origin.settings)["nli"]["path"] == "a.tsv"
    assert [row.cells[0] for row in origin.changed.rows] == ["nli.path"]
    (packages,) = origin.packages
    assert packages.startswith("All stages: ray ") and "torch" in packages
    assert HASH in origin.identities["train"]


def test_a_real_run_leads_back_to_its_file(tiny_run):
    """Every stage but nli names another one of the table."""
    origin = lineage(tiny_run)
    rows = {row.cells[0]: row.cells for row in origin.stages.rows}
    assert list(rows) == ["nli", "translate", "score", "triplets", "train", "evaluate", "index"]
    for before, after in (("nli", "translate"), ("triplets", "train"), ("train", "evaluate"), ("train", "index")):
        assert rows[after][2].startswith(f"{before} {rows[before][1]}")
    assert is_fingerprint(rows["nli"][2])


def test_fingerprints():
    assert is_fingerprint(HASH) and is_fingerprint(f"{HASH}+{HASH}")
    assert not is_fingerprint("stanfordnlp/snli") and not is_fingerprint("") and not is_fingerprint("0123456789abcdeg")
