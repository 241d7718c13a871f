"""Rules over several sections of an experiment; those over one are beside it in settings.py.

Each raises ValueError with what is wrong and what to set.
"""

from collections.abc import Mapping

from nlift.settings import (
    MEASURED,
    EvaluateConfig,
    EvaluationSet,
    MineConfig,
    ScoreConfig,
    TrainConfig,
    TranslateConfig,
    TripletsConfig,
    TuneConfig,
)

Sets = Mapping[str, EvaluationSet]


def check_translation(
    translate: TranslateConfig | None, score: ScoreConfig | None, triplets: TripletsConfig, evaluate: EvaluateConfig
) -> None:
    """Nothing asks for translate or score where it is null."""
    if translate is None and score is not None:
        raise ValueError("score needs translate; set score: null as well")
    if translate is not None and translate.candidates and score is None:
        raise ValueError("translate.candidates needs score to compare them; it is null")
    limits = (triplets.filter.min_score, triplets.filter.keep_share)
    if score is None and any(limit is not None for limit in limits):
        raise ValueError("triplets.filter needs score; it is null")
    sections = {"translation": ("translate", translate), "quality": ("score", score)}
    for config in evaluate.sets:
        name, section = sections.get(config.kind, ("", config))
        if section is None:
            raise ValueError(f"evaluate.sets: {config.name!r} is of kind {config.kind}, which needs {name}; it is null")


def check_training(train: TrainConfig, tune: TuneConfig | None, sets: Sets) -> None:
    """What training and a sweep look at is there, and has the metric."""
    if train.dev is not None and train.dev not in sets:
        raise ValueError(f"train.dev is {train.dev!r}; evaluate.sets has {', '.join(sets) or 'none'}")
    dev = sets[train.dev] if train.dev is not None else None
    if dev is not None and dev.kind not in ("sts", "retrieval"):
        raise ValueError(f"train.dev is {train.dev!r}, a set of kind {dev.kind}; expected sts or retrieval")
    if tune is not None and dev is None:
        raise ValueError("tune needs train.dev, the set whose dev part it looks at")
    if train.metric is not None and dev is None:
        raise ValueError("train.metric needs train.dev, the set whose dev part it looks at")
    if train.patience is not None and train.metric is None:
        raise ValueError("train.patience needs train.metric, the metric that it watches")
    if train.gpus_per_worker < 1 and train.num_workers > 1:
        raise ValueError(
            f"train.gpus_per_worker is {train.gpus_per_worker:g} and train.num_workers {train.num_workers}; workers of "
            "one training need a GPU each: expected 1 of either"
        )
    if train.global_batch_size % train.num_workers:
        raise ValueError("train.global_batch_size must be a multiple of train.num_workers")
    for key, metric in {"train.metric": train.metric, "tune.metric": tune.metric if tune else None}.items():
        if dev is not None and metric is not None and metric not in MEASURED[dev.kind]:
            measured = ", ".join(MEASURED[dev.kind])
            raise ValueError(f"{key} is {metric}; train.dev {dev.name!r}, of kind {dev.kind}, has {measured}")


def check_guard(train: TrainConfig, sets: Sets, *, has_corpus: bool) -> None:
    """The guard's sets can be measured, and there is something to choose by; a whitening has texts to be fitted on."""
    for place, name in enumerate(train.guard):
        if name in train.guard[:place]:
            raise ValueError(f"train.guard has {name!r} twice")
        if name not in sets:
            raise ValueError(f"train.guard has {name!r}; evaluate.sets has {', '.join(sets) or 'none'}")
        if sets[name].kind not in ("sts", "retrieval"):
            raise ValueError(f"train.guard has {name!r}, of kind {sets[name].kind}; expected sts or retrieval")
    if train.guard and train.base_share != "auto":
        raise ValueError(f"train.guard needs train.base_share: auto; it is {train.base_share:g}")
    if train.guard and not (train.dev or has_corpus):
        raise ValueError("train.guard needs train.dev, or a corpus under cloze or index, to choose by")
    if train.dev in train.guard:
        raise ValueError(f"train.guard has {train.dev!r}, which is train.dev; expected further sets")
    if train.whitening is not None and not has_corpus:
        raise ValueError(f"train.whitening {train.whitening} needs a corpus under index or cloze to fit it on")
    if train.whitening == "auto" and train.base_share != "auto":
        raise ValueError(f"train.whitening: auto needs train.base_share: auto; it is {train.base_share:g}")
    if train.embedding_learning_rate is not None and train.freeze is not None:
        raise ValueError("train.embedding_learning_rate has nothing to do where train.freeze keeps the embeddings")


def check_lessons(
    train: TrainConfig, mine: MineConfig | None, translate: TranslateConfig | None, score: ScoreConfig | None
) -> None:
    """What train.loss distils is made, and nothing is made for it that it does not distil."""
    loss, ranks = train.loss, mine is not None and mine.finds == "rankings"
    if loss == "search_distillation" and not ranks:
        raise ValueError("train.loss search_distillation needs mine with finds: rankings, encoder and corpus")
    if ranks and loss != "search_distillation":
        raise ValueError(f"mine.finds: rankings needs train.loss: search_distillation; it is {loss}")
    if not loss.startswith("simcse") and train.distillation_batch_size < train.num_workers:
        raise ValueError(f"train.distillation_batch_size {train.distillation_batch_size}: fewer than train.num_workers")
    if loss != "translation_distillation":
        keys = ("teacher", "teacher_revision", "parallel", "min_comet")
        idle = [key for key in keys if getattr(train, key) not in (None, [])]
        if idle:
            raise ValueError(f"train.{idle[0]} needs train.loss: translation_distillation; it is {loss}")
        return
    _check_teacher(train, translate, score)


def _check_teacher(train: TrainConfig, translate: TranslateConfig | None, score: ScoreConfig | None) -> None:
    if train.teacher is None:
        raise ValueError("train.loss translation_distillation needs train.teacher, an encoder of the sources")
    if translate is None and not train.parallel:
        raise ValueError("train.loss translation_distillation needs translate, or files under train.parallel")
    if train.min_comet is not None and score is None:
        raise ValueError("train.min_comet needs score; it is null")
