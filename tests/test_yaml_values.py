"""What YAML makes of values and keys: taken as it was meant, or refused in one line that says what YAML reads."""

import re

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nlift.config import Experiment, load_experiment
from nlift.errors import ConfigError
from nlift.settings import section_of

BASE = """\
name: tiny
nli:
  path: pairs.tsv
"""
SETS = """\
train: {dev: places}
evaluate: {sets: [{name: places, kind: retrieval, path: folder}]}
"""


NO_TEXT = {
    "no": ("no", "found no, which YAML reads as false"),
    "Off": ("Off", "found Off, which YAML reads as false"),
    "yes": ("yes", "found yes, which YAML reads as true"),
    "on": ("on", "found on, which YAML reads as true"),
    "a number": ("1", "found 1, which YAML reads as a number"),
    "a fraction": ("1.50", "found 1.50, which YAML reads as a number"),
    "a number with a line": ("1_000", "found 1_000, which YAML reads as a number"),
    "a date": ("2024-01-01", "found 2024-01-01, which YAML reads as a date"),
    "a time": ("2024-01-01 10:00:00", "found 2024-01-01 10:00:00, which YAML reads as a date"),
    "NaN": (".nan", "found .nan, which YAML reads as a number"),
}


@pytest.mark.parametrize("case", NO_TEXT)
def test_a_text_that_yaml_reads_as_something_else_is_to_be_quoted(load, fails, case):
    text, wanted = NO_TEXT[case]
    message = f'translate.target_language: {wanted}; a text must be quoted: "{text}"'
    assert fails(f"{BASE}translate:\n  target_language: {text}\n") == f"x.yaml:5: {message}"
    assert fails(BASE, f"translate.target_language={text}") == f"--set translate.target_language: {message}"
    assert fails(BASE, f"translate={{target_language: {text}}}") == f"--set translate: {message}"
    quoted = load(f'{BASE}translate: {{target_language: "{text}"}}\n')
    assert quoted == load(BASE, f'translate.target_language="{text}"') and quoted.translate.target_language == text


@pytest.mark.parametrize("text", ["nan", "y", "n", "NaN", "0o17", "1e3", "5e-5", "~x", "2024-1", "12:30:x", "inf"])
def test_a_text_that_yaml_reads_as_one(load, text):
    assert load(f"{BASE}translate: {{target_language: {text}}}\n").translate.target_language == text


AMBIGUOUS = {
    "017": "found 017, which YAML reads as 15",
    "-010": "found -010, which YAML reads as -8",
    "12:30": "found 12:30, which YAML reads as 750",
    "1:30.5": "found 1:30.5, which YAML reads as 90.5",
    "190:20:30": "found 190:20:30, which YAML reads as 685230",
}


@pytest.mark.parametrize("text", AMBIGUOUS)
@pytest.mark.parametrize("key", ["nli.limit", "train.learning_rate", "nli.path", "output_dir"])
def test_a_number_that_yaml_reads_in_its_own_way(fails, text, key):
    message = fails(BASE, f"{key}={text}")
    assert message == f'--set {key}: {key}: {AMBIGUOUS[text]}; write a decimal number, or quote a text: "{text}"'


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5e-5", 5e-5),
        ("5.0e-5", 5e-5),
        ("1E-3", 1e-3),
        ("1_0.5", 10.5),
        ("'3e-5'", 3e-5),
        ("1", 1),
        ("+.5", 0.5),
        ("0", None),
    ],
)
def test_numbers_of_every_form(load, fails, text, value):
    if value is None:
        assert "greater than 0" in fails(BASE, f"train.learning_rate={text}")
    else:
        assert load(BASE, f"train.learning_rate={text}").train.learning_rate == value


@pytest.mark.parametrize(
    ("text", "value"), [("1_000", 1000), ("0x10", 16), ("0b11", 3), ("'7'", 7), ("3.0", 3), ("+5", 5)]
)
def test_whole_numbers_of_every_form(load, text, value):
    assert load(BASE, f"nli.limit={text}").nli.limit == value


@pytest.mark.parametrize("value", [".nan", ".inf", "-.inf", "1e400", "'nan'", "inf", "-1e999"])
@pytest.mark.parametrize(
    "key",
    [
        "train.learning_rate",
        "train.epochs",
        "train.temperature",
        "train.hard_negative_weight",
        "train.max_grad_norm",
        "train.weight_decay",
        "translate.length_penalty",
        "triplets.filter.min_score",
        "triplets.filter.keep_share",
    ],
)
def test_a_number_that_is_none(fails, key, value):
    assert fails(BASE, f"{key}={value}").startswith(f"--set {key}: {key}: found ")


@pytest.mark.parametrize("value", ["{choice: [0.05, .nan]}", "{uniform: [.nan, 1]}", "{uniform: [0.1, .inf]}"])
def test_a_number_that_is_none_in_a_sweep(fails, value):
    message = fails(f"{BASE}{SETS}tune: {{space: {{train.temperature: {value}}}}}\n")
    assert message.startswith("x.yaml:6: tune.space.train.temperature")


@pytest.mark.parametrize("value", ["yes", "true", "off"])
@pytest.mark.parametrize("key", ["seed", "nli.limit", "train.learning_rate", "train.num_workers", "tune.num_trials"])
def test_true_is_no_number(fails, value, key):
    tune = "tune: {space: {train.epochs: {choice: [1, 2]}}}\n"
    reads = {"yes": ", which YAML reads as true", "off": ", which YAML reads as false", "true": ""}[value]
    message = fails(BASE + SETS + tune, f"{key}={value}")
    assert message.startswith(f"--set {key}: {key}: found {value}{reads}, expected: ")


@pytest.mark.parametrize("value", ["{uniform: [off, 2]}", "{choice: [yes, 2]}"])
def test_true_is_no_number_of_a_sweep_either(fails, value):
    assert "tune.space.train.epochs" in fails(f"{BASE}{SETS}tune: {{space: {{train.epochs: {value}}}}}\n")


@pytest.mark.parametrize("text", ["true", "True", "yes", "on", "'true'", "y", "1"])
def test_true_in_every_form(load, text):
    assert load(BASE, f"train.gradient_checkpointing={text}").train.gradient_checkpointing is True


@pytest.mark.parametrize("text", ["", "~", "null", "Null"])
def test_nothing_is_null(load, fails, text):
    assert load(f"{BASE}score: {text}\n").score is None
    assert load(BASE, f"score={text}").score is None
    assert fails(BASE, f"seed={text}").startswith("--set seed: seed: found null, expected: ")
    assert fails(BASE, f"train={text}").startswith("--set train: train: found null, expected: ")


@pytest.mark.parametrize(
    "seed", ["-1", "4294967296", "99999999999999999999", "9" * 5000, f"0x{'f' * 5000}", "1e3", "1.5"]
)
def test_seeds_that_no_generator_takes(fails, seed):
    assert fails(f"{BASE}seed: {seed}\n").startswith("x.yaml:4: seed: found ")


KEYS = {
    "true": ("no: 1", "no: found a key that YAML reads as false"),
    "null": ("null: 1", "null: found a key that YAML reads as null"),
    "nothing": ("?\n  : 1", "found a key that YAML reads as null"),
    "a date": ("2024-01-01: 1", "2024-01-01: found a key that YAML reads as a date"),
    "an octal number": ("017: 1", "017: found 017, which YAML reads as 15"),
    "a list": ("[a]: 1", "found a list as a key, expected a text"),
    "a section": ("? {a: b}\n  : 1", "found a section as a key, expected a text"),
    "half an emoji": ('"\\ud83d": 1', "\\ud83d: found half of a surrogate pair"),
    "a NUL": ('"a\\0b": 1', "a\\x00b: found a NUL character"),
    "a line end": ('"a\\nb": 1', "a\\nb: unknown key"),
    "an escape": ('"a\\eb": 1', "a\\x1bb: unknown key"),
    "a tag": ("!!binary YQ==: 1", "found the tag !!binary"),
    "twice": ("seed: 1\n  'seed': 2", "seed: key stands twice (line 5)"),
    "a long one": ("x" * 900 + ": 1", "xxx..."),
}


@pytest.mark.parametrize("case", KEYS)
def test_keys_that_are_no_text(fails, case):
    text, wanted = KEYS[case]
    message = fails(f"{BASE}train:\n  {text}\n")
    assert re.match(r"x.yaml:[56]: ", message) and wanted in message


def test_a_key_that_is_a_number_is_found_in_its_section(fails):
    assert fails(f"{BASE}train:\n  7: 1\n").startswith("x.yaml:5: train.7: found 7, expected: keys should be strings")


VALUES = {
    "a tag of Python": ("!!python/object/apply:os.system [ls]", "found the tag !!python/object/apply:os.system"),
    "bytes": ("!!binary aGVsbG8=", "found the tag !!binary"),
    "a set": ("!!set {a}", "found the tag !!set"),
    "an ordered mapping": ("!!omap [a: 1]", "found the tag !!omap"),
    "a tag of its own": ("!mine 1", "found the tag !mine"),
    "no number": ("!!int x", "found x, which is no int"),
    "an empty number": ("!!int ''", 'found "", which is no int'),
    "no truth": ("!!bool maybe", "found maybe, which is no bool"),
    "no time": ("!!timestamp x", "found x, which is no timestamp"),
    "no date": ("2024-13-45", "found 2024-13-45, which is no timestamp"),
    "an equals sign": ("=", 'found =; a text must be quoted: "="'),
    "half an emoji": ('"\\ud83d"', "found half of a surrogate pair"),
    "a NUL": ('"a\\0b"', "found a NUL character"),
    "control characters": ('"a\\e[31m\\nb"', "found 'a\\x1b[31m\\nb', expected: "),
    "a long text": ("x" * 5000, "xxx..."),
    "a long list": (f"[{'1, ' * 5000}]", "..., expected: "),
    "brackets": ("[" * 30 + "]" * 30, "nested too deep"),
}


@pytest.mark.parametrize("case", VALUES)
def test_values_that_are_none(fails, case):
    value, wanted = VALUES[case]
    message = fails(f"{BASE}train:\n  epochs: {value}\n")
    assert message.startswith("x.yaml:5: train.epochs") and wanted in message
    assert fails(BASE, f"train.epochs={value}").startswith("--set train.epochs: train.epochs")


@pytest.mark.parametrize(
    "text", ["seed: " + "[" * 100_000, "seed: " + "{a: " * 5000, "- " * 5000 + "a", "a: &a [*a]", "a: &a {b: *a}"]
)
def test_a_depth_without_end(fails, text):
    assert fails(f"{BASE}{text}\n").startswith("x.yaml:")


def test_aliases_that_multiply(fails):
    lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    lines += [
        f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]"
        for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    ]
    assert "more than 20,000 keys and values" in fails(BASE + "\n".join(lines) + "\n")


def test_merged_and_aliased_sections_are_read_and_changed_apart(load, fails):
    text = BASE + SETS + "tune:\n  space:\n    train.epochs: &s {uniform: [1, 2]}\n    train.temperature: *s\n"
    changed = load(text, "tune.space.train.epochs.uniform=[1, 3]").tune.space
    assert changed["train.epochs"].bounds == (1, 3) and changed["train.temperature"].bounds == (1, 2)
    merged = "triplets: &t\n  filter: {language: true}\n"
    assert load(f"{BASE}{merged}mine:\n  encoder: embedded\n  <<: {{margin: 0.5}}\n").mine.margin == 0.5
    assert fails(f"{BASE}mine:\n  encoder: embedded\n  <<:\n    margin: no\n").startswith(
        "x.yaml:7: mine.margin: found no"
    )
    assert fails(f"{BASE}mine:\n  encoder: x\n  <<: 3\n").startswith("x.yaml:6: not valid YAML: ")


@pytest.mark.parametrize(
    "text", ["\ufeff" + BASE, BASE.replace("\n", "\r\n"), BASE.replace("\n", "\r"), f"---\n{BASE}...\n"]
)
def test_files_of_other_editors(load, text):
    assert load(text).name == "tiny"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (f"{BASE}---\nname: other\n", "x.yaml:4: not valid YAML: expected a single document"),
        ("# nothing\n", "x.yaml:1: found NoneType, expected sections"),
        (BASE.encode("utf-16"), "x.yaml: not UTF-8 text (byte 0)"),
        (f"{BASE}a: {{b: c\n", "x.yaml:5: not valid YAML: while parsing a flow mapping, expected ',' or '}'"),
        (f"{BASE}a: \x1b[31m\n", "x.yaml:4: not valid YAML: "),
        (f"{BASE}\ta: 1\n", "x.yaml:4: not valid YAML: "),
        (f"{BASE}a: @x\n", "x.yaml:4: not valid YAML: "),
        (f"{BASE}a: *x\n", "x.yaml:4: not valid YAML: "),
        (f"{BASE}%YAML 9.9\n", "x.yaml:"),
    ],
)
def test_what_is_no_experiment(fails, text, wanted):
    assert fails(text).startswith(wanted)


def test_a_name_of_a_file_that_cannot_be():
    for name in ("x" * 5000, "x" * 300, "a\0b", "a\nb.yaml", "\udcff"):
        with pytest.raises(ConfigError) as caught:
            load_experiment(name)
        assert str(caught.value).isprintable() and "no such experiment file" in str(caught.value)


def test_a_name_with_a_line_end_in_a_rule(fails):
    sets = 'evaluate: {sets: [{name: "a\\nb", kind: sts, path: x}]}\n'
    assert fails(BASE + sets).startswith("x.yaml:4: evaluate.sets: a set is named 'a\\nb'; expected")


def test_the_key_of_a_mistake_is_one_that_can_be_written(fails):
    assert fails(f"{BASE}train: {{mlp_head: maybe}}\n").startswith("x.yaml:4: train.mlp_head: found 'maybe'")


@pytest.mark.parametrize(
    "override",
    ["a\nb=1", "seed\x1b=1", "\udcff=1", "seed=\udcff", "seed=\x00", f"{'x' * 5000}=1", "..=1", "seed=\n\n:"],
)
def test_odd_overrides(fails, override):
    assert fails(BASE, override).startswith("--set ")


def keys_of(section, path=()):
    """Every key of an experiment, sections too."""
    for name, field in section.model_fields.items():
        yield (*path, name)
        inner = section_of(field.annotation)
        if inner is not None and name not in ("space", "sets"):
            yield from keys_of(inner, (*path, name))


ODD = [
    *(text for text, _ in VALUES.values()),
    *AMBIGUOUS,
    *(text for text, _ in NO_TEXT.values()),
    "~",
    "''",
    "{}",
    "[]",
]
scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.dates() | st.binary(max_size=5)
)
structures = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | scalars, inner, max_size=3),
    max_leaves=6,
)
written = st.sampled_from(ODD) | structures.map(
    lambda value: yaml.safe_dump(value, default_flow_style=True, width=10**9)
)
plain = (
    written | st.text(alphabet=st.characters(max_codepoint=0x250), max_size=12) | st.from_regex(r"[-+0-9.:_exob]{1,8}")
)
FULL = {
    "name": "tiny",
    "nli": {"path": "pairs.tsv"},
    "mine": {"encoder": "embedded"},
    "cloze": {"corpus": "c"},
    "index": {"corpus": "c"},
    "train": {"dev": "places"},
    "evaluate": {"sets": [{"name": "places", "kind": "retrieval", "path": "folder"}]},
    "tune": {"space": {"train.epochs": {"choice": [1, 2]}}},
}
SPACE = [("tune", "space", "train.epochs", kind) for kind in ("choice", "uniform", "randint")]
ANY_KEY = [*keys_of(Experiment), *SPACE, *(("evaluate", "sets", 0, name) for name in ("name", "kind", "path"))]


def with_value(key, value):
    """The text of a full experiment with something at one key."""
    content = yaml.safe_load(yaml.safe_dump(FULL))
    section = content
    for part in key[:-1]:
        section = section[part] if isinstance(section, list) else section.setdefault(part, {})
    section[key[-1]] = "HERE"
    return yaml.safe_dump(content, width=10**9).replace("HERE", value.replace("...\n", "").strip())


@settings(
    max_examples=400,
    deadline=None,
    print_blob=True,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(key=st.sampled_from(ANY_KEY), value=plain)
def test_any_value_at_any_key_is_taken_or_refused_in_one_line(tmp_path, key, value):
    path = tmp_path / "x.yaml"
    path.write_text(with_value(key, value), encoding="utf-8", errors="surrogatepass")
    try:
        assert load_experiment(path)
    except ConfigError as error:
        message = str(error)
        assert message.isprintable() and len(message) < 1200
        assert re.match(rf"{re.escape(str(path))}(:\d+: [\w. ]+|: not UTF-8)", message)


def test_keys_that_may_be_numbers(load, fails):
    assert load(f"{BASE}  label_names: {{0: neutral, 1: entailment}}\n").nli.label_names["0"] == "neutral"
    assert fails(f"{BASE}  label_names:\n    0: x\n").startswith("x.yaml:5: nli.label_names.0: found 'x', expected: ")
    assert "a key that YAML reads as false" in fails(f"{BASE}  label_names: {{no: contradiction}}\n")


def test_a_section_that_an_override_begins_is_where_it_misses_something(fails):
    assert fails(BASE, "cloze.limit=5") == "--set cloze.limit: cloze.corpus: missing"
