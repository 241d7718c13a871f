"""Ready lists of evaluation sets: YAML files in `evaluation/lists`, put into an experiment by `evaluate.lists`."""

import typing
from pathlib import Path
from typing import Any

import yaml

from nlift.settings import EvaluateConfig, SetList

FOLDER = Path(__file__).parent / "evaluation" / "lists"
NAMES: tuple[str, ...] = typing.get_args(SetList)


def read_list(name: str) -> list[dict[str, Any]]:
    """The sets of a list, as they would stand under `evaluate.sets`."""
    sets: list[dict[str, Any]] = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    return sets


def with_lists(evaluate: Any) -> Any:
    """The raw section `evaluate` with the sets of its lists behind its own, and no list left.

    So an experiment that was read holds its sets whole, and lists may be given again to change it. A set that two lists
    have in common stands once. What is not as the section should be stays as it is, for the section to refuse.
    """
    if isinstance(evaluate, EvaluateConfig):
        evaluate = evaluate.model_dump(mode="json")
    if not isinstance(evaluate, dict):
        return evaluate
    lists, own = evaluate.get("lists"), evaluate.get("sets", [])
    if not isinstance(lists, list) or not isinstance(own, list) or any(name not in NAMES for name in lists):
        return evaluate
    listed: list[dict[str, Any]] = []
    for entry in (entry for name in lists for entry in read_list(name)):
        if entry not in listed:
            listed.append(entry)
    return {**evaluate, "lists": [], "sets": [*own, *listed]}
