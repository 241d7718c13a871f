"""The names that others call, and how little `import nlift` loads."""

import subprocess
import sys
from pathlib import Path

import pytest

import nlift

ROOT = Path(__file__).parents[1]
HEAVY = {"torch", "ray", "transformers", "numpy", "pyarrow", "pydantic", "faiss", "comet", "duckdb"}


def modules_after(code):
    """Names of the modules that are loaded after some code, in a process of its own."""
    command = [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"]
    paths = f"{ROOT / 'platform'}:{ROOT / 'serve'}"
    done = subprocess.run(command, env={"PYTHONPATH": paths, "PATH": ""}, capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


METHODS = {"Encoder": ("load", "encode", "save"), "Bundle": ("load", "search"), "Experiment": ("override",)}


@pytest.mark.parametrize("name", nlift.__all__)
def test_public_names_are_there_and_documented(name):
    value = getattr(nlift, name)
    assert value.__name__ == name
    assert name in dir(nlift)
    for documented in [getattr(value, method) for method in METHODS.get(name, ())] or [value]:
        assert "Args:" in documented.__doc__
        assert documented.__name__ == "save" or "Returns:" in documented.__doc__


def test_an_unknown_name():
    with pytest.raises(AttributeError, match="no attribute 'encoder_of_everything'"):
        nlift.encoder_of_everything  # noqa: B018 - the access is what raises


def test_import_loads_nothing_heavy():
    assert not HEAVY & modules_after("import nlift")


def test_the_command_line_loads_neither_models_nor_ray():
    loaded = modules_after("import nlift.cli")
    assert not (HEAVY - {"pydantic"}) & loaded
    others = [name for name in loaded if name.startswith("nlift.") and not name.startswith("nlift.cli.")]
    assert not [name for name in others if name.count(".") > 1]


def test_the_search_server_loads_no_translator_and_no_stage():
    loaded = modules_after("import nlift_serve.replica")
    rooms = {name.split(".")[1] for name in loaded if name.startswith("nlift.")}
    assert not {"pipeline", "training", "evaluation", "tuning", "report", "config"} & rooms
    assert not {"nlift.models.translator", "nlift.models.translation_engines", "nlift.models.comet", "comet"} & loaded


def test_a_worker_loads_what_it_runs():
    assert not {"sklearn", "scipy"} & modules_after("import nlift.models.encoder, nlift.models.translator")
    assert not {"torch", "transformers", "duckdb"} & modules_after("import nlift.training.loop_settings")


def test_types_are_marked():
    assert (ROOT / "platform" / "nlift" / "py.typed").is_file()
