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

from pydantic import Field, ValidationError, model_validator

from nlift import rules, uris
from nlift.errors import ConfigError
from nlift.set_lists import with_lists
from nlift.settings import (
    ClozeConfig,
    ClusterConfig,
    EvaluateConfig,
    EvaluationSet,
    IndexConfig,
    MineConfig,
    NLIConfig,
    ScoreConfig,
    SearchConfig,
    Section,
    Seed,
    ServeConfig,
    TrainConfig,
    TranslateConfig,
    TripletsConfig,
    TuneConfig,
    section_of,
)
from nlift.yaml_keys import (
    KeyPath,
    Places,
    assign,
    complaint,
    dotted,
    flag_as_number,
    key_path,
    one_line,
    read_value,
    read_yaml,
)

DEFAULT_LENGTH = 256  # tokens of a text where no index says so

# by all trials of a sweep
SHARED = ("name", "seed", "output_dir", "cluster", "tune", "search", "evaluate", "index", "serve")


class Experiment(Section):
    """All of one experiment."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    """Name of the run's folder under output_dir."""
    seed: Seed = 1
    """Seed of everything random."""
    output_dir: str = "runs"
    """Folder or URI (s3://, gs://) of runs and of the translation memory."""
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
    search: SearchConfig = SearchConfig()
    """How a corpus is searched, in evaluation as in the index."""
    evaluate: EvaluateConfig = EvaluateConfig()
    """Evaluation sets."""
    index: IndexConfig | None = None
    """The corpus; null leaves the index out."""
    serve: ServeConfig = ServeConfig()
    """The server."""

    @model_validator(mode="before")
    @classmethod
    def _with_lists(cls, raw: Any) -> Any:
        return {**raw, "evaluate": with_lists(raw["evaluate"])} if isinstance(raw, dict) and "evaluate" in raw else raw

    @model_validator(mode="after")
    def _fits_together(self) -> "Experiment":
        sets = {evaluation_set.name: evaluation_set for evaluation_set in self.evaluate.sets}
        rules.check_translation(self.translate, self.score, self.triplets, self.evaluate)
        rules.check_training(self.train, self.tune, sets)
        rules.check_guard(self.train, sets, has_corpus=bool(self.cloze or self.index))
        rules.check_lessons(self.train, self.mine, self.translate, self.score)
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
            variant = copy.deepcopy(raw)
            for key, value in changes.items():
                assign(variant, key, value, where=f"tune.space.{key}")
            try:
                _made(variant)
            except _Mistake as mistake:
                location, message = mistake.args
                wrong = [key for key in space if f"{dotted(location)}.".startswith(f"{key}.")] or list(changes)
                given = " with ".join(f"{key} {changes[key]}" for key in wrong)
                raise ValueError(f"tune.space.{wrong[0]}: {given}: {message}") from None
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
    def store(self) -> str | None:
        """The URI that runs are kept under; None where output_dir is a folder."""
        return self.output_dir.rstrip("/") if uris.is_remote(self.output_dir) else None

    @property
    def root(self) -> Path:
        """Where runs are made, absolute, as workers have another working directory.

        Of an output_dir that is a URI it is a folder of this machine, whose content goes there.
        """
        return Path(self.output_dir).absolute() if self.store is None else uris.mirror(self.store)

    @property
    def memories(self) -> str:
        """Where the translation and score memories are: a folder, or a URI."""
        return self.cluster.memory_dir or self.store or str(self.root)

    @property
    def folder(self) -> Path:
        """The run's folder, `<output_dir>/<name>`, on this machine."""
        return self.root / self.name

    @property
    def folder_store(self) -> str | None:
        """The URI of the run's folder; None where output_dir is a folder."""
        return self.store and f"{self.store}/{self.name}"

    @property
    def inference_length(self) -> int:
        """Tokens that the saved encoder takes by default: what the index embeds."""
        return self.index.max_length if self.index is not None else DEFAULT_LENGTH

    @property
    def guard_sets(self) -> list[EvaluationSet]:
        """The further evaluation sets of whose dev parts the encoder may not lose much."""
        return [config for config in self.evaluate.sets if config.name in self.train.guard]

    def is_watched(self, name: str) -> bool:
        """Whether anything is chosen on an evaluation set's dev part, so that its test part alone is reported."""
        return name == self.train.dev or name in self.train.guard

    @property
    def dev_set(self) -> EvaluationSet | None:
        """The evaluation set that training looks at."""
        return next((config for config in self.evaluate.sets if config.name == self.train.dev), None)

    def override(self, changes: dict[str, Any]) -> "Experiment":
        """This experiment with dotted keys replaced, validated again.

        Args:
            changes: Values by dotted key, as `{"train.learning_rate": 3e-5, "score": None}`; a value for a section's
                own key replaces all of the section. A key of a section that is null makes the section.

        Returns:
            A new experiment; this one stays as it is.

        Raises:
            ConfigError: A key is unknown, a value is not allowed, or sections do not fit together any more.
        """
        raw = self.model_dump(mode="json")
        for key, value in changes.items():
            assign(raw, key, value, where=key)
        return _validate(raw, {}, "override")


def load_experiment(path: str | Path, overrides: list[str] | None = None) -> Experiment:
    """The experiment in a YAML file.

    Args:
        path: The file, UTF-8, complete: nothing is inherited.
        overrides: `key=value` each, as after `--set`; the key is dotted, the value is read as YAML.

    Returns:
        The experiment, validated; it cannot be changed, `override` makes another one.

    Raises:
        ConfigError: There is no such file, it is not YAML, or it says something that an experiment cannot have. One
            line, as `file.yaml:14: train.learnig_rate: unknown key; did you mean learning_rate?`.
    """
    try:
        return _load(Path(path), overrides or [])
    except ConfigError as error:
        raise ConfigError(one_line(str(error))) from None


def _load(path: Path, overrides: list[str]) -> Experiment:
    if not _is_file(path):
        raise ConfigError(f"{path}: no such experiment file; expected a YAML file as jobs/experiments/demo.yaml")
    raw, places = read_yaml(path)
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}:1: found {type(raw).__name__}, expected sections as name, nli, train")
    if "experiment" in raw and raw.keys() & {"cells", "grid"}:
        raise ConfigError(f"{path}:1: a study, expected an experiment; run it with `nlift study {path}`")
    for text in overrides:
        key, given = _assign_text(raw, text)
        places = {at: place for at, place in places.items() if at[: len(key)] != key} | given
    return _validate(raw, places, f"{path}:1")


def overridden(experiment: Experiment, overrides: list[str]) -> Experiment:
    """An experiment with `key=value` each as after `--set`. Raises ConfigError for one that it cannot have."""
    raw = experiment.model_dump(mode="json")
    places: Places = {}
    for text in overrides:
        places |= _assign_text(raw, text)[1]
    return _validate(raw, places, "--set")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long, or that no file can have
        return False


def _assign_text(raw: dict[str, Any], text: str) -> tuple[KeyPath, Places]:
    """Put what `--set` says into raw sections; the path of its key, and the places of what is new."""
    key, equals, value = text.partition("=")
    if not equals or not key.isprintable() or "" in key.split("."):
        raise ConfigError(f"--set {text}: expected key=value, as train.learning_rate=3e-5")
    path, where = key_path(key), f"--set {key}"
    content, places = read_value(value, path, where)
    assign(raw, key, content, where=f"--set {text}")
    return path, places


def _validate(raw: dict[str, Any], places: Places, otherwise: str) -> Experiment:
    """The experiment that raw sections make. Raises ConfigError at the place of the mistake, or `otherwise`."""

    def where(location: KeyPath) -> str:
        for end in range(len(location), 0, -1):  # the key, else what stands within it, else what it stands in
            within = [place for path, place in places.items() if path[:end] == location[:end]]
            if within:
                return places.get(location[:end], within[0]).where
        return otherwise

    try:
        return _made(raw, places)
    except _Mistake as mistake:
        location, message = mistake.args
        raise ConfigError(one_line(f"{where(location)}: {message}")) from None


class _Mistake(Exception):
    """The path of a mistake in raw sections, and the line that says what it is."""


def _made(raw: dict[str, Any], places: Places | None = None) -> Experiment:
    """The experiment that raw sections make. Raises _Mistake."""
    try:
        experiment = Experiment.model_validate(raw)
    except ValidationError as error:
        raise _Mistake(*complaint(error, Experiment, raw, places)) from None
    mistake = flag_as_number(raw, experiment, places)
    if mistake is not None:
        raise _Mistake(*mistake)
    return experiment


def _pairs(values: dict[str, list[Any]]) -> Iterator[dict[str, Any]]:
    """The pair of every two keys' values, the other keys at their first; one key's values where it is alone."""
    first = {key: options[0] for key, options in values.items()}
    if len(values) == 1:
        yield from ({key: option} for key, options in values.items() for option in options)
    for keys in itertools.combinations(values, 2):
        rest = {key: option for key, option in first.items() if key not in keys}
        for options in itertools.product(*(values[key] for key in keys)):
            yield {**dict(zip(keys, options, strict=True)), **rest}


def tunable_keys() -> list[str]:
    """Dotted keys that a trial of a sweep can change. Not `train.dev`: trials are compared on it."""
    fields = {name: field for name, field in Experiment.model_fields.items() if name not in SHARED}
    sections = {name: section_of(field.annotation) for name, field in fields.items()}
    keys = [key for name, section in sections.items() if section is not None for key in _keys(name, section)]
    return [*(key for key in keys if key != "train.dev"), "index.max_length"]


def _keys(path: str, section: type[Section]) -> Iterator[str]:
    for name, field in section.model_fields.items():
        inner = section_of(field.annotation)
        yield f"{path}.{name}"
        if inner is not None:
            yield from _keys(f"{path}.{name}", inner)
