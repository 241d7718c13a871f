"""An experiment, and `load_experiment`, whose errors name file, line and key.

One complete YAML file per experiment. Nothing is inherited and nothing is guessed: an unknown key
is an error with the nearest known one beside it.
"""

import copy
import difflib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, ValidationError, model_validator

from nlift.errors import ConfigError
from nlift.sections import (
    MEASURED,
    ClozeConfig,
    ClusterConfig,
    EvaluateConfig,
    IndexConfig,
    MineConfig,
    NLIConfig,
    ScoreConfig,
    SearchSpace,
    Section,
    ServeConfig,
    TrainConfig,
    TranslateConfig,
    TripletsConfig,
    TuneConfig,
    section_of,
)

MAX_DEPTH = 20  # of a YAML file; experiments have five
SHARED = ("name", "seed", "output_dir", "cluster", "tune", "evaluate", "index", "serve")  # by all trials of a sweep


class Experiment(Section):
    """All of one experiment."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    """Name of the run's folder under output_dir."""
    seed: int = 1
    """Seed of everything random."""
    output_dir: str = "runs"
    """Folder of runs and of the translation memory."""
    cluster: ClusterConfig = ClusterConfig()
    """Where Ray runs."""
    nli: NLIConfig
    """English NLI pairs."""
    translate: TranslateConfig | None = TranslateConfig()
    """Machine translation; null leaves it out."""
    score: ScoreConfig | None = ScoreConfig()
    """COMET; null leaves it out."""
    triplets: TripletsConfig = TripletsConfig()
    """Filter and triplets."""
    mine: MineConfig | None = None
    """Hard negatives from a corpus; null leaves them to the NLI data."""
    cloze: ClozeConfig | None = None
    """Pairs made of a corpus's own text, beside the triplets; null trains on the triplets alone."""
    train: TrainConfig = TrainConfig()
    """Fine-tuning."""
    tune: TuneConfig | None = None
    """A sweep, run by `nlift tune`."""
    evaluate: EvaluateConfig = EvaluateConfig()
    """Evaluation sets."""
    index: IndexConfig | None = None
    """The corpus; null leaves the index out."""
    serve: ServeConfig = ServeConfig()
    """The server."""

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> "Experiment":
        """Nothing asks for translate or score where it is null."""
        if self.translate is None and self.score is not None:
            raise ValueError("score needs translate; set score: null as well")
        if self.translate is not None and self.translate.candidates and self.score is None:
            raise ValueError("translate.candidates needs score to compare them; it is null")
        wanted = self.triplets.filter
        if self.score is None and (wanted.min_score is not None or wanted.keep_share is not None):
            raise ValueError("triplets.filter needs score; it is null")
        for kind, section in (("translation", "translate"), ("quality", "score")):
            judged = [one.name for one in self.evaluate.sets if one.kind == kind]
            if judged and getattr(self, section) is None:
                raise ValueError(f"evaluate.sets: {judged[0]!r} is of kind {kind}, which needs {section}; it is null")
        return self

    @model_validator(mode="after")
    def _fits_together(self) -> "Experiment":
        names = [one.name for one in self.evaluate.sets]
        if self.train.dev is not None and self.train.dev not in names:
            raise ValueError(f"train.dev is {self.train.dev!r}; evaluate.sets has {', '.join(names) or 'none'}")
        dev = next((one for one in self.evaluate.sets if one.name == self.train.dev), None)
        if dev is not None and dev.kind not in ("sts", "retrieval"):
            raise ValueError(f"train.dev is {self.train.dev!r}, a set of kind {dev.kind}; expected sts or retrieval")
        if self.tune is not None and self.train.dev is None:
            raise ValueError("tune needs train.dev, the set whose dev part it looks at")
        if self.train.metric is not None and dev is None:
            raise ValueError("train.metric needs train.dev, the set whose dev part it looks at")
        if self.train.patience is not None and self.train.metric is None:
            raise ValueError("train.patience needs train.metric, the metric that it watches")
        if self.train.global_batch_size % self.train.num_workers:
            raise ValueError("train.global_batch_size must be a multiple of train.num_workers")
        for key, metric in (("train.metric", self.train.metric), ("tune.metric", self.tune.metric if self.tune else None)):
            if dev is not None and metric is not None and metric not in MEASURED[dev.kind]:
                raise ValueError(
                    f"{key} is {metric}; train.dev {dev.name!r}, of kind {dev.kind}, has {', '.join(MEASURED[dev.kind])}"
                )
        return self

    @model_validator(mode="after")
    def _sweep_fits(self) -> "Experiment":
        """Every key of `tune.space` is there, and every pair of values makes a valid experiment."""
        if self.tune is None:
            return self
        space, known = self.tune.space, tunable_keys()
        for key, values in space.items():
            if key not in known:
                close = difflib.get_close_matches(key, known, n=1)
                hint = f"did you mean {close[0]}?" if close else f"as {known[0]}, {', '.join(known[-2:])}"
                raise ValueError(f"tune.space.{key}: no key that a trial can change; {hint}")
            section = self._null_section(key)
            if section is not None:
                raise ValueError(f"tune.space.{key}: the section {section} is null")
            if self.tune.search == "grid" and values.choice is None:
                raise ValueError(f"tune.space.{key}: search: grid takes choice alone")
        raw = self.model_dump(mode="json", exclude={"tune"})
        for changes in _pairs({key: values.extremes for key, values in space.items()}):
            tried = copy.deepcopy(raw)
            for key, value in changes.items():
                _assign(tried, key, value, where=f"tune.space.{key}")
            try:
                Experiment.model_validate(tried)
            except ValidationError as error:
                location, message = _complaint(error)
                dotted = ".".join(map(str, location))
                wrong = [key for key in space if f"{dotted}.".startswith(f"{key}.")] or list(changes)
                found = " with ".join(f"{key} {changes[key]}" for key in wrong)
                raise ValueError(f"tune.space.{wrong[0]}: {found}: {message}") from None
        return self

    def _null_section(self, key: str) -> str | None:
        """The section of a dotted key that is null here."""
        value: Any = self
        for end, part in enumerate(key.split(".")[:-1], 1):
            value = getattr(value, part)
            if value is None:
                return ".".join(key.split(".")[:end])
        return None

    @property
    def root(self) -> Path:
        """Where runs and memories are, absolute, as workers have another working directory."""
        return Path(self.output_dir).absolute()

    @property
    def memories(self) -> str:
        """Where the translation and score memories are: a folder, or a URI."""
        return self.cluster.memory_dir or str(self.root)

    @property
    def folder(self) -> Path:
        """The run's folder, `<output_dir>/<name>`."""
        return self.root / self.name

    def override(self, changes: dict[str, Any]) -> "Experiment":
        """This experiment with dotted keys replaced, validated again."""
        raw = self.model_dump(mode="json")
        for key, value in changes.items():
            _assign(raw, key, value, where=key)
        return _validate(raw, lambda path: "override")


def load_experiment(path: str | Path, overrides: list[str] | None = None) -> Experiment:
    """The experiment in a YAML file, with `key=value` overrides (the value is read as YAML).

    Raises ConfigError as `file.yaml:14: train.learnig_rate: unknown key; did you mean learning_rate?`.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"{path}: no such experiment file; expected a YAML file as jobs/experiments/demo.yaml")
    try:
        text = path.read_text(encoding="utf-8")
        raw, positions = yaml.safe_load(text), dict(_positions(yaml.compose(text, Loader=yaml.SafeLoader), (), path))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text (byte {error.start}); expected a YAML file") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}:{_yaml_line(error, text)}: not valid YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}:1: found {type(raw).__name__}, expected sections as name, nli, train")
    overridden = set()
    for text in overrides or []:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise ConfigError(f"--set {text}: expected key=value, as train.learning_rate=3e-5")
        try:
            _assign(raw, key, yaml.safe_load(value), where=f"--set {text}")
        except yaml.YAMLError:
            raise ConfigError(f"--set {text}: the value is not valid YAML") from None
        sections, last = _split(key)
        overridden.add((*sections, last))

    def where(location: tuple[str | int, ...]) -> str:
        for end in range(len(location), 0, -1):
            if location[:end] in overridden:
                return "--set " + ".".join(map(str, location[:end]))
            if location[:end] in positions:
                return f"{path}:{positions[location[:end]]}"
        return f"{path}:1"

    return _validate(raw, where)


def _yaml_line(error: yaml.YAMLError, text: str) -> int:
    """Line of a YAML error: of a mark, or of a character that YAML does not allow."""
    mark = getattr(error, "problem_mark", None)
    return mark.line + 1 if mark else text.count("\n", 0, getattr(error, "position", 0)) + 1


def _positions(node: yaml.Node | None, at: tuple[str | int, ...], path: Path) -> Iterator[tuple[tuple[str | int, ...], int]]:
    """Line of every key, by its path; a key that stands twice is an error."""
    if len(at) > MAX_DEPTH:
        raise ConfigError(f"{path}: {'.'.join(map(str, at[:3]))}...: nested too deep; an alias that holds itself?")
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in seen:
                raise ConfigError(f"{path}:{line}: {'.'.join(map(str, (*at, name)))}: key stands twice (line {seen[name]})")
            seen[name] = line
            yield (*at, name), line
            yield from _positions(value, (*at, name), path)
    elif isinstance(node, yaml.SequenceNode):
        for position, value in enumerate(node.value):
            yield (*at, position), value.start_mark.line + 1
            yield from _positions(value, (*at, position), path)


def _split(key: str) -> tuple[list[str], str]:
    """Sections and last part of a dotted key; the keys of `tune.space` have dots of their own."""
    *sections, last = key.split(".")
    if sections[:2] == ["tune", "space"]:
        if last in SearchSpace.model_fields and len(sections) > 2:
            return ["tune", "space", ".".join(sections[2:])], last
        return ["tune", "space"], ".".join([*sections[2:], last])
    return sections, last


def _assign(raw: dict[str, Any], key: str, value: Any, where: str) -> None:
    sections, last = _split(key)
    for section in sections:
        if raw.get(section) is None:
            raw[section] = {}
        raw = raw[section]
        if not isinstance(raw, dict):
            raise ConfigError(f"{where}: {section} is no section")
    raw[last] = value


def _validate(raw: dict[str, Any], where: Any) -> Experiment:
    try:
        return Experiment.model_validate(raw)
    except ValidationError as error:
        location, message = _complaint(error)
        raise ConfigError(f"{where(location)}: {message}") from None


def _complaint(errors: ValidationError) -> tuple[tuple[str | int, ...], str]:
    """The path of the first mistake, and the line that says what it is."""
    error = errors.errors()[0]
    location = error["loc"]
    if location[:2] == ("tune", "space") and len(location) > 3:
        location = location[:4]  # the parts of a SearchSpace's types say nothing to a reader
    dotted = ".".join(str(part) for part in location)
    if error["type"] == "extra_forbidden":
        message = "unknown key" + _nearest(str(location[-1]), _known(location[:-1]))
    elif error["type"] == "missing":
        message = "missing"
    elif error["type"] == "value_error":
        message = str(error["ctx"]["error"])
        if not location:  # a rule over sections names its key first
            sections, last = _split(message.split()[0].rstrip(":"))
            return (*sections, last), message
    else:
        message = f"found {error['input']!r}, expected: {error['msg'][0].lower()}{error['msg'][1:]}"
    return location, f"{dotted + ': ' if dotted else ''}{message}"


def _pairs(values: dict[str, list[Any]]) -> Iterator[dict[str, Any]]:
    """The pair of every two keys' values, the other keys at their first; one key's values where it is alone."""
    first = {key: options[0] for key, options in values.items()}
    if len(values) == 1:
        yield from ({key: option} for key, options in values.items() for option in options)
    for one, other in itertools.combinations(values, 2):
        for pair in itertools.product(values[one], values[other]):
            yield {one: pair[0], other: pair[1], **{key: value for key, value in first.items() if key not in (one, other)}}


def tunable_keys() -> list[str]:
    """Dotted keys that a trial of a sweep can change. Not `train.dev`: trials are compared on it."""
    sections = {name: section_of(field.annotation) for name, field in Experiment.model_fields.items() if name not in SHARED}
    keys = [key for name, section in sections.items() if section is not None for key in _keys(name, section)]
    return [*(key for key in keys if key != "train.dev"), "index.max_length"]


def _keys(path: str, section: type[Section]) -> Iterator[str]:
    for name, field in section.model_fields.items():
        inner = section_of(field.annotation)
        yield f"{path}.{name}"
        if inner is not None:
            yield from _keys(f"{path}.{name}", inner)


def _nearest(name: str, known: Any, prefix: str = "") -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {prefix}{close[0]}?" if close else f"; known are {', '.join(sorted(known))}"


def _known(location: tuple[str | int, ...]) -> list[str]:
    """Names of the keys of the section at a path."""
    model: type[Section] = Experiment
    for part in location:
        field = None if isinstance(part, int) else model.model_fields.get(part)
        if field is None:
            continue  # a position of a list, or a key of a dict of sections
        section = section_of(field.annotation)
        if section is None:
            return []
        model = section
    return list(model.model_fields)
