"""Imports run downwards only, in no circle, and only the upper rooms know an experiment."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BASE = {"cluster", "machines", "progress", "settings", "errors", "visible", "uris"}
# what each room may import beside itself and the base
BELOW = {
    "cli": {
        "doctor",
        "report",
        "cost",
        "pipeline",
        "search",
        "data",
        "config",
        "study_config",
        "submit",
        "yaml_keys",
        "nlift_serve",
    },
    "doctor": {"report", "pipeline", "search", "data", "config"},
    "report": {
        "cost",
        "pipeline",
        "training",
        "evaluation",
        "search",
        "models",
        "tuning",
        "data",
        "config",
        "study_config",
    },
    "cost": {"pipeline", "training", "models", "data", "config", "yaml_keys"},
    "pipeline": {"training", "evaluation", "search", "models", "tuning", "data", "config", "study_config"},
    "training": {"evaluation", "search", "models", "data"},
    "evaluation": {"search", "models", "data"},
    "search": {"models", "data"},
    "models": {"data"},
    "tuning": {"data"},
    "nlift_serve": {"search", "models", "data"},
    "data": set(),
    "config": {"yaml_keys", "rules", "set_lists"},
    "study_config": {"config", "yaml_keys"},
    "rules": set(),
    "set_lists": set(),
    "yaml_keys": set(),
    "submit": set(),
    **dict.fromkeys(BASE, BASE),
}
FILES = {
    ".".join(path.relative_to(root).with_suffix("").parts): path
    for root in (ROOT / "platform", ROOT / "serve")
    for path in root.rglob("*.py")
    if "embedded" not in path.parts and path != ROOT / "platform" / "nlift" / "__init__.py"
}


def imported(module):
    """The project's modules that a module imports, inside its functions too."""
    for node in ast.walk(ast.parse(FILES[module].read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in FILES else node.module for name in names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        yield from (name for name in names if name.split(".")[0] in ("nlift", "nlift_serve"))


def room(module):
    parts = module.split(".")
    return parts[0] if parts[0] == "nlift_serve" else "".join(parts[1:2])


@pytest.mark.parametrize("module", [name for name in FILES if not name.endswith("__init__")])
def test_imports_run_downwards(module):
    allowed = {room(module), *BASE, *BELOW[room(module)], ""}  # "" is nlift itself: its version
    assert not [name for name in imported(module) if room(name) not in allowed]


def test_no_circle():
    graph = {module: {name for name in imported(module) if name in FILES} for module in FILES}
    graph = {module: names for module, names in graph.items() if not module.endswith("__init__")}
    TopologicalSorter(graph).prepare()


def test_every_room_is_known():
    assert {room(module) for module in FILES if not module.endswith("nlift_serve.__init__")} <= BELOW.keys()
