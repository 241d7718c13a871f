"""The sections of an experiment: every setting, its default and what it means.

Rules over one section are here; rules over several are in config.py.
"""

import math
import typing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

Share = Annotated[float, Field(gt=0, le=1)]
Positive = Annotated[int, Field(gt=0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


def _number_or(
    word: str, low: float, high: float = math.inf, *, whole: bool = False, null: bool = False
) -> BeforeValidator:
    """Takes a word, or a number of a range, with one line for all that is neither."""
    kind = "a whole number" if whole else "a number"
    span = f"{kind} from {low:g} to {high:g}" if high < math.inf else f"{kind} of {low:g} or more"

    if null:
        span += ", or null"

    def check(value: Any) -> Any:
        number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
        if (null and value is None) or value == word or (number and low <= value <= high):
            return value
        raise ValueError(f"found {value!r}, expected {word} or {span}")

    return BeforeValidator(check)


LabelName = Literal["entailment", "neutral", "contradiction"]


@dataclass(frozen=True)
class Metric:
    """A number that encoders are compared by, and where it is shown."""

    name: str
    group: Literal["sts", "retrieval", "geometry", "transfer"]
    """Where it stands in metrics.json."""
    lower_is_better: bool = False
    summary: bool = False
    """Whether the console's short table has it."""
    report: bool = True
    """Whether the table of report.html has it."""


METRICS = (
    Metric("spearman", "sts", summary=True),
    Metric("pearson", "sts", report=False),
    Metric("ndcg@10", "retrieval", summary=True),
    Metric("recall@10", "retrieval", summary=True),
    Metric("recall@100", "retrieval", summary=True),
    Metric("precision@10", "retrieval", report=False),
    Metric("mrr@10", "retrieval"),
    Metric("map", "retrieval"),
    Metric("accuracy", "transfer", summary=True),
    Metric("macro_f1", "transfer"),
    Metric("triplet_accuracy", "transfer"),
    Metric("uniformity", "geometry", lower_is_better=True, summary=True),
    Metric("alignment", "geometry", lower_is_better=True, summary=True),
    Metric("anisotropy", "geometry", lower_is_better=True),
    Metric("effective_rank", "geometry"),
)


def _names(*groups: str) -> tuple[str, ...]:
    return tuple(metric.name for group in groups for metric in METRICS if metric.group == group)


MEASURED = {  # on the dev part of a set of this kind
    "sts": _names("sts", "geometry"),
    "retrieval": _names("retrieval", "geometry"),
}

if TYPE_CHECKING:
    MetricName = str
else:
    MetricName = Literal[_names("retrieval", "sts", "geometry")]


def direction(metric: str | None) -> Literal["min", "max"]:
    """Whether a metric is minimised or maximised."""
    return "min" if any(row.name == metric and row.lower_is_better for row in METRICS) else "max"


class Section(BaseModel):
    """What all sections share: frozen, and closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


class ClusterConfig(Section):
    """Where Ray runs."""

    address: str = "local"
    """`local` starts Ray on this machine; `auto` joins the cluster that this machine is part of."""
    num_cpus: Positive | None = None
    """CPUs that a local Ray may use; all of them when null."""
    memory_dir: str | None = None
    """Folder or URI (s3://, gs://) of the translation and score memories, shared by experiments; output_dir when
    null."""


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
    label_names: dict[str, LabelName] = {}
    """What other labels mean, as {E: entailment, N: neutral, C: contradiction}; a row with any other is set aside."""
    labels: Annotated[list[LabelName], Field(min_length=1)] = ["entailment", "neutral", "contradiction"]
    """Labels to take; triplets never need neutral pairs, so leaving them out saves their translation."""

    @field_validator("label_names", mode="before")
    @classmethod
    def _numbers_are_names(cls, names: Any) -> Any:
        return {str(name): label for name, label in names.items()} if isinstance(names, dict) else names

    @model_validator(mode="after")
    def _path_or_dataset(self) -> "NLIConfig":
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
    length_penalty: float = 1.0
    """Power of its length that a hypothesis's log-probability is divided by; above 1 translations get longer."""
    no_repeat_ngram_size: Annotated[int, Field(ge=0)] = 0
    """No sequence of so many tokens stands twice in a translation; 0 allows repeats."""
    max_new_tokens: Positive = 96
    """Longest translation, in the model's tokens."""
    batch_tokens: Positive | None = None
    """Padded source tokens in one forward pass; 2,048 on a CPU, 8,192 on a GPU when null. Does not change results."""
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
    """Precision of the encoder, by autocast; auto: float16 on a GPU, float32 on a CPU, which takes that for float16
    too."""
    batch_tokens: Positive | None = None
    """Padded tokens in one forward pass; 1,024 on a CPU, 32,768 on a GPU when null. Changes results by rounding
    alone."""
    shard_size: Positive = 1024
    """Scores committed to the memory at a time."""
    num_actors: Positive | None = None
    """Copies of the model; one per GPU, or per CPU where there is none, when null."""


class FilterConfig(Section):
    """Which triplets are good enough; everything is kept by default, which the paper found best."""

    min_score: float | None = None
    """Drop triplets scored below this; the paper tries 0.05."""
    keep_share: Share | None = None
    """Keep this share of triplets."""
    keeps: Literal["best", "worst", "random"] = "best"
    """Which share: the best scored; the worst or a random one, to see what the score is worth."""
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
    """Hard negatives from a corpus, found with a previous encoder; or what a search of it finds, to be distilled."""

    finds: Literal["negatives", "rankings"] = "negatives"
    """negatives: hard negatives of the triplets; rankings: passages for queries made of the corpus's own sentences and
    titles, ranked by BM25 and the encoder together, for `train.loss: search_distillation`."""
    encoder: str
    """Encoder that finds them: a folder as runs/first/train/encoder, a hub name, or `embedded`."""
    revision: str | None = None
    """Revision of a hub model."""
    query_prefix: str | None = None
    """Put before anchors and queries; as the encoder has it when null."""
    passage_prefix: str | None = None
    """Put before the texts to choose from; as the encoder has it when null."""
    corpus: str | None = None
    """Texts to choose from, as `index.corpus`; the triplets' own positives and negatives when null, which rankings do
    not have."""
    top_k: Positive = 50
    """Nearest texts of an anchor that are looked at."""
    margin: Annotated[float, Field(ge=-2, le=2)] = 0.05
    """A text nearer to the anchor than the anchor's positive less this (cosine) may be a positive, and is left out."""
    num_negatives: Positive = 1
    """Hard negatives of a triplet; each makes a row of its own."""
    list_size: Annotated[int, Field(ge=2)] = 16
    """Passages that are ranked for a query."""
    limit: Positive | None = 100_000
    """Queries to rank passages for at most, drawn at random; all of them when null."""
    replace: bool = False
    """Put mined negatives in the place of contradictions too, where some are found."""
    max_length: Annotated[int, Field(ge=4)] = 256
    """Tokens of a text that are embedded."""
    num_actors: Positive | None = None
    """Copies of the encoder; one per GPU, or per CPU where there is none, when null."""

    @model_validator(mode="after")
    def _rankings_have_a_corpus(self) -> "MineConfig":
        if self.finds == "rankings" and self.corpus is None:
            raise ValueError("finds: rankings needs corpus, whose passages are ranked")
        return self


class ClozeConfig(Section):
    """Pairs made of a corpus's own text, beside the triplets: a sentence and the rest of its document."""

    corpus: str
    """Texts to make them of, as `index.corpus`: the one to be searched, or more of its kind."""
    pairs_per_document: Positive = 5
    """Sentences of a document that become anchors, drawn at random; all of them where there are fewer."""
    keep_share: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Share of pairs whose positive is the whole document, its anchor too, so that equal words count as well."""
    min_characters: Positive = 20
    """Shorter sentences are no anchors; a title may be."""
    limit: Positive | None = None
    """Pairs at most, drawn at random; all of them when null."""
    triplets: bool = True
    """Train on the triplets too; false trains on the pairs alone, as a control."""


class TrainConfig(Section):
    """Supervised SimCSE (arXiv 2104.08821) on Ray Train."""

    base_model: str = "embedded"
    """Hub name, local folder, or `embedded`."""
    revision: str | None = None
    """Revision of a hub model."""
    mode: Literal["triplets", "pairs", "hard_negatives_only", "unsupervised"] = "triplets"
    """triplets, or pairs without hard negatives. Controls, whose positive is the anchor under another dropout mask:
    hard_negatives_only (the row's contradiction is the only negative), unsupervised (over all sentences)."""
    loss: Literal["simcse", "simcse_reference", "search_distillation", "translation_distillation"] = "simcse"
    """simcse is exact over all workers; simcse_reference has the original code's gradients and knows no rows of equal
    text. Together with simcse: search_distillation learns to rank as the search of `mine.finds: rankings`;
    translation_distillation gives a sentence and its translation the vector that `teacher` has of the sentence."""
    distillation_share: Share = 0.5
    """Weight of what is distilled in the loss; the rest is simcse, which 1 leaves out."""
    distillation_batch_size: Positive = 192
    """Queries, or translations, of a step that are distilled, over all workers."""
    search_temperature: Annotated[float, Field(ge=0.001)] = 0.1
    """Of search_distillation: divides the search's scores, 0 to 1, before they are probabilities; lower trusts the
    first passage alone."""
    teacher: Annotated[str, Field(min_length=1)] | None = None
    """Encoder of the source language for translation_distillation: a folder or hub name. Of a longer vector than the
    base model's the directions of most variance are taught."""
    teacher_revision: str | None = None
    """Revision of a hub teacher."""
    parallel: list[str] = []
    """Further translations for translation_distillation: TSV, CSV, JSONL or Parquet with source and target."""
    min_comet: float | None = None
    """Of translation_distillation: leave out translations scored below this. All others count by their score, and one
    of 0 or less for nothing."""
    learning_rate: Annotated[float, Field(gt=0)] = 5e-5
    """Peak of the schedule: linear warm-up, linear decay."""
    embedding_learning_rate: Annotated[float, Field(gt=0)] | None = None
    """Peak for the word embeddings, of which a batch touches few; as all the rest when null."""
    epochs: Annotated[float, Field(gt=0)] = 3
    """Passes over the triplets; a fraction is allowed."""
    global_batch_size: Annotated[int, Field(gt=1)] = 512
    """Triplets per step over all workers; each other's negatives, but for those that share a text or document."""
    device_batch_size: Annotated[int | Literal["auto"] | None, _number_or("auto", 1, whole=True, null=True)] = "auto"
    """Triplets in a worker's memory at a time; GradCache computes the same gradients in pieces. auto: as many as its
    share of the total memory surely holds; null: all at once."""
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
    pooling: Literal["mean", "cls"] | None = None
    """How token vectors become one; as the base model has it when null, which is mean where it does not say."""
    mlp_head: bool | Literal["training"] | None = None
    """A dense layer and tanh over the pooled vector: kept at inference, or there in `training` only; as the base model
    has it when null, which is mostly none. One that the base model lacks is fresh."""
    freeze: Annotated[int | Literal["embeddings"] | None, _number_or("embeddings", 1, whole=True, null=True)] = None
    """What stays as the base model has it: its embeddings, or these and so many of its first layers."""
    base_share: Annotated[float | Literal["auto"], _number_or("auto", 0, 1)] = "auto"
    """Share of the base model's weights in the saved encoder (WiSE-FT), which keep what fine-tuning on one kind of text
    forgets; 1 is the base model. auto, the guard: what is best on the dev part of `dev`, without that on pairs made of
    the documents that training left out; 0 where there is neither."""
    guard: list[str] = []
    """Further sets of whose dev parts the encoder may lose no more than `guard_margin` to the base model; of a
    retrieval set with fewer than 50 dev queries, pairs of its documents."""
    guard_margin: Annotated[float, Field(ge=0, le=1)] = 0.01
    """How much it may lose: NDCG@10 on a retrieval set, Spearman's correlation on sts."""
    whitening: Annotated[float | Literal["auto"] | None, _number_or("auto", 0, 0.5, null=True)] = None
    """Power of the inverse variances in a linear layer that spreads the corpus's vectors (soft whitening); 0.5 is all
    of it, 0 centres alone. auto: the guard tries 0.25 too. It lifts small encoders alone, and costs a search that
    weighs words too."""
    query_prefix: str | None = None
    """Put before queries (and anchors); as the base model has it when null."""
    passage_prefix: str | None = None
    """Put before documents (and positives and negatives); as the base model has it when null."""
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
    """Workers on GPUs; null takes them where the cluster has enough."""
    gpus_per_worker: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Of a GPU, where workers have any: 0.5 lets two trials of a sweep share one. Less than 1 is for a single worker:
    those of one training cannot share a GPU."""
    dev: str | None = None
    """Name of the evaluation set whose dev part is watched during training."""
    checkpoint_every_steps: Positive = 100
    """Steps between checkpoints (and dev measurements)."""
    metric: MetricName | None = None
    """Keep the checkpoint that is best by this on the dev part, not the last one."""
    patience: Positive | None = None
    """Stop after so many measurements in a row without a better `metric`."""
    storage: str | None = None
    """Folder or URI (s3://, gs://) of checkpoints while training runs, one that all machines reach; the run's when
    null."""
    max_failures: Annotated[int, Field(ge=0)] = 2
    """Lost workers to recover from, each time from the last checkpoint."""

    @property
    def fixed_base_share(self) -> float:
        """The base model's share in what is measured and saved during training; 0 where it is chosen afterwards."""
        return 0.0 if self.base_share == "auto" else self.base_share

    @property
    def simcse_share(self) -> float:
        """The weight of simcse in the loss."""
        return 1.0 if self.loss.startswith("simcse") else 1 - self.distillation_share


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
    def _kind_and_bounds(self) -> "SearchSpace":
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
    seeds: Annotated[list[Seed], Field(min_length=1)] | None = None
    """Every configuration is trained with each of these seeds and judged by the mean; the experiment's seed when
    null."""
    scheduler: Literal["asha", "none"] = "asha"
    """asha (arXiv 1810.05934) stops trials early that are behind at the same step; none lets all of them finish."""
    metric: MetricName = "ndcg@10"
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

    name: Annotated[str, Field(min_length=1, max_length=100)]
    """How it is called in tables, in metrics.json and in the names of its files."""
    kind: Literal["sts", "retrieval", "classification", "pair_classification", "translation", "quality"]
    """sts: sentence1, sentence2, score; retrieval: a folder in BEIR form. What a linear probe learns over frozen
    vectors: classification: text, label; pair_classification: sentence1, sentence2 (or premise, hypothesis), label. Of
    the experiment's translator and COMET: translation: source, target (the references); quality: source, target, score
    (by people)."""
    path: str | None = None
    """TSV, CSV, JSONL or Parquet file, BEIR folder, or `embedded:NAME`; what is reported."""
    train: str | None = None
    """File that a probe learns from; when null each fifth of `path` is predicted from the other four."""
    dataset: str | None = None
    """Name of a data set on the Hugging Face hub in place of `path`; not for retrieval."""
    subset: str | None = None
    """Its subset."""
    revision: str | None = None
    """Its branch, tag or commit; the main branch when null."""
    split: str = "test"
    """Its split that is reported."""
    train_split: str | None = None
    """Its split that a probe learns from; as `train` when null."""
    columns: dict[str, str] = {}
    """Columns by our names, where the data has others: `{text: sentence}`. An sts set's `subset` (or `genre`, or
    `dataset`) says which part a pair is of: each has a figure beside the whole."""
    scale: tuple[float, float] | None = None
    """Lowest and highest score that an sts set's scale has: another score is refused. As the data has them when
    null."""
    language: str | None = None
    """Language of a retrieval set's documents, ISO 639-1; as `search.language` has it when null."""
    ignore_identical_ids: bool | None = None
    """Whether a document with the query's own id is left out of its ranking, as BEIR does for ArguAna and Quora; when
    null where it has the query's text."""

    @model_validator(mode="after")
    def _source_fits(self) -> "EvaluationSet":
        if (self.path is None) == (self.dataset is None):
            raise ValueError(f"{self.name!r} needs path or dataset, exactly one of them")
        probed = self.kind in ("classification", "pair_classification")
        if not probed and (self.train is not None or self.train_split is not None):
            raise ValueError(f"{self.name!r} is of kind {self.kind}; only what a probe learns has a training part")
        if self.kind == "retrieval" and (self.dataset is not None or self.columns):
            raise ValueError(f"{self.name!r} is of kind retrieval; expected path, a BEIR folder, and no columns")
        if self.dataset is None and (self.subset or self.train_split):
            raise ValueError(f"{self.name!r} has subset or train_split without dataset; a file's is train")
        if self.dataset is None and self.revision is not None:
            raise ValueError(f"{self.name!r} has revision without dataset")
        if self.dataset is not None and self.train is not None:
            raise ValueError(f"{self.name!r} has dataset and train; expected train_split")
        return self

    @model_validator(mode="after")
    def _of_sts(self) -> "EvaluationSet":
        if self.scale is not None and self.kind != "sts":
            raise ValueError(f"{self.name!r} is of kind {self.kind}; only sts has a scale")
        if self.scale is not None and not self.scale[0] < self.scale[1]:
            low, high = self.scale
            raise ValueError(f"{self.name!r} has the scale {low:g} to {high:g}; expected the lowest score first")
        return self

    @model_validator(mode="after")
    def _of_retrieval(self) -> "EvaluationSet":
        if self.language is not None and self.kind != "retrieval":
            raise ValueError(f"{self.name!r} is of kind {self.kind}; only retrieval has a language, of its words")
        return self


SetList = Literal["klej", "senteval", "sts", "mteb_pol"]


class EvaluateConfig(Section):
    """What base and tuned encoder are compared on."""

    lists: list[SetList] = []
    """Sets of the hub that come ready, put behind `sets`: klej (Polish), senteval and sts (English: STS12-16, STS-B,
    SICK-R), mteb_pol (Polish: what of MTEB(pol, v1) is classification or sts)."""
    sets: list[EvaluationSet] = []
    """The sets, each with a name of its own."""
    keep_runs: bool = True
    """Whether every encoder's TREC runs are kept: a thousand hits a query, of 3,000 queries some 120 MB. A study keeps
    none."""
    measures: list[str] = []
    """Further measures of retrieval by their names in ir-measures, as `nDCG@20`, `P@5`, `AP(rel=2)`."""

    @field_validator("measures")
    @classmethod
    def _known_measures(cls, measures: list[str]) -> list[str]:
        if measures:
            import ir_measures

            for name in measures:
                try:
                    known = ir_measures.DefaultPipeline.supports(ir_measures.parse_measure(name))
                except (ValueError, NameError, SyntaxError, TypeError, AssertionError) as error:
                    raise ValueError(f"{name!r} is no measure of ir-measures: {error}") from None
                if not known:
                    raise ValueError(f"{name!r} cannot be computed here; expected one as nDCG@20, P@5, AP(rel=2)")
        if len(set(measures)) < len(measures):
            raise ValueError("a measure stands twice")
        return measures

    @field_validator("sets")
    @classmethod
    def _unique(cls, sets: list[EvaluationSet]) -> list[EvaluationSet]:
        files = [evaluation_set.name.replace("/", "--").casefold() for evaluation_set in sets]
        for evaluation_set, file in zip(sets, files, strict=True):
            name = evaluation_set.name
            if files.count(file) > 1:
                raise ValueError(f"two sets are named {name!r}, or so that their files would have the same name")
            if not name.isprintable() or name.isspace():
                raise ValueError(f"a set is named {name!r}; expected a name that can be printed")
        return sets


class SearchConfig(Section):
    """How a corpus is searched, in evaluation as in the index: `auto` is chosen on queries that nobody reports."""

    language: str = "auto"
    """Language of the corpus, ISO 639-1; auto: recognised in its texts, translate.target_language where that is not
    clear."""
    analyzer: Literal["auto", "stem", "none", "bigrams"] = "auto"
    """Words that BM25 counts: stem (Snowball), none (as they are), bigrams (scripts without spaces); auto: the best one
    on the dev part of `train.dev`, without that the language's usual one."""
    fusion: Literal["convex", "rrf"] = "convex"
    """How a hybrid search joins both legs: convex, the weighted sum of scores from 0 to 1, or rrf, reciprocal ranks."""
    alpha: Annotated[float | Literal["auto"], _number_or("auto", 0, 1)] = "auto"
    """Weight of the dense leg; auto: the best one on the dev part of `train.dev`, without that on pairs made of the
    corpus."""
    depth: Positive = 100
    """Candidates of each leg of a hybrid search, whatever top_k is."""
    mode: Literal["auto", "dense", "lexical", "hybrid"] = "auto"
    """What search means when nobody says; auto: what is best where alpha is chosen."""


class IndexConfig(Section):
    """The corpus to search and how."""

    corpus: str
    """BEIR folder, JSONL, TSV, CSV or Parquet with text (and _id, title, metadata), a glob or an s3:// or gs:// URI of
    such files, or `embedded:NAME`."""
    kind: Literal["auto", "flat", "hnsw", "ivf_flat", "ivf_pq"] = "auto"
    """flat is exact; hnsw, ivf_flat and ivf_pq are approximate and search as widely as recall@10 of 0.99 needs; ivf_pq
    keeps codes of vectors in memory and scores what it found again. auto: flat below 100,000 documents, hnsw below a
    million, ivf_flat above."""
    max_length: Annotated[int, Field(ge=4)] = 256
    """Tokens of a passage that are embedded, here and in evaluation."""
    passages: bool = True
    """Whether a document of more tokens is embedded in several passages, and found by its best; else the rest of it is
    not embedded. Here and in evaluation."""
    overlap: Annotated[int, Field(ge=0)] = 32
    """Tokens that a passage shares with the one before; at most half of it."""
    shards: Positive = 1
    """Indexes that an approximate kind is built in, each of a part of the documents, so that as many servers can share
    them (`service.shards` of the server's settings); a flat one can be shared in any number."""
    compute_type: Literal["auto", "float32", "float16", "bfloat16", "int8"] = "auto"
    """Precision of documents and queries: auto is float16 on a GPU and float32 on a CPU, which takes that for float16
    too; int8 is a CPU's."""
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


def section_of(annotation: Any) -> type[Section] | None:
    """The section that a field's type holds: itself, or in a list, a dict or beside null."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    sections = (section_of(argument) for argument in typing.get_args(annotation))
    return next((section for section in sections if section is not None), None)
