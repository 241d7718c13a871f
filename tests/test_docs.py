"""The pages: every command is one that its program takes, every setting is one, every link leads somewhere.

What needs AWS, Kubernetes, the hub or a GPU is parsed. test_docs_run.py runs what can run here.
"""

import ast
import importlib.util
import re
import shlex
import subprocess
from pathlib import Path

import click
import pages
import pytest
import typer
import yaml
from test_cli import COMMANDS

from nlift.cli import app
from nlift.config import Experiment, load_experiment
from nlift.models import comet, translator
from nlift.study_config import load_study, runs_of

ROOT = pages.ROOT
USAGE = (click.UsageError, typer.BadParameter.__base__)  # Ray's, and that of the click which typer brings
SECTIONS = set(Experiment.model_fields)
CHECKED_BY_SHELL = {".", "aws", "chmod", "cp", "curl", "docker", "export", "hf", "helm", "huggingface-cli", "kubectl"}
CHECKED_BY_SHELL |= {"cd", "mkdir", "rsync", "sed", "tensorboard"}
IN_THE_CHECKOUT = re.compile(
    r"((?:\.\./)*(?:jobs|docs|benchmarks|tests|platform|serve)/[\w./*-]+|[\w-]+\.(?:txt|toml))"
)


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A folder with the checkout's files and a reader's my.yaml, whose sets have every name that pages speak of."""
    for path in ROOT.iterdir():
        if not path.name.startswith(".") and path.name != "runs":
            (tmp_path / path.name).symlink_to(path)
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(readers_experiment()))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def readers_experiment(**sections):
    """The demo's experiment under another name; sections are replaced key by key, evaluation sets by their names."""
    raw = yaml.safe_load((ROOT / "jobs" / "experiments" / "demo.yaml").read_text())
    raw |= {"name": "my", "mine": {"encoder": "embedded"}}
    loss, finds = (sections.get(section, {}).get(key) for section, key in (("train", "loss"), ("mine", "finds")))
    if loss == "search_distillation" or finds == "rankings":  # neither goes without the other
        raw["mine"] |= {"corpus": "embedded:poquad_pl", "finds": "rankings"}
        raw["train"]["loss"] = "search_distillation"
    if loss == "translation_distillation":
        raw["train"]["teacher"] = "embedded"
    if {"path", "dataset"} & set(sections.get("nli", ())):
        del raw["nli"]["path"]
    kinds = {"mine": "retrieval", "my_set": "retrieval", "other_set": "retrieval", "sts": "sts"}
    data = {"retrieval": "embedded:osm_places_pl", "sts": "embedded:stsb_pl"}
    sets = [
        *raw["evaluate"]["sets"],
        *({"name": name, "kind": kind, "path": data[kind]} for name, kind in kinds.items()),
    ]
    own = (sections.get("evaluate") or {}).get("sets", [])
    for key, value in sections.items():
        raw[key] = {**(raw.get(key) or {}), **value} if isinstance(value, dict) else value
    raw["evaluate"]["sets"] = [*(row for row in sets if row["name"] not in {row["name"] for row in own}), *own]
    return raw


def test_the_pages_have_commands_settings_and_programs():
    assert len(pages.commands()) > 80 and len(pages.blocks("yaml")) > 20 and len(pages.blocks("python")) > 5
    kinds = {block.kind for name in pages.NAMES for block in pages.all_blocks(name)}
    assert kinds <= {"", "text", "yaml", "python"}, "a block without a name is for the shell; call others text"


@pytest.mark.parametrize("block", pages.blocks(""), ids=lambda block: f"{block.page}:{block.line}")
def test_a_block_is_valid_shell(block):
    checked = subprocess.run(["bash", "-n", "-c", block.text], capture_output=True, text=True)
    assert checked.returncode == 0 and not checked.stderr, checked.stderr


@pytest.mark.parametrize("command", pages.commands(), ids=str)
def test_a_command_is_one_that_its_program_takes(command, checkout):
    check(command.words)


@pytest.mark.parametrize("name", pages.NAMES)
def test_commands_in_the_text_are_ones_that_nlift_takes(name, checkout):
    for line, text in pages.spans(name):
        for words in pages.simple_commands(text) if re.match(r"(NLIFT_\w+=\S+ )?(nlift|ray|make) \S", text) else []:
            try:
                check(words)
            except USAGE as error:  # `nlift run --only score` is an abbreviation
                if type(error).__name__ != "MissingParameter":
                    pytest.fail(f"{name}:{line}: {text}: {error.format_message()}")


def check(words):
    """Whether a program takes its arguments: nlift and Ray say so themselves."""
    program, arguments = words[0].rpartition("/")[2] or words[0], list(words[1:])
    for word in words:
        for path in IN_THE_CHECKOUT.findall(word) if "://" not in word else []:
            assert list(ROOT.glob(path)), f"{path} is not in the checkout"
    if program in CHECKS:
        CHECKS[program](arguments)
    else:
        assert program in CHECKED_BY_SHELL, f"{program}: a program that tests do not know"
    if program == "docker" and "run" in arguments:
        image = next(place for place, word in enumerate(arguments) if word.startswith("registry.example.com/"))
        if arguments[image + 1 :]:
            check(arguments[image + 1 :])


def check_nlift(arguments):
    """By nlift's own parser; then the file is read with what `--set` says of it."""
    name, *rest = arguments
    if name.startswith("--"):  # looked up alone: --install-completion would do so
        assert name in {"--help", *(option for known in click_group().params for option in known.opts)}
        return None
    if pages.PLACEHOLDER.fullmatch(name):
        return None
    values = parse(COMMANDS[name], rest)
    file, overrides = values.get("experiment") or values.get("path"), values.get("overrides") or []
    if file is None or not str(file).endswith(".yaml") or pages.PLACEHOLDER.fullmatch(str(file)):
        return None
    path = Path(file)
    assert path.is_file(), f"{file}: neither in the checkout nor my.yaml"
    if "experiment" in yaml.safe_load(path.read_text()):
        return runs_of(load_study(path), overrides)
    return load_experiment(path, overrides)


def click_group():
    return typer.main.get_command(app)


def parse(command, arguments):
    """What click makes of a command's arguments. Raises UsageError for those that it does not take."""
    try:
        return command.make_context(command.name, arguments).params
    except (click.exceptions.Exit, typer.Exit):  # --help, --version
        return {}


def check_ray(arguments):
    """By Ray's own parser, down to the command of a group; what a job runs is checked as well."""
    from ray.scripts.scripts import cli

    command, own, entrypoint = cli, list(arguments), []
    if "--" in own:
        own, entrypoint = own[: own.index("--")], own[own.index("--") + 1 :]
    while isinstance(command, click.Group):
        name, *own = own
        assert name in command.commands, f"ray {name}: no such command"
        command = command.commands[name]
    values = parse(command, [*own, *(["--", *entrypoint] if entrypoint else [])])
    if command.name == "exec":
        assert not check(shlex.split(values["cmd"]))
    if entrypoint:
        check(entrypoint)


SCRIPTS = {"run_pipeline.py": "run", "run_tune.py": "tune", "run_study.py": "study"}


def check_python(arguments):
    """A script of jobs/ as the command that it is; a module that is there; a program that compiles."""
    option, *rest = arguments
    if option == "-c":
        return ast.parse(rest[0])
    if option == "-m":
        assert importlib.util.find_spec(rest[0]), rest[0]
        return None
    script = ROOT / option
    assert script.is_file(), option
    return check_nlift([SCRIPTS[script.name], *rest]) if script.name in SCRIPTS else None


def check_pip(arguments):
    """Versions are the pinned ones, extras those that nlift has."""
    pinned = dict(re.findall(r"^(\S+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M))
    for package, _, version in re.findall(r"(?<![\w-])([\w-]+)(\[\w+\])?==([\w.]+)", " ".join(arguments)):
        assert pinned[package] == version
    import tomllib

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    wanted = re.findall(r"(?:^|[ /])(?:\.|nlift\S*|dist/nlift\S*)\[([\w,]+)\]", " ".join(arguments))
    assert {extra for names in wanted for extra in names.split(",")} <= set(extras)


def check_make(arguments):
    """Targets that the Makefile has."""
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
    assert {word for word in arguments if "=" not in word} <= set(targets)


def check_git(arguments):
    """Of a clone, a status and what comes of them nothing can be wrong."""
    assert arguments[0] in {"clone", "status", "clean", "tag", "push"}


CHECKS = {"nlift": check_nlift, "ray": check_ray, "python": check_python, "python3": check_python, "pip": check_pip}
CHECKS |= {"make": check_make, "git": check_git, "pre-commit": lambda arguments: None}


@pytest.mark.parametrize(
    "line",
    [
        "nlift run my.yaml --olny train",
        "nlift rnu my.yaml",
        "nlift run my.yaml --set train.learnig_rate=1",
        "nlift run jobs/experiments/gone.yaml",
        "ray start --haed",
        "ray jobs submit -- python jobs/run_pipeline.py jobs/experiments/demo.yaml",
        "ray job submit --working-dir . -- python jobs/run_pipeline.py jobs/experiments/demo.yaml --ste a=b",
        "ray job submit -- python -c 'import'",
        "pip install 'ray[default]==2.50.0'",
        "pip install '.[cup]'",
        "make demos",
        "kubectl apply -f docs/deploy/gone.yaml",
        "docker run registry.example.com/nlift:0.1.0 nlift runs x",
        "frobnicate",
    ],
)
def test_a_mistake_would_be_seen(line, checkout):
    from nlift.errors import NliftError

    with pytest.raises((AssertionError, *USAGE, NliftError, SyntaxError, KeyError)):
        for words in pages.simple_commands(line):
            check(words)


def fragments():
    """Settings: what blocks of YAML hold, and what stands in backticks as `section: value` or `section.key: value`."""
    for block in pages.blocks("yaml"):
        yield pytest.param(yaml.safe_load(block.text), id=f"{block.page}:{block.line}")
    for name in pages.NAMES:
        of_line = {}  # `translate: null`, `score: null` belong together
        for line, text in pages.spans(name):
            if re.match(r"(\w+)(\.\w+)*: ", text) and re.match(r"\w+", text)[0] in SECTIONS:
                of_line.setdefault(line, {}).update(nested(yaml.safe_load(text)))
        yield from (pytest.param(fragment, id=f"{name}:{line}") for line, fragment in of_line.items())


def nested(mapping):
    """`{train.loss: x}` as `{train: {loss: x}}`."""
    ((key, value),) = mapping.items()
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


@pytest.mark.parametrize("fragment", list(fragments()))
def test_settings_of_the_pages_are_settings(fragment, checkout):
    (checkout / "fragment.yaml").write_text(yaml.safe_dump(fragment))
    if "cells" in fragment:
        assert runs_of(load_study(checkout / "fragment.yaml"), [])
    elif set(fragment) & SECTIONS:
        (checkout / "fragment.yaml").write_text(yaml.safe_dump(readers_experiment(**fragment)))
        assert load_experiment(checkout / "fragment.yaml")
    else:  # test_cluster_yaml.py and test_deploy.py hold these against Ray's and KubeRay's schemas
        assert set(fragment) <= {"provider", "auth", "min_workers", "max_workers", "gcsFaultToleranceOptions"}


@pytest.mark.parametrize("name", pages.NAMES)
def test_keys_and_options_in_the_text_are_there(name):
    options = {option for command in COMMANDS.values() for parameter in command.params for option in parameter.opts}
    others = {"--help", "--version", "--install-completion", "--device", "--build-arg", "--extra-index-url"}
    for line, text in pages.spans(name):
        key = re.fullmatch(r"([a-z_]+)((?:\.[a-z_]+)+)", text)
        if key and key[1] in SECTIONS and key[2] not in (".yaml", ".py", ".user_errors"):
            assert is_key(text), f"{name}:{line}: no setting {text}"
        if re.match(r"--[a-z]", text):
            assert re.match(r"--[a-z-]+", text)[0] in options | others, f"{name}:{line}: no option {text}"


def is_key(dotted):
    """Whether a section has such a key, however deep."""
    from nlift.settings import Section, section_of

    section = Experiment
    for part in dotted.split("."):
        if section is None or part not in section.model_fields:
            return False
        section = section_of(section.model_fields[part].annotation)
        assert section is None or issubclass(section, Section)
    return True


@pytest.mark.parametrize("block", pages.blocks("python"), ids=lambda block: f"{block.page}:{block.line}")
def test_a_program_compiles(block):
    compile(block.text, block.page, "exec")


def test_the_first_recipe_takes_over_the_demos_translations_and_scores(checkout):
    (checkout / "first.yaml").write_text(pages.blocks("yaml", ["docs/cookbook.md"])[0].text)
    first, demo = (load_experiment(path) for path in ("first.yaml", "jobs/experiments/demo.yaml"))
    assert first.nli == demo.nli
    assert translator.identity(first.translate) == translator.identity(demo.translate)
    assert comet.identity(first.score) == comet.identity(demo.score)
