"""A study: one experiment in several variants, each with several seeds; a YAML file, checked as an experiment's is."""

import itertools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, PrivateAttr, ValidationError, model_validator

from nlift.config import Experiment, load_experiment
from nlift.errors import ConfigError
from nlift.settings import Section, Seed
from nlift.yaml_keys import Places, complaint, one_line, read_yaml

GUARD_OFF = {"train.base_share": 0, "train.guard": []}
"""A study asks what a setting does: no average with the base model may hide it."""
NO_RUNS = {"evaluate.keep_runs": False}
"""Sixty runs' hits would fill a disk."""
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"


class Cell(Section):
    """A variant."""

    name: Annotated[str, Field(pattern=NAME)]
    """What tables call it."""
    set: dict[str, Any] = Field(default_factory=dict)
    """What it changes, by dotted keys of the experiment."""


class Study(Section):
    """All of a study."""

    name: Annotated[str, Field(pattern=NAME)]
    """Name of its folder under output_dir."""
    question: str = ""
    """What it asks, in a sentence; the report begins with it."""
    experiment: str
    """The experiment's file."""
    seeds: Annotated[list[Seed], Field(min_length=1, default_factory=lambda: [1, 2, 3])]
    """Each variant is run with each."""
    set: dict[str, Any] = Field(default_factory=dict)
    """What all variants change, by dotted keys."""
    cells: list[Cell] = Field(default_factory=list)
    """The variants; the first is what others are compared with."""
    grid: dict[str, list[Any]] = Field(default_factory=dict)
    """Values by dotted key; every combination is a variant, beside the cells."""
    _places: Places = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _has_variants(self) -> "Study":
        if not self.cells and not self.grid:
            raise ValueError("cells: none, and no grid; expected one variant at least")
        names = [cell.name for cell in self.variants]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"cells: {twice!r} stands twice")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds: one stands twice")
        empty = next((key for key, values in self.grid.items() if not values), None)
        if empty is not None:
            raise ValueError(f"grid: {empty} has no value")
        return self

    @property
    def variants(self) -> list[Cell]:
        """The cells, then those of the grid."""
        keys = list(self.grid)
        made = []
        for values in itertools.product(*self.grid.values()) if keys else ():
            chosen = dict(zip(keys, values, strict=True))
            parts = (f"{key.rpartition('.')[2]}={value}" for key, value in chosen.items())
            made.append(Cell(name=re.sub(r"[^A-Za-z0-9._-]+", "-", "_".join(parts)).strip("-"), set=chosen))
        return [*self.cells, *made]


@dataclass(frozen=True)
class Run:
    """A variant with a seed."""

    cell: str
    seed: int
    experiment: Experiment


def load_study(path: Path) -> Study:
    """The study of a YAML file. Raises ConfigError, one line with file and key, for what it cannot have."""
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; expected a study as jobs/experiments/studies/ablation.yaml")
    raw, places = read_yaml(path)
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}:1: found {type(raw).__name__}, expected keys as name, experiment, seeds, cells")
    if "nli" in raw and "experiment" not in raw:
        raise ConfigError(f"{path}:1: an experiment, expected a study; run it with `nlift run {path}`")
    try:
        study = Study.model_validate(raw)
        study._places = places
        return study
    except ValidationError as error:
        location, message = complaint(error, Study, raw, places)
        at = next((places[location[:end]].where for end in range(len(location), 0, -1) if location[:end] in places), "")
        raise ConfigError(one_line(f"{at or f'{path}:1'}: {message}")) from None


def runs_of(study: Study, overrides: list[str]) -> list[Run]:
    """All variants with all seeds, a seed of all variants before the next. Raises ConfigError naming a wrong one."""
    base = load_experiment(study.experiment, overrides)
    root = Path(base.output_dir) / study.name if base.store is None else f"{base.store}/{study.name}"
    common = {"tune": None, **GUARD_OFF, **NO_RUNS, **study.set}
    common |= {"output_dir": str(root), "cluster.memory_dir": base.memories}
    planned = []
    for seed, cell in itertools.product(study.seeds, study.variants):
        try:
            experiment = base.override({**common, **cell.set, "seed": seed, "name": f"{cell.name}-s{seed}"})
        except ConfigError as error:
            message = f"{cell.name}: {str(error).removeprefix('override: ')}"
            raise ConfigError(f"{_where(study, cell, message)}: {message}") from None
        planned.append(Run(cell.name, seed, experiment))
    return planned


def _where(study: Study, cell: Cell, message: str) -> str:
    """Where a study's file says what a message is about: the setting that it names, else the variant."""
    places = {path: place for path, place in study._places.items() if path and isinstance(path[-1], str)}
    numbers = [number for number, own in enumerate(study.cells) if own.name == cell.name]
    for parent in [("cells", *numbers, "set"), ("grid",), ("set",), ("cells", *numbers)]:
        inside = {path: place for path, place in places.items() if path[: len(parent)] == parent and path != parent}
        named = [place for path, place in inside.items() if str(path[-1]) in message]
        if named or (inside and parent[0] == "cells" and len(parent) == 2):
            return (named or list(inside.values()))[0].where
    return study.name
