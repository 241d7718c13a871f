"""docs/experiments.md, made of the settings: `python -m nlift.report.settings_page > docs/experiments.md`."""

import types
import typing
from collections.abc import Iterator
from typing import Any

from pydantic_core import PydanticUndefined

from nlift.config import Experiment
from nlift.settings import Section, section_of

HEAD = """# Experiments

An experiment is one YAML file with all of its settings; nothing is inherited. `nlift check FILE` validates it and
prints the plan. `--set section.key=value` replaces a key for one call; the value is read as YAML, so lists and null
work. An unknown key is an error that names the line and the nearest known key. YAML reads no, yes, on, off, dates and
numbers as what they look like: a text of that form is quoted, as "no". Relative paths are relative to the
working directory. [demo.yaml](../jobs/experiments/demo.yaml) uses most sections.

A model is a hub name, a local folder, or `embedded`. Data is a path, or `embedded:NAME` for what ships with nlift:
`snli`, `poquad_pl`, `osm_places_pl`, `stsb_pl`.
"""


def markdown() -> str:
    """Every key with its type, default and meaning."""
    return "\n".join([HEAD, *_tables("", Experiment)]) + "\n"


def _tables(path: str, section: type[Section]) -> Iterator[str]:
    yield f"## {path or 'Top level'}\n\n{(section.__doc__ or '').strip()}\n"
    yield "| key | type | default | meaning |\n|---|---|---|---|"
    inner: list[tuple[str, type[Section]]] = []
    for name, field in section.model_fields.items():
        child = section_of(field.annotation)
        if child is not None:
            inner.append((f"{path}.{name}" if path else name, child))
        default = "" if child is not None else _default(field)
        yield f"| `{name}` | {_type(field.annotation)} | {default} | {' '.join((field.description or '').split())} |"
    yield ""
    for child_path, child in inner:
        yield from _tables(child_path, child)


def _default(field: Any) -> str:
    if field.default is PydanticUndefined:
        return "required"
    return "" if field.default in ("", []) else f"`{'null' if field.default is None else field.default}`"


def _type(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_type(argument) for argument in arguments)
    if origin is typing.Literal:
        return ", ".join(f"`{argument}`" for argument in arguments)
    if origin is typing.Annotated:
        return _type(arguments[0])
    if origin in (list, tuple):
        return f"list of {_type(arguments[0])}"
    if origin is dict:
        return f"{_type(arguments[1])} by key"
    if annotation is type(None):
        return "null"
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return "section"
    return {str: "text", int: "whole number", float: "number", bool: "true or false"}.get(annotation, "any value")


if __name__ == "__main__":
    print(markdown(), end="")
