"""Keys of an experiment's YAML: their lines, their dotted form, and what is said of wrong ones."""

import difflib
import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, TypeAlias

import yaml
from pydantic import ValidationError

from nlift.errors import ConfigError, first_line
from nlift.settings import SearchSpace, Section, section_of

KeyPath: TypeAlias = tuple[str | int, ...]
MAX_DEPTH = 20  # experiments have five
MAX_NODES = 20_000  # keys and values, those behind aliases as often as they stand there
SHOWN_CHARACTERS = 80  # of a value or a key in a message
MESSAGE_CHARACTERS = 1000

_TAGS = tuple(
    f"tag:yaml.org,2002:{kind}" for kind in ("map", "seq", "str", "int", "float", "bool", "null", "timestamp")
)
_MERGE = "tag:yaml.org,2002:merge"
_ONLY_YAMLS_NUMBER = re.compile(r"[-+]?0[0-7_]+|.*:.*", re.DOTALL)  # octal, or in base 60


@dataclass(frozen=True)
class Place:
    """Where a key or an item stands, and how its value is written where that is without quotes."""

    where: str
    text: str | None = None


Places: TypeAlias = dict[KeyPath, Place]


def read_yaml(path: Path) -> tuple[Any, Places]:
    """What a YAML file holds, and the place of every key and list item by its path.

    Raises ConfigError, with the line, for what is not YAML in UTF-8, for a key that stands twice, and for what YAML
    reads in a way that nobody expects.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text (byte {error.start}); expected a YAML file") from None
    except OSError as error:
        raise ConfigError(f"{path}: not readable ({error.strerror})") from None
    try:
        return _Reader(text, lambda line: f"{path}:{line}").read(())
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}:{_error_line(error, text)}: not valid YAML: {_problem(error)}") from None


def read_value(text: str, parent: KeyPath, where: str) -> tuple[Any, Places]:
    """The same of a value after `--set`, which stands at the key `parent`."""
    try:
        return _Reader(text, lambda _: where).read(parent)
    except yaml.YAMLError:
        raise ConfigError(f"{where}={text}: the value is not valid YAML") from None


class _Reader:
    """Reads one YAML document, and looks at every key and value before something is made of it."""

    def __init__(self, text: str, where: Callable[[int], str]) -> None:
        self.text, self.where = text, where
        self.count = 0

    def read(self, parent: KeyPath) -> tuple[Any, Places]:
        """The content, and the places of its parts, whose paths begin with `parent`."""
        self.loader = yaml.SafeLoader(self.text)
        try:
            node = self.loader.get_single_node()
            if node is None:
                return None, {parent: Place(self.where(1), "")}
            places = dict(self._places(node, parent))
            return _unshared(self.loader.construct_document(node)), places
        except RecursionError:
            raise ConfigError(f"{self.where(1)}: {dotted(parent) or 'the file'}: nested too deep") from None
        finally:
            self.loader.dispose()

    def _places(self, node: yaml.Node, at: KeyPath) -> Iterator[tuple[KeyPath, Place]]:
        self.count += 1
        if len(at) > MAX_DEPTH:
            raise self._mistake(node, at[:3], "nested too deep; an alias that holds itself?")
        if self.count > MAX_NODES:
            raise self._mistake(node, at[:3], f"more than {MAX_NODES:,} keys and values; aliases that multiply?")
        if node.tag not in _TAGS and not node.tag.endswith(":value"):
            raise self._mistake(
                node, at, f"found the tag {node.tag.replace('tag:yaml.org,2002:', '!!')}, expected plain YAML"
            )
        written = node.value if isinstance(node, yaml.ScalarNode) and node.style is None else None
        yield at, Place(self.where(node.start_mark.line + 1), written)
        if isinstance(node, yaml.MappingNode):
            yield from self._entries(node, at)
        elif isinstance(node, yaml.SequenceNode):
            for position, value in enumerate(node.value):
                yield from self._places(value, (*at, position))
        elif isinstance(node, yaml.ScalarNode):
            self._check_scalar(node, at)

    def _entries(self, node: yaml.MappingNode, at: KeyPath) -> Iterator[tuple[KeyPath, Place]]:
        seen: dict[str, int] = {}
        for merged in _merged(node):  # before the keys that stand here, which hide theirs
            yield from itertools.islice(self._places(merged, at), 1, None)
        for key, value in node.value:
            if key.tag != _MERGE:
                name, line = self._name(key, at), key.start_mark.line + 1
                if name in seen:
                    raise self._mistake(key, (*at, name), f"key stands twice (line {seen[name]})")
                seen[name] = line
                (_, place), *inner = self._places(value, (*at, name))
                place = Place(self.where(line), place.text)
                yield from (((*at, name), place), ((*at, self.loader.construct_object(key)), place), *inner)

    def _name(self, key: yaml.Node, at: KeyPath) -> str:
        """A key as text. Numbers pass where they are read as they are written: labels may be numbers."""
        if not isinstance(key, yaml.ScalarNode):
            kind = "section" if isinstance(key, yaml.MappingNode) else "list"
            raise self._mistake(key, at, f"found a {kind} as a key, expected a text")
        name: str = key.value
        if key.tag not in _TAGS:
            raise self._mistake(
                key, (*at, name), f"found the tag {key.tag.replace('tag:yaml.org,2002:', '!!')} of a key"
            )
        self._check_scalar(key, (*at, name))
        value = self.loader.construct_object(key)
        if not isinstance(value, str | float) and (not isinstance(value, int) or str(value) != name):
            says = f"found a key that YAML reads as {_reading(value)}"
            raise self._mistake(key, (*at, name or "''"), f"{says}; a text must be quoted: {_quoted(name)}")
        return name

    def _check_scalar(self, node: yaml.ScalarNode, at: KeyPath) -> None:
        """Refuse what is no value, and what YAML reads in a way of its own."""
        text, kind = node.value, node.tag.rpartition(":")[2]
        if kind == "value":
            raise self._mistake(node, at, f"found {text}; a text must be quoted: {_quoted(text)}")
        half = re.search("[\ud800-\udfff]", text)
        if half is not None:
            raise self._mistake(node, at, f"found half of a surrogate pair ({half[0]}), expected Unicode text")
        if "\0" in text:
            raise self._mistake(node, at, "found a NUL character, expected text without it")
        try:
            value = self.loader.construct_object(node)
        except (ValueError, ArithmeticError, LookupError, AttributeError):  # of YAML's own constructors
            raise self._mistake(node, at, f"found {_cut(text) or _quoted(text)}, which is no {kind}") from None
        if kind == "int" and abs(value) >= 2**63:
            raise self._mistake(node, at, f"found {_cut(text)}, expected a number below 2**63")
        if kind in ("int", "float") and node.style is None and _ONLY_YAMLS_NUMBER.fullmatch(text):
            says = f"found {_cut(text)}, which YAML reads as {value}"
            raise self._mistake(node, at, f"{says}; write a decimal number, or quote a text: {_quoted(text)}")

    def _mistake(self, node: yaml.Node, at: KeyPath, why: str) -> ConfigError:
        name = dotted(at)
        return ConfigError(f"{self.where(node.start_mark.line + 1)}: {f'{name}: ' if name else ''}{why}")


def _merged(node: yaml.MappingNode) -> list[yaml.MappingNode]:
    """The mappings that `<<` puts into one, the first of a list last, as it hides the others."""
    values = [value for key, value in node.value if key.tag == _MERGE]
    parts = [part for value in values for part in (value.value if isinstance(value, yaml.SequenceNode) else [value])]
    return [part for part in reversed(parts) if isinstance(part, yaml.MappingNode)]


def _unshared(content: Any) -> Any:
    """Content whose aliases are copies: a change of one section must not change another."""
    if isinstance(content, dict):
        return {key: _unshared(value) for key, value in content.items()}
    return [_unshared(value) for value in content] if isinstance(content, list) else content


def _error_line(error: yaml.YAMLError, text: str) -> int:
    """Line of a YAML error: of a mark, or of a character that YAML does not allow."""
    mark = getattr(error, "problem_mark", None)
    return mark.line + 1 if mark else text.count("\n", 0, getattr(error, "position", 0)) + 1


def _problem(error: yaml.YAMLError) -> str:
    parts = [part for part in (getattr(error, "context", None), getattr(error, "problem", None)) if part]
    return ", ".join(parts) or first_line(error)


def _reading(value: Any) -> str:
    """What YAML makes of a scalar, in words."""
    if value is None or isinstance(value, bool):
        return _shown(value)
    return "a date" if isinstance(value, date) else "a number"


def _shown(value: Any) -> str:
    """A value as messages show it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    try:
        return _cut(repr(value))
    except ValueError:  # a number of more digits than Python writes
        return "a number of thousands of digits"


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."


def _quoted(text: str) -> str:
    return f'"{_cut(text)}"'


def one_line(message: str) -> str:
    """A message that a terminal shows and does not obey: what is not printed is escaped."""
    if len(message) > MESSAGE_CHARACTERS:
        message = f"{message[: MESSAGE_CHARACTERS - 200]}...{message[-200:]}"
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in message)


def dotted(path: KeyPath) -> str:
    """A key's path as it is written after `--set`."""
    return ".".join(_cut(str(part)) for part in path)


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


def complaint(
    errors: ValidationError, model: type[Section], raw: Any, places: Places | None = None
) -> tuple[KeyPath, str]:
    """The path of the first mistake in `raw`, which should be a `model`, and the line that says what it is."""
    error = errors.errors()[0]
    location = _within(raw, error["loc"], missing=error["type"] == "missing")
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
        place = (places or {}).get(location)
        message = _mismatch(error["input"], place.text if place else None, error["type"], error["msg"])
    name = dotted(location)
    return location, f"{name}: {message}" if name else message


def _within(raw: Any, location: KeyPath, *, missing: bool) -> KeyPath:
    """The part of a location that is a key: of a type with several forms pydantic adds the form's name."""
    value = raw
    for end, part in enumerate(location):
        keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list | tuple) else ()
        key = next((key for key in keys if part in (key, str(key))), None)
        if key is None:
            return location[: end + 1] if missing else location[:end]
        value = value[key]
    return location


def _mismatch(value: Any, written: str | None, kind: str, expected: str) -> str:
    """What was found and what was expected; where YAML has made something else of a text, that as well."""
    reread = written and (isinstance(value, bool | date) or (kind == "string_type" and not isinstance(value, str)))
    actual = f"found {_shown(value)}"
    if reread and written not in ("true", "false"):
        actual = f"found {_cut(written or '')}, which YAML reads as {_reading(value)}"
    if reread and kind == "string_type":
        return f"{actual}; a text must be quoted: {_quoted(written or '')}"
    if kind == "list_type" and not isinstance(value, dict):
        expected = f"a list, as [{_shown(value)}]"
    return f"{actual}, expected: {expected[0].lower()}{expected[1:]}"


def flag_as_number(raw: Any, made: Section, places: Places | None = None) -> tuple[KeyPath, str] | None:
    """The same of the first true or false in `raw` that stands for a number in what was made of it, as 1 or 0."""
    for path, flag in _flags_as_numbers(raw, made, ()):
        place = (places or {}).get(path)
        message = _mismatch(flag, place.text if place else None, "number", "a number")
        return path, f"{dotted(path)}: {message}"
    return None


def _flags_as_numbers(raw: Any, made: Any, path: KeyPath) -> Iterator[tuple[KeyPath, bool]]:
    if isinstance(raw, bool):
        if not isinstance(made, bool):
            yield path, raw
    elif isinstance(raw, dict):
        for key, item in raw.items():
            inner = made.get(key) if isinstance(made, dict) else getattr(made, str(key), None)
            yield from _flags_as_numbers(item, inner, (*path, key)) if inner is not None else ()
    elif isinstance(raw, list | tuple) and isinstance(made, list | tuple):
        for position, (item, inner) in enumerate(zip(raw, made, strict=False)):
            yield from _flags_as_numbers(item, inner, (*path, position))


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name[:SHOWN_CHARACTERS], known, n=1)
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
