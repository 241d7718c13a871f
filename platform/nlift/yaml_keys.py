"""Keys of an experiment's YAML: their lines, their dotted form, and what is said of wrong ones."""

import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import yaml
from pydantic import ValidationError

from nlift.errors import ConfigError, first_line
from nlift.settings import SearchSpace, Section, section_of

KeyPath: TypeAlias = tuple[str | int, ...]
MAX_DEPTH = 20  # experiments have five


def read_yaml(path: Path) -> tuple[Any, dict[KeyPath, int]]:
    """What a YAML file holds, and the line of every key and list item by its path.

    Raises ConfigError, with the line, for what is not YAML in UTF-8 and for a key that stands twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
        content = yaml.safe_load(text)
        lines = dict(_lines(yaml.compose(text, Loader=yaml.SafeLoader), (), path))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text (byte {error.start}); expected a YAML file") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}:{_error_line(error, text)}: not valid YAML: {first_line(error)}") from None
    return content, lines


def _error_line(error: yaml.YAMLError, text: str) -> int:
    """Line of a YAML error: of a mark, or of a character that YAML does not allow."""
    mark = getattr(error, "problem_mark", None)
    return mark.line + 1 if mark else text.count("\n", 0, getattr(error, "position", 0)) + 1


def _lines(node: yaml.Node | None, parent: KeyPath, path: Path) -> Iterator[tuple[KeyPath, int]]:
    if len(parent) > MAX_DEPTH:
        raise ConfigError(f"{path}: {dotted(parent[:3])}...: nested too deep; an alias that holds itself?")
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in seen:
                where = f"{path}:{line}: {dotted((*parent, name))}"
                raise ConfigError(f"{where}: key stands twice (line {seen[name]})")
            seen[name] = line
            yield (*parent, name), line
            yield from _lines(value, (*parent, name), path)
    elif isinstance(node, yaml.SequenceNode):
        for position, value in enumerate(node.value):
            yield (*parent, position), value.start_mark.line + 1
            yield from _lines(value, (*parent, position), path)


def dotted(path: KeyPath) -> str:
    """A key's path as it is written after `--set`."""
    return ".".join(map(str, path))


def key_path(key: str) -> tuple[str, ...]:
    """The parts of a dotted key; the keys of `tune.space` have dots of their own."""
    *sections, last = key.split(".")
    if sections[:2] == ["tune", "space"]:
        if last in SearchSpace.model_fields and len(sections) > 2:
            return "tune", "space", ".".join(sections[2:]), last
        return "tune", "space", ".".join([*sections[2:], last])
    return *sections, last


def assign(raw: dict[str, Any], key: str, value: Any, where: str) -> None:
    """Put a value into raw sections, by its dotted key. Raises ConfigError where a part of the key is no section."""
    *sections, last = key_path(key)
    for section in sections:
        if raw.get(section) is None:
            raw[section] = {}
        raw = raw[section]
        if not isinstance(raw, dict):
            raise ConfigError(f"{where}: {section} is no section")
    raw[last] = value


def complaint(errors: ValidationError, model: type[Section]) -> tuple[KeyPath, str]:
    """The path of the first mistake in what should be a `model`, and the line that says what it is."""
    error = errors.errors()[0]
    location: KeyPath = error["loc"]
    if location[:2] == ("tune", "space") and len(location) > 3:
        location = location[:4]  # the parts of a SearchSpace's types say nothing to a reader
    if error["type"] == "extra_forbidden":
        message = "unknown key" + _nearest(str(location[-1]), _known(location[:-1], model))
    elif error["type"] == "missing":
        message = "missing"
    elif error["type"] == "value_error":
        message = str(error["ctx"]["error"])
        if not location:  # a rule over sections names its key first
            return key_path(message.split()[0].rstrip(":")), message
    else:
        message = f"found {error['input']!r}, expected: {error['msg'][0].lower()}{error['msg'][1:]}"
    name = dotted(location)
    return location, f"{name}: {message}" if name else message


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; known are {', '.join(sorted(known))}"


def _known(location: KeyPath, model: type[Section]) -> list[str]:
    """Names of the keys of the section at a path."""
    for part in location:
        field = None if isinstance(part, int) else model.model_fields.get(part)
        if field is None:
            continue  # a position of a list, or a key of a dict of sections
        section = section_of(field.annotation)
        if section is None:
            return []
        model = section
    return list(model.model_fields)
