"""What is refused before any work, by check as by run, and what the data is said to be."""

import json
import shutil

import pytest
from conftest import write_file

from nlift import pipeline
from nlift.config import Experiment
from nlift.data.sources import EMBEDDED
from nlift.errors import ArtifactError, ConfigError, DataError, ModelError, ResourceError
from nlift.pipeline import survey as survey_module
from nlift.pipeline.survey import survey

LABELS = ("entailment", "contradiction", "neutral")
TRAIN = {"global_batch_size": 4, "num_workers": 1}


def rows(premises=10, labels=LABELS):
    """Pairs of a premise with a hypothesis of each label."""
    return [
        {"premise": f"A man walks dog {i}.", "hypothesis": f"He is {label} {i}.", "label": label}
        for i in range(premises)
        for label in labels
    ]


@pytest.fixture
def experiment(tmp_path):
    """Makes an experiment on an NLI file, English alone unless told otherwise."""

    def make(pairs=None, **changes):
        path = write_file(tmp_path / "pairs.jsonl", rows() if pairs is None else pairs)
        raw = {"name": "a", "output_dir": str(tmp_path / "runs"), "nli": {"path": str(path)}, "train": TRAIN}
        return Experiment.model_validate({**raw, "translate": None, "score": None, **changes})

    return make


def test_the_data_is_counted(experiment):
    bad = [
        {"premise": "", "hypothesis": "b", "label": 0},
        {"premise": "a", "hypothesis": "b", "label": "contradictory"},
    ]
    size = survey(experiment([*rows(), *bad], cloze={"corpus": "embedded:poquad_pl", "pairs_per_document": 1}))
    assert (size.rows_in, size.rows, size.sentences, size.triplets, size.cloze_pairs) == (32, 30, 40, 10, 987)
    assert size.set_aside == {"empty premise": 1, "unknown label 'contradictory'": 1}
    assert size.labels == {"entailment": 11, "contradiction": 10, "neutral": 10, "contradictory": 1}
    assert size.premises[0] == "A man walks dog 0."


def test_both_sides_make_twice_the_triplets_and_negatives_may_be_missing(experiment):
    assert survey(experiment(translate={}, triplets={"side": "both"})).triplets == 20
    pairs = rows(labels=("entailment",))
    assert survey(experiment(pairs)).triplets == 0
    assert survey(experiment(pairs, triplets={"require_negative": False})).triplets == 10


def test_what_was_read_before_is_counted_without_reading_it_again(experiment, tmp_path):
    made = experiment()
    pipeline.run(made, ["nli"])
    before = survey(made)
    assert before.labels and before == survey(made.override({"train.epochs": 1}))
    (tmp_path / "pairs.jsonl").unlink()
    with pytest.raises(DataError, match="no such file"):
        survey(made)


def test_files_that_are_very_large_are_not_counted_but_have_their_columns(experiment, monkeypatch):
    monkeypatch.setattr(survey_module, "MOST_BYTES", 0)
    assert pipeline.preflight(experiment()).rows is None
    with pytest.raises(DataError, match=r"pairs\.jsonl:1: no column 'label'; found premise, hypothesis"):
        pipeline.preflight(experiment([{"premise": "a", "hypothesis": "b"}]))


def small(tmp_path, queries):
    """A BEIR folder with so many queries."""
    folder = tmp_path / "small"
    (folder / "qrels").mkdir(parents=True)
    write_file(folder / "corpus.jsonl", [{"_id": "d", "text": "a"}])
    write_file(folder / "queries.jsonl", [{"_id": f"q{i}", "text": "a"} for i in range(queries)])
    lines = ["query-id\tcorpus-id\tscore", *(f"q{i}\td\t1" for i in range(queries))]
    (folder / "qrels" / "test.tsv").write_text("\n".join(lines) + "\n")
    return {"sets": [{"name": "small", "kind": "retrieval", "path": str(folder)}]}


REFUSED = {
    "no label is known": (
        {"pairs": rows(labels=("ENTAILMENT", "CONTRADICTION"))},
        (DataError, r"no usable pair in 20 rows: labels are ENTAILMENT \(10\), CONTRADICTION \(10\)"),
    ),
    "no pair is contradicted": (
        {"pairs": rows(labels=("entailment", "neutral"))},
        (
            DataError,
            "no premise of 20 pairs has .* labels are entailment (10), neutral (10); nli.labels takes".replace(
                "(10)", r"\(10\)"
            ),
        ),
    ),
    "fewer triplets than a batch": (
        {"train": {"global_batch_size": 512, "num_workers": 1}},
        (DataError, "train: 10 triplets are fewer than train.global_batch_size 512"),
    ),
    "more workers than CPUs": (
        {"train": {"global_batch_size": 64, "num_workers": 64}, "pairs": rows(100)},
        (ResourceError, "train.num_workers 64: this machine has"),
    ),
    "a language that the translator does not know": (
        {"translate": {"target_language": "cs"}},  # of which its tokenizer has the token
        (ConfigError, "translate.target_language: embedded does not know 'cs'; it knows en, pl"),
    ),
    "a language that cannot be recognised": (
        {"translate": {"model": "org/name", "target_language": "my"}, "triplets": {"filter": {"language": True}}},
        (ConfigError, "triplets.filter.language: cannot recognise my"),
    ),
    "every contradiction is entailed too": (
        {"pairs": [{**row, "hypothesis": row["hypothesis"].split()[-1]} for row in rows(10, LABELS[:2])]},
        (DataError, "has an entailed hypothesis and a contradicted one that is another"),
    ),
    "contradictions of another name": (
        {"pairs": [{**row, "label": row["label"].replace("diction", "dictory")} for row in rows(10, LABELS[:2])]},
        (DataError, r"labels are entailment \(10\), contradictory \(10\); say what others mean in nli.label_names"),
    ),
    "no hard negative where they alone count": (
        {"pairs": rows(10, LABELS[:1]), "triplets": {"require_negative": False}}
        | {"train": {**TRAIN, "mode": "hard_negatives_only"}},
        (DataError, "train: 0 triplets are fewer than train.global_batch_size 4"),
    ),
    "a data set without the columns": ({"nli": "dataset"}, (DataError, "set:1: no column 'premise'; found sentence1")),
    "no name of a data set": (
        {"nli": {"dataset": "./nowhere"}},
        (DataError, r"nli.dataset './nowhere': no such folder; expected a hub data set as org/name"),
    ),
    "a storage that is a file": (
        {"train": {**TRAIN, "storage": __file__}},
        (ArtifactError, "a file stands where a folder is needed; choose another train.storage"),
    ),
    "an encoder that is none": (
        {"train": {**TRAIN, "base_model": str(EMBEDDED / "translator")}},
        (ModelError, "expected an encoder"),
    ),
    "a translator that is none": (
        {"translate": {"model": str(EMBEDDED / "comet")}},
        (ModelError, r"no config\.json there"),
    ),
    "a corpus without pairs": (
        {"cloze": "short"},
        (DataError, "cloze: none of 1 documents"),
    ),
    "an encoder that cannot run in int8": (
        {"index": {"corpus": "embedded:poquad_pl", "compute_type": "int8"}, "kind": "electra"},
        (ModelError, "index.compute_type: a electra cannot run in int8, bert, .* can"),
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_run_would_refuse_is_refused_before_any_work(experiment, make_model, tmp_path, case):
    changes, (kind, message) = REFUSED[case]
    changes = dict(changes)
    if "kind" in changes:
        shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
        changes["train"] = {**TRAIN, "base_model": str(make_model(changes.pop("kind"), embedding_size=32, **shape))}
    if changes.get("nli") == "dataset":
        (tmp_path / "set").mkdir()
        write_file(tmp_path / "set" / "train.jsonl", [{"sentence1": "a", "sentence2": "b", "label": "neutral"}])
        changes["nli"] = {"dataset": str(tmp_path / "set")}
    if changes.get("cloze") == "short":
        changes["cloze"] = {"corpus": str(write_file(tmp_path / "corpus.jsonl", [{"text": "One. Two."}]))}
    made = experiment(**changes)
    for work in (pipeline.preflight, pipeline.run):
        with pytest.raises(kind, match=message) as caught:
            work(made)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("queries", [1, 3])
def test_a_set_too_small_for_a_dev_part(experiment, tmp_path, queries):
    made = experiment(evaluate=small(tmp_path, queries), train={**TRAIN, "dev": "small"})
    with pytest.raises(DataError, match=r"train\.dev 'small': 0 queries in its (dev|test) part"):
        pipeline.preflight(made)
    pipeline.preflight(made.override({"train.dev": None}))


def test_a_folder_where_nobody_may_write(experiment, tmp_path):
    (tmp_path / "runs").write_text("")
    with pytest.raises(ArtifactError, match="a file stands where a folder is needed; choose another output_dir"):
        pipeline.preflight(experiment())


def test_a_folder_that_only_seems_to_be_writable(experiment):
    with pytest.raises(ArtifactError, match="/proc: no permission to write here; choose another output_dir"):
        pipeline.preflight(experiment().override({"output_dir": "/proc/runs"}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train.global_batch_size": 512}, "train: 10 triplets are fewer than train.global_batch_size 512"),
        ({"evaluate.sets": [{"name": "dev", "kind": "sts", "path": "nothing.tsv"}]}, "nothing.tsv: no such file"),
    ],
)
def test_a_sweep_is_refused_what_its_trials_would_be(experiment, tmp_path, changes, message):
    sets = {"sets": [{"name": "dev", "kind": "sts", "path": "embedded:stsb_pl"}]}
    space = {"space": {"train.learning_rate": {"choice": [1e-5, 3e-5]}}, "metric": "spearman"}
    made = experiment(evaluate=sets, train={**TRAIN, "dev": "dev"}, tune=space).override(changes)
    with pytest.raises(DataError, match=message):
        pipeline.run_tune(made)
    assert not (tmp_path / "runs").exists()


def test_a_stage_that_is_done_is_not_checked_again(experiment, tmp_path):
    made = experiment()
    pipeline.run(made, ["nli", "triplets"])
    shutil.rmtree(tmp_path / "runs" / "a" / "triplets")
    pipeline.preflight(made)
    manifest = json.loads((tmp_path / "runs" / "a" / "nli" / "manifest.json").read_text())
    assert manifest["labels"] == dict.fromkeys(LABELS, 10) and manifest["set_aside"] == {}
