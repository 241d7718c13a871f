"""Every setting of an experiment, and `load_experiment`, whose errors name file, line and key.

One complete YAML file per experiment. Nothing is inherited and nothing is guessed: an unknown key
is an error with the nearest known one beside it.
"""

import copy
import difflib
import itertools
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from nlift.errors import ConfigError

MAX_DEPTH = 20  # of a YAML file; experiments have five
Share = Annotated[float, Field(gt=0, le=1)]
Positive = Annotated[int, Field(gt=0)]
Metric = Literal["ndcg@10", "recall@10", "recall@100", "mrr@10", "map", "spearman", "pearson", "uniformity", "alignment"]
LOWER_IS_BETTER = ("uniformity", "alignment")


def direction(metric: str | None) -> Literal["min", "max"]:
    """Whether a metric is minimised or maximised."""
    return "min" if metric in LOWER_IS_BETTER else "max"


MEASURED = {  # on the dev part of a set of this kind
    "sts": ("spearman", "pearson", *LOWER_IS_BETTER),
    "retrieval": ("ndcg@10", "recall@10", "recall@100", "mrr@10", "map", *LOWER_IS_BETTER),
}
SHARED = ("name", "seed", "output_dir", "cluster", "tune", "evaluate", "index", "serve")  # by all trials of a sweep


class Section(BaseModel):
    """What all sections share: frozen, and closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class ClusterConfig(Section):
    """Where Ray runs."""

    address: str = "local"
    """`local` starts Ray on this machine; `auto` joins the cluster that this machine is part of."""
    num_cpus: Positive | None = None
    """CPUs that a local Ray may use; all of them when null."""


class NLIConfig(Section):
    """English NLI pairs: a file or a hub data set."""

    path: str | None = None
    """TSV, CSV, JSONL or Parquet with premise, hypothesis and label; a glob or a URI (s3://, gs://); or `embedded`."""
    dataset: str | None = None
    """Name of a data set on the Hugging Face hub, as `stanfordnlp/snli`."""
    split: str = "train"
    """Split of the hub data set."""
    limit: Positive | None = None
    """Read only the first rows; all when null."""
    premise: str = "premise"
    """Column of the premise."""
    hypothesis: str = "hypothesis"
    """Column of the hypothesis."""
    label: str = "label"
    """Column of the label: entailment, neutral, contradiction, or 0, 1, 2 in this order."""
    labels: Annotated[list[Literal["entailment", "neutral", "contradiction"]], Field(min_length=1)] = [
        "entailment",
        "neutral",
        "contradiction",
    ]
    """Labels to take; triplets never need neutral pairs, so leaving them out saves their translation."""

    @model_validator(mode="after")
    def _one_source(self) -> "NLIConfig":
        if (self.path is None) == (self.dataset is None):
            raise ValueError("give exactly one of path and dataset")
        return self


class TranslateConfig(Section):
    """Machine translation of the distinct sentences."""

    model: str = "embedded"
    """Hub name, local folder, or `embedded`."""
    candidates: list[str] = []
    """Models to compare on the same data instead of `model`; the one with the best mean COMET is kept."""
    revision: str | None = None
    """Revision of a hub model; part of the memory's key."""
    engine: Literal["transformers", "ctranslate2"] = "transformers"
    """What runs the model; ctranslate2 converts it once and is several times faster."""
    compute_type: Literal["auto", "float32", "float16", "bfloat16", "int8"] = "auto"
    """Precision. auto: float16 on a GPU; on a CPU float32 with transformers, int8 with ctranslate2."""
    source_language: str = "en"
    """Language of the NLI pairs: ISO 639-1, or the model's own code."""
    target_language: str = "pl"
    """Language to translate into: ISO 639-1, or the model's own code."""
    num_beams: Positive = 4
    """Width of the beam search; 1 is greedy."""
    max_new_tokens: Positive = 96
    """Longest translation, in the model's tokens."""
    batch_tokens: Positive = 2048
    """Padded source tokens in one forward pass; does not change results."""
    shard_size: Positive = 256
    """Sentences committed to the memory at a time."""
    num_actors: Positive | None = None
    """Copies of the model; one per GPU, or per CPU where there is none, when null."""


class ScoreConfig(Section):
    """Reference-free COMET of each sentence and its translation."""

    model: str = "embedded"
    """Hub name, local checkpoint folder, or `embedded`."""
    revision: str | None = None
    """Revision of a hub model; part of the memory's key."""
    compute_type: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    """Precision of the encoder on a GPU, by autocast; auto: float16. A CPU computes in float32."""
    batch_tokens: Positive = 4096
    """Padded tokens in one forward pass; does not change results beyond rounding."""
    shard_size: Positive = 1024
    """Scores committed to the memory at a time."""
    num_actors: Positive | None = None
    """Copies of the model; one per GPU, or per CPU where there is none, when null."""


class FilterConfig(Section):
    """Which triplets are good enough; everything is kept by default, which the paper found best."""

    min_score: float | None = None
    """Drop triplets scored below this; the paper tries 0.05."""
    keep_share: Share | None = None
    """Keep this share of triplets, the best scored."""
    over: Literal["min", "mean"] = "min"
    """A triplet's score: the minimum or the mean over its sentences."""
    untranslated: bool = False
    """Drop triplets with a translation that copies most of its source."""
    length_ratio: tuple[float, float] | None = None
    """Drop triplets with a translation whose characters over its source's are outside of this range, as [0.4, 2.5]."""
    max_repeats: Positive | None = None
    """Drop triplets with a phrase of one to four words that stands more often than this in a row."""
    language: bool = False
    """Drop triplets with a translation that is recognised as the source language."""


class TripletsConfig(Section):
    """From pairs to (anchor, positive, hard negative)."""

    filter: FilterConfig = FilterConfig()
    """What keeps a triplet out."""
    side: Literal["target", "source", "both"] = "target"
    """Sentences to take: the translations, the originals, or both, which suits a multilingual encoder."""
    require_negative: bool = True
    """Drop entailed pairs whose premise has no contradicted hypothesis."""


class MineConfig(Section):
    """Hard negatives from a corpus, found with a previous encoder."""

    encoder: str
    """Encoder that finds them: a folder as runs/first/train/encoder, a hub name, or `embedded`."""
    revision: str | None = None
    """Revision of a hub model."""
    corpus: str | None = None
    """Texts to choose from, as `index.corpus`; the triplets' own positives and negatives when null."""
    top_k: Positive = 50
    """Nearest texts of an anchor that are looked at."""
    margin: Annotated[float, Field(ge=-2, le=2)] = 0.05
    """A text nearer to the anchor than the anchor's positive less this (cosine) may be a positive, and is left out."""
    num_negatives: Positive = 1
    """Hard negatives of a triplet; each makes a row of its own."""
    replace: bool = False
    """Put mined negatives in the place of contradictions too, where some are found."""
    max_length: Annotated[int, Field(ge=4)] = 256
    """Tokens of a text that are embedded."""
    num_actors: Positive | None = None
    """Copies of the encoder; one per GPU, or per CPU where there is none, when null."""


class TrainConfig(Section):
    """Supervised SimCSE (arXiv 2104.08821) on Ray Train."""

    base_model: str = "embedded"
    """Hub name, local folder, or `embedded`."""
    revision: str | None = None
    """Revision of a hub model."""
    mode: Literal["triplets", "pairs", "hard_negatives_only", "unsupervised"] = "triplets"
    """triplets, or pairs without hard negatives. Controls, whose positive is the anchor under another dropout mask:
    hard_negatives_only (the row's contradiction is the only negative), unsupervised (over all sentences)."""
    loss: Literal["simcse", "simcse_reference"] = "simcse"
    """simcse is exact over all workers; simcse_reference has the original code's gradients and knows no rows of equal text."""
    learning_rate: Annotated[float, Field(gt=0)] = 5e-5
    """Peak of the schedule: linear warm-up, linear decay."""
    epochs: Annotated[float, Field(gt=0)] = 3
    """Passes over the triplets; a fraction is allowed."""
    global_batch_size: Annotated[int, Field(gt=1)] = 512
    """Triplets per step over all workers; all of them are each other's negatives."""
    device_batch_size: Positive | None = None
    """Triplets in a worker's memory at a time; GradCache computes the same gradients in pieces. All at once when null."""
    compute_type: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    """Precision, by autocast; auto: bfloat16 or float16 on a GPU, float32 on a CPU."""
    gradient_checkpointing: bool = False
    """Compute activations twice rather than keep them; less memory, the same gradients."""
    temperature: Annotated[float, Field(gt=0)] = 0.05
    """Divides the cosine similarities."""
    hard_negative_weight: float = 0.0
    """Log weight added to the logit of a row's own hard negative."""
    max_length: Annotated[int, Field(ge=4)] = 32
    """Tokens of a sentence in training."""
    pooling: Literal["mean", "cls"] = "mean"
    """How token vectors become one."""
    mlp_head: bool | Literal["training"] = False
    """A fresh dense layer and tanh over the pooled vector: kept at inference, or there in `training` only."""
    base_share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the base model's weights in the saved encoder (WiSE-FT); keeps what fine-tuning on one kind of text forgets."""
    query_prefix: str = ""
    """Put before queries (and anchors)."""
    passage_prefix: str = ""
    """Put before documents (and positives and negatives)."""
    warmup_share: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of the steps that the learning rate rises."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """AdamW's, on matrices only."""
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    """Gradients are clipped to this norm."""
    num_workers: Positive = 1
    """Ray Train workers."""
    cpus_per_worker: Positive | None = None
    """CPUs, and so threads, of a worker without a GPU; an equal share of this machine's when null, one on a cluster."""
    use_gpu: bool | None = None
    """One GPU per worker; null takes GPUs where the cluster has enough."""
    dev: str | None = None
    """Name of the evaluation set whose dev part is watched during training."""
    checkpoint_every_steps: Positive = 100
    """Steps between checkpoints (and dev measurements)."""
    metric: Metric | None = None
    """Keep the checkpoint that is best by this on the dev part, not the last one."""
    patience: Positive | None = None
    """Stop after so many measurements in a row without a better `metric`."""
    storage: str | None = None
    """Folder or URI (s3://, gs://) of checkpoints while training runs, one that all machines reach; the run's when null."""
    max_failures: Annotated[int, Field(ge=0)] = 2
    """Lost workers to recover from, each time from the last checkpoint."""


class SearchSpace(Section):
    """The values that one key may take in a sweep; exactly one field."""

    choice: Annotated[list[Any], Field(min_length=1)] | None = None
    """One of these."""
    uniform: tuple[float, float] | None = None
    """Between the two, uniformly."""
    loguniform: tuple[float, float] | None = None
    """Between the two, uniformly in the logarithm."""
    randint: tuple[int, int] | None = None
    """A whole number from the first to the second, both included."""

    @model_validator(mode="after")
    def _one_kind(self) -> "SearchSpace":
        given = [name for name in SearchSpace.model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("give exactly one of choice, uniform, loguniform and randint")
        if self.bounds is not None:
            low, high = self.bounds
            if not low < high:
                raise ValueError(f"{given[0]} has the bounds {low:g} and {high:g}; expected the lower one first")
            if self.loguniform is not None and low <= 0:
                raise ValueError(f"loguniform has the bound {low:g}; expected bounds above 0")
        return self

    @property
    def bounds(self) -> tuple[float, float] | None:
        """The lowest and the highest value; None for a choice."""
        return self.uniform or self.loguniform or self.randint

    @property
    def extremes(self) -> list[Any]:
        """All values of a choice, else both bounds."""
        return list(self.choice or self.bounds or ())


class TuneConfig(Section):
    """A Ray Tune sweep over anything that a trained encoder depends on."""

    space: dict[str, SearchSpace]
    """Dotted keys and the values they may take: any key of the sections up to train, as `train.learning_rate` or
    `triplets.filter.min_score`, and `index.max_length`."""
    search: Literal["random", "grid", "optuna"] = "random"
    """random draws configurations; grid takes all combinations, of choices alone; optuna learns from finished trials
    which to try next, by a tree-structured Parzen estimator."""
    num_trials: Positive = 8
    """Configurations to try; grid takes all there are."""
    seeds: Annotated[list[int], Field(min_length=1)] | None = None
    """Every configuration is trained with each of these seeds and judged by the mean; the experiment's seed when null."""
    scheduler: Literal["asha", "none"] = "asha"
    """asha (arXiv 1810.05934) stops trials early that are behind at the same step; none lets all of them finish."""
    metric: Metric = "ndcg@10"
    """What to optimise on the dev part of `train.dev`."""
    grace_reports: Positive = 1
    """Reports before a trial may be stopped."""
    reduction_factor: Annotated[int, Field(ge=2)] = 2
    """ASHA keeps one of so many at each rung."""
    promote: bool = True
    """Let evaluate and index use the best trial's encoder."""

    @property
    def lower_is_better(self) -> bool:
        """Whether the metric is minimised."""
        return direction(self.metric) == "min"

    @field_validator("space")
    @classmethod
    def _not_empty(cls, space: dict[str, SearchSpace]) -> dict[str, SearchSpace]:
        if not space:
            raise ValueError("give at least one key")
        return space

    @field_validator("seeds")
    @classmethod
    def _different(cls, seeds: list[int] | None) -> list[int] | None:
        if seeds is not None and len(set(seeds)) < len(seeds):
            raise ValueError(f"{seeds} has a seed twice")
        return seeds


class EvaluationSet(Section):
    """One set that encoders are judged on."""

    name: str
    """How it is called in tables and in metrics.json."""
    kind: Literal["sts", "retrieval", "translation", "quality"]
    """sts: sentence1, sentence2, score; retrieval: a folder in BEIR form. Of the experiment's translator and
    COMET: translation: source, target (the references); quality: source, target, score (by people)."""
    path: str
    """TSV, BEIR folder, or `embedded:NAME`."""


class EvaluateConfig(Section):
    """What base and tuned encoder are compared on."""

    sets: list[EvaluationSet] = []
    """The sets, each with a name of its own."""

    @field_validator("sets")
    @classmethod
    def _unique(cls, sets: list[EvaluationSet]) -> list[EvaluationSet]:
        names = [one.name for one in sets]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two sets are named {name!r}")
        return sets


class IndexConfig(Section):
    """The corpus to search and how."""

    corpus: str
    """BEIR folder, JSONL, TSV, CSV or Parquet with text (and _id, title, metadata), or `embedded:NAME`."""
    kind: Literal["flat", "hnsw", "ivf"] = "flat"
    """flat is exact; hnsw and ivf are approximate, with recall@10 measured."""
    max_length: Annotated[int, Field(ge=4)] = 256
    """Tokens of a document that are embedded, here and in evaluation."""
    compute_type: Literal["auto", "float32", "float16", "bfloat16", "int8"] = "auto"
    """Precision of documents and queries: auto is float16 on a GPU; a CPU takes float32 for the halves; int8 is a CPU's."""
    num_actors: Positive | None = None
    """Copies of the encoder; one per GPU, or per CPU where there is none, when null."""


class ServeConfig(Section):
    """The HTTP server."""

    host: str = "127.0.0.1"
    """Address to bind."""
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    """Port to bind."""
    num_replicas: Positive = 1
    """Copies of encoder and index."""


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
    def _fits_together(self) -> "Experiment":
        if self.translate is None and self.score is not None:
            raise ValueError("score needs translate; set score: null as well")
        if self.translate is not None and self.translate.candidates and self.score is None:
            raise ValueError("translate.candidates needs score to compare them; it is null")
        wanted = self.triplets.filter
        if self.score is None and (wanted.min_score is not None or wanted.keep_share is not None):
            raise ValueError("triplets.filter needs score; it is null")
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


def section_of(annotation: Any) -> type[Section] | None:
    """The section that a field's type holds: itself, or in a list, a dict or beside null."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next((found for one in typing.get_args(annotation) if (found := section_of(one))), None)
