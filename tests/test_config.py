"""Experiments: every mistake is one line with file, line, key and what to write instead."""

from pathlib import Path

import pytest

from nlift.config import Experiment, load_experiment
from nlift.errors import ConfigError
from nlift.study_config import load_study, runs_of

ROOT = Path(__file__).parents[1]
SHIPPED = sorted((ROOT / "jobs" / "experiments").rglob("*.yaml"))
STUDIES = [path for path in SHIPPED if "cells:" in path.read_text(encoding="utf-8")]
EXPERIMENTS = [path for path in SHIPPED if path not in STUDIES]
BASE = """\
name: tiny
nli:
  path: pairs.tsv
train:
  learning_rate: 3e-5
  dev: places
evaluate:
  sets:
    - {name: places, kind: retrieval, path: folder}
tune:
  space:
    train.temperature: {choice: [0.03, 0.05]}
"""


def swap(old, new):
    assert old in BASE
    return BASE.replace(old, new)


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_the_experiments_that_ship_are_valid(path):
    assert load_experiment(path).name


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_the_studies_that_ship_are_valid(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    study = load_study(path)
    planned = runs_of(study, [])
    assert study.name == path.stem and study.question and len(planned) == len(study.seeds) * len(study.variants) <= 60
    assert all(run.experiment.train.base_share == 0 for run in planned)


def test_a_study_and_an_experiment_are_told_apart():
    with pytest.raises(ConfigError, match=rf"{STUDIES[0]}:1: a study, .* `nlift study {STUDIES[0]}`"):
        load_experiment(STUDIES[0])
    with pytest.raises(ConfigError, match=rf"{EXPERIMENTS[0]}:1: an experiment, .* `nlift run {EXPERIMENTS[0]}`"):
        load_study(EXPERIMENTS[0])


def test_defaults_and_values(load):
    experiment = load(BASE)
    assert (experiment.train.learning_rate, experiment.train.epochs) == (3e-5, 3)
    assert experiment.folder == Path.cwd() / "runs" / "tiny"


MISTAKES = {
    "unknown key": (
        swap("learning_rate:", "learnig_rate:"),
        "x.yaml:5: train.learnig_rate: unknown key; did you mean learning_rate?",
    ),
    "unknown section": (BASE + "trian: {}\n", "x.yaml:13: trian: unknown key; did you mean train?"),
    "unknown key in a list": (
        swap("kind: retrieval", "knid: retrieval, kind: sts"),
        "x.yaml:9: evaluate.sets.0.knid: unknown key; did you mean kind?",
    ),
    "nothing like it": (BASE + "zzz: 1\n", "x.yaml:13: zzz: unknown key; known are cloze, cluster, evaluate, "),
    "unknown key in the space": (
        swap("choice: [0.03", "chioce: [0.03"),
        "x.yaml:12: tune.space.train.temperature.chioce: unknown key; did you mean choice?",
    ),
    "wrong type": (swap("3e-5", "fast"), "x.yaml:5: train.learning_rate: found 'fast', expected: "),
    "out of range": (
        swap("3e-5", "-1"),
        "x.yaml:5: train.learning_rate: found -1, expected: input should be greater than 0",
    ),
    "wrong choice": (
        swap("kind: retrieval", "kind: search"),
        "x.yaml:9: evaluate.sets.0.kind: found 'search', expected: ",
    ),
    "wrong section": (swap("nli:\n  path: pairs.tsv", "nli: 3"), "x.yaml:2: nli: found 3, expected: "),
    "missing section": ("name: tiny\n", "x.yaml:1: nli: missing"),
    "missing key": (swap("{name: places, ", "{"), "x.yaml:9: evaluate.sets.0.name: missing"),
    "name of a folder": (swap("name: tiny", "name: a/b"), "x.yaml:1: name: found 'a/b', expected: "),
    "key twice": (BASE + "name: other\n", "x.yaml:13: name: key stands twice (line 1)"),
    "key twice in a section": (
        swap("3e-5", "3e-5\n  learning_rate: 1"),
        "x.yaml:6: train.learning_rate: key stands twice",
    ),
    "key that is no text": (BASE + "7: x\n", ": 7: found 7, expected: keys should be strings"),
    "two sources": (
        swap("path: pairs.tsv", "path: a\n  dataset: b"),
        "x.yaml:2: nli: give exactly one of path and dataset",
    ),
    "no source": (swap("path: pairs.tsv", "limit: 3"), "x.yaml:2: nli: give exactly one of path and dataset"),
    "same set twice": (
        swap("folder}", "folder}\n    - {name: places, kind: sts, path: f}"),
        "x.yaml:8: evaluate.sets: two sets are named 'places'",
    ),
    "a set of translations without a translator": (
        swap(
            "kind: retrieval, path: folder}",
            "kind: retrieval, path: folder}\n    - {name: t, kind: translation, path: t.tsv}",
        )
        + "translate: null\nscore: null\n",
        "x.yaml:8: evaluate.sets: 't' is of kind translation, which needs translate; it is null",
    ),
    "a set of scores without COMET": (
        swap(
            "kind: retrieval, path: folder}",
            "kind: retrieval, path: folder}\n    - {name: q, kind: quality, path: q.tsv}",
        )
        + "score: null\n",
        "x.yaml:8: evaluate.sets: 'q' is of kind quality, which needs score; it is null",
    ),
    "space of a section that trials share": (
        swap("train.temperature:", "output_dir:"),
        "x.yaml:12: tune.space.output_dir: no key that a trial can change",
    ),
    "space of an unknown key": (
        swap("train.temperature:", "train.temprature:"),
        "x.yaml:12: tune.space.train.temprature: no key that a trial can change; did you mean train.temperature?",
    ),
    "space of an unknown nested key": (
        swap("train.temperature:", "triplets.filter.min_scor:"),
        "x.yaml:12: tune.space.triplets.filter.min_scor: no key that a trial can change; "
        "did you mean triplets.filter.min_score?",
    ),
    "a choice that the key refuses": (
        swap("[0.03, 0.05]", "[0.03, -1]"),
        "x.yaml:12: tune.space.train.temperature: train.temperature -1: train.temperature: found -1, expected: ",
    ),
    "a bound that the key refuses": (
        swap("{choice: [0.03, 0.05]}", "{uniform: [0, 1]}"),
        "x.yaml:12: tune.space.train.temperature: train.temperature 0.0: ",
    ),
    "bounds the wrong way round": (
        swap("{choice: [0.03, 0.05]}", "{uniform: [1, 0.5]}"),
        "x.yaml:12: tune.space.train.temperature: uniform has the bounds 1 and 0.5; expected the lower one first",
    ),
    "a logarithm of nothing": (
        swap("{choice: [0.03, 0.05]}", "{loguniform: [0, 0.5]}"),
        "x.yaml:12: tune.space.train.temperature: loguniform has the bound 0; expected bounds above 0",
    ),
    "values that do not go together": (
        swap("train.temperature: {choice: [0.03, 0.05]}", "train.num_workers: {choice: [2, 3]}"),
        "x.yaml:12: tune.space.train.num_workers: train.num_workers 3: train.global_batch_size must be a multiple",
    ),
    "a grid over a range": (
        swap("{choice: [0.03, 0.05]}\n", "{uniform: [0.1, 0.5]}\n  search: grid\n"),
        "x.yaml:12: tune.space.train.temperature: search: grid takes choice alone",
    ),
    "a seed twice": (BASE + "  seeds: [1, 1]\n", "x.yaml:13: tune.seeds: [1, 1] has a seed twice"),
    "a metric that the dev set lacks": (
        BASE + "  metric: spearman\n",
        "x.yaml:13: tune.metric is spearman; train.dev 'places', of kind retrieval, has ndcg@10",
    ),
    "a training metric that the dev set lacks": (
        swap("  dev: places\n", "  dev: places\n  metric: pearson\n"),
        "x.yaml:7: train.metric is pearson; train.dev 'places', of kind retrieval, has ndcg@10",
    ),
    "patience without a metric": (
        swap("  dev: places\n", "  dev: places\n  patience: 2\n"),
        "x.yaml:7: train.patience needs train.metric",
    ),
    "empty space": (
        swap("\n    train.temperature: {choice: [0.03, 0.05]}", " {}"),
        "x.yaml:11: tune.space: give at least one",
    ),
    "two kinds of search": (
        swap("0.05]}", "0.05], uniform: [0, 1]}"),
        "x.yaml:12: tune.space.train.temperature: give exactly one of choice, uniform, loguniform and randint",
    ),
    "not YAML": (swap("{name: places,", "{name: places"), "x.yaml:9: not valid YAML: "),
    "a tab": (swap("  path: pairs", "\tpath: pairs"), "x.yaml:3: not valid YAML: "),
    "a control character": (BASE + "seed: \x00\n", "x.yaml:13: not valid YAML: "),
    "a section within itself": (swap("train:", "train: &loop\n  pooling: *loop"), "x.yaml:"),
    "a list": ("- name\n", "x.yaml:1: found list, expected sections"),
    "an empty file": ("", "x.yaml:1: found NoneType, expected sections"),
    "not UTF-8": (BASE.encode() + b"# caf\xe9\n", f"x.yaml: not UTF-8 text (byte {len(BASE) + 5})"),
}


WRONG_METRIC = (
    "found 'accuracy', expected: input should be 'ndcg@10', 'recall@10', 'recall@100', 'precision@10', "
    "'mrr@10', 'map', 'spearman', 'pearson', 'uniformity', 'alignment', 'anisotropy' or 'effective_rank'"
)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_named_with_their_line(fails, mistake):
    text, wanted = MISTAKES[mistake]
    message = fails(text)
    assert message.startswith("x.yaml:") and wanted in message


@pytest.mark.parametrize(
    ("text", "overrides", "wanted"),
    [
        (BASE, ["translate=null"], "score needs translate"),
        (BASE, ["score=null", "triplets.filter.min_score=0.1"], "triplets.filter needs score"),
        (BASE, ["score=null", "triplets.filter.keep_share=0.5"], "triplets.filter needs score"),
        (BASE, ["train.dev=nowhere"], "train.dev is 'nowhere'; evaluate.sets has places"),
        (BASE, ["train.dev=null"], "tune needs train.dev"),
        (BASE, ["train.metric=accuracy"], f"--set train.metric: train.metric: {WRONG_METRIC}"),
        (BASE, ["tune.metric=accuracy"], f"--set tune.metric: tune.metric: {WRONG_METRIC}"),
        (BASE, ["train.num_workers=3"], "train.global_batch_size must be a multiple of train.num_workers"),
    ],
)
def test_sections_that_do_not_fit_together(fails, text, overrides, wanted):
    assert wanted in fails(text, *overrides)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: no such experiment file"):
        load_experiment(tmp_path / "nowhere.yaml")


def test_set_reads_values_as_yaml(load):
    sets = "evaluate.sets=[{name: places, kind: sts, path: p}]"
    changes = (
        "train.learning_rate=1e-4",
        "score=null",
        "index.corpus=c.jsonl",
        "nli.limit=5",
        sets,
        "tune.metric=spearman",
    )
    experiment = load(BASE, *changes)
    assert experiment.train.learning_rate == 1e-4 and experiment.nli.limit == 5
    assert experiment.score is None
    assert experiment.index.corpus == "c.jsonl" and experiment.index.kind == "auto"
    assert [evaluation_set.kind for evaluation_set in experiment.evaluate.sets] == ["sts"]


def test_set_reaches_keys_with_dots_of_their_own(load):
    experiment = load(
        BASE, "tune.space.train.temperature={choice: [1]}", "tune.space.train.learning_rate.uniform=[1, 2]"
    )
    assert experiment.tune.space["train.temperature"].choice == [1]
    assert experiment.tune.space["train.learning_rate"].uniform == (1, 2)
    nested = load(
        BASE, "tune.space.triplets.filter.min_score={choice: [null, 0.05]}", "tune.space.train.epochs.randint=[1, 3]"
    )
    assert nested.tune.space["triplets.filter.min_score"].choice == [None, 0.05]
    assert nested.tune.space["train.epochs"].extremes == [1, 3]


def test_set_value_may_hold_an_equals_sign(load):
    assert load(BASE, "train.query_prefix=a=b").train.query_prefix == "a=b"


@pytest.mark.parametrize(
    ("override", "wanted"),
    [
        ("train.epochs", "--set train.epochs: expected key=value"),
        ("=3", "--set =3: expected key=value"),
        ("train.epochs=[1", "--set train.epochs=[1: the value is not valid YAML"),
        ("train.epochs=many", "--set train.epochs: train.epochs: found 'many', expected: "),
        (
            "train.learnig_rate=1",
            "--set train.learnig_rate: train.learnig_rate: unknown key; did you mean learning_rate?",
        ),
        ("name.first=1", "--set name.first=1: name is no section"),
        (
            "tune.space.train.temperature={chioce: [1]}",
            "tune.space.train.temperature.chioce: unknown key; did you mean choice?",
        ),
    ],
)
def test_mistakes_after_set_are_named_as_such(fails, override, wanted):
    assert wanted in fails(BASE, override)


def test_override_validates_again(load):
    experiment = load(BASE)
    changed = experiment.override({"train.epochs": 7, "score": None})
    assert (changed.train.epochs, changed.score, experiment.train.epochs) == (7, None, 3)
    with pytest.raises(ConfigError, match=r"train\.epochs"):
        experiment.override({"train.epochs": -1})


def test_what_a_dump_says_loads_as_the_same(load):
    experiment = load(BASE)
    assert Experiment.model_validate(experiment.model_dump(mode="json")) == experiment


def test_every_setting_is_described():
    def undescribed(model):
        return [name for name, field in model.model_fields.items() if not field.description]

    sections = [Experiment, *(type(value) for value in vars(Experiment(name="a", nli={"path": "b"})).values())]
    assert [
        undescribed(section) for section in sections if hasattr(section, "model_fields") and undescribed(section)
    ] == []


NO_DEV = BASE[: BASE.index("tune:")].replace("  dev: places\n", "")
RANKINGS = "mine: {finds: rankings, encoder: e, corpus: c}\n"
CORPUS, CLOZE = "index: {corpus: c}\n", "cloze: {corpus: c}\n"
ENGLISH_ONLY = "translate: null\nscore: null\n"
TWO_SETS = ("path: folder}\n", "path: folder}\n    - {name: t, kind: translation, path: t.tsv}\n")


def trained(*lines, base=BASE):
    """A text with further lines in its section train, the first of them in line 6."""
    key = "  learning_rate: 3e-5\n"
    return base.replace(key, key + "".join(f"  {line}\n" for line in lines))


TEACHING = ("loss: translation_distillation", "teacher: e")
GUARD_MISTAKES = {
    "a guard's set that is none": (
        trained("guard: [places, nowhere]"),
        "x.yaml:6: train.guard has 'nowhere'; evaluate.sets has places",
    ),
    "a guard's set of another kind": (
        trained("guard: [t]").replace(*TWO_SETS),
        "x.yaml:6: train.guard has 't', of kind translation; expected sts or retrieval",
    ),
    "a guard's set twice": (
        trained("guard: [places, places]", base=NO_DEV),
        "x.yaml:6: train.guard has 'places' twice",
    ),
    "a guard's set that is dev": (
        trained("guard: [places]"),
        "x.yaml:6: train.guard has 'places', which is train.dev; expected further sets",
    ),
    "a guard that is no list": (
        trained("guard: places"),
        "x.yaml:6: train.guard: found 'places', expected: a list, as ['places']",
    ),
    "a whitening to be chosen where nothing is": (
        trained("whitening: auto", "base_share: 0.3") + CORPUS,
        "x.yaml:6: train.whitening: auto needs train.base_share: auto; it is 0.3",
    ),
    "a whitening to be chosen with nothing to fit it on": (
        trained("whitening: auto"),
        "x.yaml:6: train.whitening auto needs a corpus under index or cloze to fit it on",
    ),
    "a learning rate of what is frozen": (
        trained("embedding_learning_rate: 0.01", "freeze: embeddings"),
        "x.yaml:6: train.embedding_learning_rate has nothing to do where train.freeze keeps the embeddings",
    ),
    "the revision of no teacher": (
        trained("teacher_revision: main"),
        "x.yaml:6: train.teacher_revision needs train.loss: translation_distillation; it is simcse",
    ),
    "a guard with nothing to choose": (
        trained("base_share: 0.5", "guard: [places]"),
        "x.yaml:7: train.guard needs train.base_share: auto; it is 0.5",
    ),
    "a guard with nothing to choose by": (
        trained("guard: [places]", base=NO_DEV),
        "x.yaml:6: train.guard needs train.dev, or a corpus under cloze or index, to choose by",
    ),
    "a whitening with nothing to fit it on": (
        trained("whitening: 0.25"),
        "x.yaml:6: train.whitening 0.25 needs a corpus under index or cloze to fit it on",
    ),
    "a guard that a trial would leave with nothing to choose": (
        trained("guard: [t]")
        .replace("train.temperature: {choice: [0.03, 0.05]}", "train.base_share: {choice: [auto, 0.5]}")
        .replace(TWO_SETS[0], TWO_SETS[1].replace("translation", "sts")),
        "x.yaml:14: tune.space.train.base_share: train.base_share 0.5: train.guard needs train.base_share: auto",
    ),
    "rankings that nobody made": (
        trained("loss: search_distillation"),
        "x.yaml:6: train.loss search_distillation needs mine with finds: rankings, encoder and corpus",
    ),
    "negatives in the place of rankings": (
        trained("loss: search_distillation") + RANKINGS.replace("rankings", "negatives"),
        "x.yaml:6: train.loss search_distillation needs mine with finds: rankings",
    ),
    "rankings that nobody reads": (
        BASE + RANKINGS,
        "x.yaml:13: mine.finds: rankings needs train.loss: search_distillation; it is simcse",
    ),
    "rankings of nothing": (
        trained("loss: search_distillation") + RANKINGS.replace(", corpus: c", ""),
        "x.yaml:14: mine: finds: rankings needs corpus, whose passages are ranked",
    ),
    "a lesson without a teacher": (
        trained("loss: translation_distillation"),
        "x.yaml:6: train.loss translation_distillation needs train.teacher, an encoder of the sources",
    ),
    "a lesson without translations": (
        trained(*TEACHING) + ENGLISH_ONLY,
        "x.yaml:6: train.loss translation_distillation needs translate, or files under train.parallel",
    ),
    "a teacher of nobody": (
        trained("teacher: e"),
        "x.yaml:6: train.teacher needs train.loss: translation_distillation; it is simcse",
    ),
    "translations for nobody": (
        trained("loss: simcse_reference", "parallel: [a.tsv]"),
        "x.yaml:7: train.parallel needs train.loss: translation_distillation; it is simcse_reference",
    ),
}


@pytest.mark.parametrize("mistake", GUARD_MISTAKES)
def test_mistakes_of_guard_and_lessons_are_named_with_their_line(fails, mistake):
    text, wanted = GUARD_MISTAKES[mistake]
    assert fails(text).startswith(wanted)


@pytest.mark.parametrize(
    "text",
    [
        NO_DEV,  # what nobody asked for is not missed
        trained("base_share: auto"),
        trained("base_share: auto", base=NO_DEV) + CORPUS,
        trained("base_share: auto", base=NO_DEV) + CLOZE,
        trained("base_share: 0", base=NO_DEV),
        trained("guard: [places]", base=NO_DEV) + CORPUS,
        trained("guard: [places]", base=NO_DEV) + CLOZE,
        trained("whitening: 0.25") + CORPUS,
        trained("whitening: 0.25") + CLOZE,
        trained("whitening: auto", base=NO_DEV) + CORPUS,
        trained("loss: search_distillation") + RANKINGS,
        trained(*TEACHING),
        trained(*TEACHING, "parallel: [a.tsv]") + ENGLISH_ONLY,
    ],
)
def test_guard_and_lessons_that_have_what_they_need(load, text):
    assert load(text).name == "tiny"


def test_a_guard_with_too_little_to_look_at_is_an_experiment_all_the_same(load):
    assert load(NO_DEV, "train.base_share=auto").train.base_share == "auto"  # as every dump of an experiment says


def test_what_is_watched(load):
    text = trained("guard: [more]").replace(
        "path: folder}\n", "path: folder}\n    - {name: more, kind: sts, path: f}\n"
    )
    experiment = load(
        text.replace("kind: sts, path: f}\n", "kind: sts, path: f}\n    - {name: b, kind: sts, path: g}\n")
    )
    assert [config.name for config in experiment.guard_sets] == ["more"]
    assert [experiment.is_watched(name) for name in ("places", "more", "b")] == [True, True, False]
    assert experiment.dev_set.name == "places"


def test_texts_are_as_long_as_those_of_the_index(load):
    assert load(BASE).inference_length == 256
    assert load(BASE + "index: {corpus: c, max_length: 48}\n").inference_length == 48


RANGES = {
    "base_share": ("auto or a number from 0 to 1", ["half", "1.1", "-0.1", "true", "null", "[0]"]),
    "whitening": ("auto or a number from 0 to 0.5, or null", ["all", "0.6", "-0.1", "false"]),
    "device_batch_size": ("auto or a whole number of 1 or more, or null", ["many", "0", "2.5", "true"]),
    "freeze": ("embeddings or a whole number of 1 or more, or null", ["all", "auto", "0", "1.5", "true"]),
}
SAID = {"true": "True", "false": "False", "null": "None", "[0]": "[0]"}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, (_, values) in RANGES.items() for value in values])
def test_what_is_neither_the_word_nor_in_the_range_is_one_line(fails, key, value):
    expected, _ = RANGES[key]
    shown = SAID.get(value, repr(value) if value.isalpha() else value)
    assert fails(trained(f"{key}: {value}") + CORPUS) == f"x.yaml:6: train.{key}: found {shown}, expected {expected}"
