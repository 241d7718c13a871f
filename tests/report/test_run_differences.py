"""What differs between runs: settings, inputs, versions, and nothing that is the same."""

from nlift.report.run_differences import differences
from nlift.report.run_folder import RunFolder

ONE, TWO = "0" * 16, "1" * 16


def run(label, **manifests):
    return RunFolder(label, {}, {}, manifests)


def manifest(identity, commit="a" * 40, **packages):
    return {"identity": identity, "nlift": "0.1.0", "git_commit": commit, "packages": packages}


def rows(tables, title):
    return {row.cells[0]: row.cells[1:] for table in tables if table.title.startswith(title) for row in table.rows}


def test_the_same_runs():
    stage = manifest({"config": {"epochs": 1}, "inputs": [ONE]}, torch="2")
    assert differences([run("a", train=stage), run("b", train=stage)]) == []


def test_dotted_keys_of_settings():
    first, second = (
        {"config": {"filter": {"min_score": score}, "side": "both", "cap": None}, "seed": seed}
        for score, seed in ((None, 1), (0.5, 2))
    )
    tables = differences([run("a", triplets=manifest(first)), run("b", triplets=manifest(second))])
    assert rows(tables, "settings") == {"triplets.filter.min_score": ("null", "0.5"), "seed": ("1", "2")}


def test_inputs_are_files_and_models_and_no_stages():
    first, second = ({"inputs": [value], "corpus": value} for value in (ONE, TWO))
    tables = differences(
        [run("a", nli=manifest(first), cloze=manifest(first)), run("b", nli=manifest(second), cloze=manifest(second))]
    )
    assert rows(tables, "inputs") == {"nli.inputs": (ONE, TWO), "nli.corpus": (ONE, TWO), "cloze.corpus": (ONE, TWO)}
    assert rows(tables, "settings") == {}


def test_sets_by_their_names():
    first, second = (
        {"config": {"sets": [{"name": "places", "language": language}, {"name": "pairs", "language": None}]}}
        for language in ("pl", "de")
    )
    tables = differences([run("a", evaluate=manifest(first)), run("b", evaluate=manifest(second))])
    assert rows(tables, "settings") == {"evaluate.sets.places.language": ("pl", "de")}


def test_a_stage_that_one_has_not():
    stage = manifest({"config": {"top_k": 5}})
    tables = differences([run("a", mine=stage), run("b")])
    assert rows(tables, "settings") == {"mine": ("run", "not run")}


def test_versions_of_a_run_that_several_made():
    stages = {"nli": manifest({}, torch="2"), "train": manifest({}, "b" * 40, torch="3")}
    tables = differences([run("a", **stages), run("b", nli=stages["nli"], train=stages["nli"])])
    assert rows(tables, "versions") == {"commit": (f"{'a' * 10}, {'b' * 10}", "a" * 10), "torch": ("2, 3", "2")}
