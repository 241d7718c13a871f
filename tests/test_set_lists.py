"""Ready lists of evaluation sets: each entry is one, and those that mteb knows are as mteb has them."""

import pytest

from nlift import set_lists
from nlift.config import Experiment, overridden
from nlift.settings import EvaluateConfig, EvaluationSet

EXPERIMENT = """name: x
nli: {path: embedded}
evaluate:
  lists: [sts, senteval]
  sets:
    - {name: mine, kind: sts, path: mine.tsv}
"""


def entries():
    return [
        (name, EvaluationSet.model_validate(entry)) for name in set_lists.NAMES for entry in set_lists.read_list(name)
    ]


def test_every_list_is_there_and_no_other():
    assert {path.stem for path in set_lists.FOLDER.iterdir()} == set(set_lists.NAMES)


@pytest.mark.parametrize("name", set_lists.NAMES)
def test_every_entry_is_a_set_of_the_hub_with_a_name_of_its_own(name):
    sets = EvaluateConfig(sets=set_lists.read_list(name)).sets
    assert len(sets) >= 7 and all(config.dataset and config.split == "test" for config in sets)
    assert all((config.kind == "sts") == (config.train_split is None) for config in sets)


def test_sets_that_mteb_knows_are_as_it_has_them():
    import mteb

    kinds = {"sts": "STS", "classification": "Classification"}
    tasks = mteb.get_tasks(task_types=list(kinds.values()), exclude_superseded=False)
    known = {(*task.metadata.dataset.values(),): task for task in tasks}
    listed = [config for _, config in entries() if config.dataset.startswith(("mteb/", "PL-MTEB/"))]
    assert len(listed) == 19
    for config in listed:
        task = known[config.dataset, config.revision]
        assert task.metadata.type == kinds[config.kind] and config.split in task.metadata.eval_splits
        assert config.subset is None or config.subset in task.metadata.hf_subsets


def test_the_polish_benchmark_is_there_whole_but_for_kinds_that_have_no_such_set():
    import mteb

    tasks = mteb.get_benchmark("MTEB(pol, v1)").tasks
    expected = {task.metadata.name: task for task in tasks if task.metadata.type in ("STS", "Classification")}
    listed = {config.name: config for name, config in entries() if name == "mteb_pol"}
    assert listed.keys() == expected.keys()
    for name, config in listed.items():
        dataset = expected[name].metadata.dataset
        assert (config.dataset, config.revision) == (dataset["path"], dataset["revision"])


def test_an_experiment_has_the_sets_of_its_lists_behind_its_own(load):
    experiment = load(EXPERIMENT)
    names = [config.name for config in experiment.evaluate.sets]
    assert names[:2] == ["mine", "STS12"] and names[-1] == "SICK-E" and len(names) == len(set(names))
    shared = {config.name for name, config in entries() if name == "sts"} & set(names)
    assert {"STS-B", "SICK-R"} < shared  # both lists have them, alike
    assert experiment.evaluate.lists == []


def test_lists_may_be_given_to_an_experiment_that_was_read(load):
    whole = load(EXPERIMENT)
    assert whole.override({"seed": 2}).evaluate == whole.evaluate
    polish = overridden(whole, ["evaluate.lists=[klej]"]).evaluate.sets
    assert [config.name for config in polish[-9:]] == [entry["name"] for entry in set_lists.read_list("klej")]
    assert len(polish) == len(whole.evaluate.sets) + 9
    assert load(EXPERIMENT, "evaluate.lists=[]").evaluate.sets == whole.evaluate.sets[:1]
    made = Experiment(name="x", nli={"path": "embedded"}, evaluate=EvaluateConfig(lists=["klej", "klej"]))
    assert made.evaluate.sets == polish[-9:]


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        (
            "[sts, kelj]",
            "x.yaml:4: evaluate.lists.1: found 'kelj', expected: input should be 'klej', 'senteval', 'sts'",
        ),
        ("klej", "x.yaml:4: evaluate.lists: found 'klej', expected: a list, as ['klej']"),
        ("[[klej]]", "x.yaml:4: evaluate.lists.0: found ['klej'], expected: input should be 'klej'"),
    ],
)
def test_a_list_that_there_is_not(fails, lists, message):
    assert fails(EXPERIMENT.replace("[sts, senteval]", lists)).startswith(message)


def test_a_set_of_a_list_and_of_ones_own_may_not_have_one_name(fails):
    message = fails(EXPERIMENT.replace("name: mine", "name: STS-B"))
    assert "two sets are named 'STS-B'" in message
