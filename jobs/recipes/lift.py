"""How much fine-tuning lifts an encoder: the demo over several seeds, and what each of its parts gives.

NLI triplets alone, pairs of the corpus alone, all of it from a randomly initialised encoder, and what a search and a
teacher of English add.
"""

import statistics
from pathlib import Path
from typing import Any

import torch
from scipy.stats import t
from transformers import AutoModel

from nlift import cluster, pipeline, progress
from nlift.config import Experiment, load_experiment
from nlift.evaluation.comparisons import BM25, BM25_PLAIN
from nlift.models.encoder import Encoder
from nlift.pipeline import evaluate
from nlift.pipeline.evaluate import Contender
from nlift.pipeline.train import before_training

SEEDS = (1, 2, 3)
AS_TRAINED = {"train.base_share": 0}  # no guard: what is asked is what training gives
RANKINGS = {"finds": "rankings", "encoder": "embedded", "corpus": "embedded:poquad_pl"}
SEARCH = {
    "mine": RANKINGS,
    "train.loss": "search_distillation",
    "train.embedding_learning_rate": 1e-2,
    "train.epochs": 4,
    "train.base_share": 0.25,
}
TRANSLATIONS = {"train.loss": "translation_distillation", "train.embedding_learning_rate": 1e-2}
PARTS: dict[str, dict[str, Any]] = {  # each with the settings that were best for it on the dev parts
    "NLI alone": {"cloze": None, "train.base_share": 0.6},
    "corpus alone": {"cloze.triplets": False, "train.epochs": 4, **AS_TRAINED},
    "search alone": {**SEARCH, "train.distillation_share": 1},
    "NLI and search": {**SEARCH, "cloze": None},
    "NLI, corpus and search": SEARCH,
    "translations alone": {
        **TRANSLATIONS,
        "cloze": None,
        "train.distillation_share": 1,
        "train.epochs": 4,
        "train.base_share": 0.5,
    },
    "NLI and translations": {**TRANSLATIONS, "cloze": None, "train.base_share": 0.25},
    "NLI, corpus and translations": {**TRANSLATIONS, **AS_TRAINED},
    "tuned": {},
}
COLUMNS = (
    ("retrieval", "recall@100"),
    ("retrieval", "recall@10"),
    ("retrieval", "ndcg@10"),
    ("sts", "spearman"),
    ("geometry", "uniformity"),
    ("geometry", "alignment"),
)


def random_encoder(folder: Path, seed: int) -> Path:
    """The embedded encoder's shape and tokenizer with fresh weights."""
    torch.manual_seed(seed)
    encoder = Encoder.load("embedded")
    encoder.backbone = AutoModel.from_config(encoder.backbone.config, add_pooling_layer=False)
    encoder.save(folder)
    return folder


def variants(
    path: Path, work: Path, wanted: list[str], teacher: str | None, parallel: list[str]
) -> dict[str, list[Experiment]]:
    """The wanted variants of the demo, each by seed; where none is named all of them for which there is a teacher.

    `parallel` are files of translations for it to teach, beside those of the NLI pairs.
    """
    demo = load_experiment(path)
    taught = {title for title, changes in PARTS.items() if TRANSLATIONS.items() <= changes.items()}
    experiments: dict[str, list[Experiment]] = {}
    for seed in SEEDS:
        base = random_encoder(work / f"random-{seed}", seed)
        random_base = {"train.base_model": str(base), **AS_TRAINED}
        for title, changes in {"random, tuned": random_base, **PARTS}.items():
            if (wanted and title not in wanted) or (title in taught and teacher is None):
                continue
            # The index is left out, so its length, which evaluation uses, is the default: the demo's.
            shared: dict[str, Any] = {
                "name": f"lift-{title.replace(', ', '-').replace(' ', '-')}-{seed}",
                "seed": seed,
                "index": None,
                "tune": None,
            }
            if title in taught:
                shared |= {"train.teacher": teacher, "train.parallel": parallel}
            experiments.setdefault(title, []).append(demo.override({**shared, **changes}))
    return experiments


def show(path: Path, work: Path, wanted: list[str], teacher: str | None, parallel: list[str]) -> None:
    """Train the wanted variants, measure them on the demo's sets, print mean and 95 % interval."""
    progress.show()
    experiments = variants(path, work, wanted, teacher, parallel)
    first = next(iter(experiments.values()))[0]
    contenders = [
        Contender("base", "embedded", pooling=first.train.pooling),
        Contender("random", str(work / "random-1")),
    ]
    for name, group in experiments.items():
        for experiment in group:
            stages = [stage.name for stage in before_training(experiment)]
            pipeline.run(experiment, [*stages, "train"])
            encoder = experiment.folder / "train" / "encoder"
            hybrid = f"hybrid {experiment.seed}" if name == "tuned" else None
            contenders.append(Contender(f"{name} {experiment.seed}", str(encoder), hybrid))
    cluster.connect(first.cluster)
    measured = evaluate.collect(evaluate.measure_all(first, contenders))["encoders"]
    rows = {name: [name] for name in (BM25_PLAIN, BM25, "random", "base")}
    seeded = [*experiments, *(["hybrid"] if "tuned" in experiments else [])]
    rows |= {name: [f"{name} {seed}" for seed in SEEDS] for name in seeded}
    for set_name in dict.fromkeys(dataset.name for dataset in first.evaluate.sets):
        print(f"\n**{set_name}**\n")
        print("\n".join(_table(measured, set_name, rows)))


def _table(measured: dict[str, Any], set_name: str, rows: dict[str, list[str]]) -> list[str]:
    """What was measured on a set, as lines of Markdown; `rows` has the encoders of each row by its title."""
    columns = [(group, metric) for group, metric in COLUMNS if set_name in measured["base"].get(group, {})]
    lines = ["| encoder | " + " | ".join(metric for _, metric in columns) + " |", "|---|" + "---:|" * len(columns)]
    for title, names in rows.items():
        cells = [
            cell([measured[name][group].get(set_name, {}).get(metric) for name in names]) for group, metric in columns
        ]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return lines


def cell(values: list[float | None]) -> str:
    """The value, or mean and half the width of the 95 % interval (Student's t) over seeds."""
    known = [value for value in values if value is not None]
    if not known:
        return ""
    if len(known) == 1:
        return f"{known[0]:.3f}"
    half = t.ppf(0.975, len(known) - 1) * statistics.stdev(known) / len(known) ** 0.5
    return f"{statistics.mean(known):.3f} ± {half:.3f}"
