"""The text of a model card, below its front matter: Markdown in which names are text and never markup."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from nlift.config import Experiment
from nlift.data.files import read_json
from nlift.evaluation.comparisons import BM25_PLAIN
from nlift.models import encoder_format
from nlift.pipeline.stage import Stage
from nlift.pipeline.stage_folder import read_manifest
from nlift.report import tables, training_tables
from nlift.report.card_results import OWN, Results
from nlift.report.licences import UNKNOWN, is_non_commercial, is_share_alike
from nlift.report.provenance import Source, is_translated
from nlift.report.tables import Column, Row, Table
from nlift.visible import visible, visible_page

HERE = Path(__file__).parent
TEMPLATE = "model_card.md.j2"
MARKUP = re.compile(r"[\\\\`*\[\]<>|#~$]|(?<!\w)_|_(?!\w)")
BLANK_LINES = re.compile(r"\n{3,}")
NOT_STATED = "licence not stated"
PACKAGES = ("torch", "transformers")
SETTINGS = (
    "mode",
    "loss",
    "learning_rate",
    "epochs",
    "global_batch_size",
    "num_workers",
    "temperature",
    "hard_negative_weight",
    "max_length",
    "pooling",
    "freeze",
    "weight_decay",
    "warmup_share",
)


def text_of(
    experiment: Experiment, stage: Stage, folder: Path, made_of: list[Source], languages: list[str], results: Results
) -> str:
    """The text of the card of a stage's encoder, whose folder is given; `experiment` is what it was trained by."""
    manifest, form = read_manifest(folder), encoder_format.read(str(folder / "encoder"), None)
    encoders = {name: row for name, row in results.metrics.get("encoders", {}).items() if name != BM25_PLAIN}
    compared = [row for row in results.comparisons if row["name"] == OWN]
    page = _template().render(
        name=experiment.name,
        languages=languages,
        dim=read_json(folder / "encoder" / "config.json")["hidden_size"],
        base=made_of[0],
        prefixes={role: prefix for role, prefix in form.prefixes.items() if prefix} if form else {},
        results=tables.encoders_table(encoders, tables.short_metrics()) if encoders else None,
        differences=tables.comparisons_table(compared) if compared else None,
        watched=results.watched,
        made_of=_made_of_table(made_of),
        unstated=[source.name for source in made_of if source.licence == UNKNOWN],
        non_commercial=[source.name for source in made_of if is_non_commercial(source.licence)],
        share_alike=[source.name for source in made_of if is_share_alike(source.licence)],
        settings=_settings_table(experiment, manifest),
        kept=training_tables.guard_line(manifest["guard"]) if manifest.get("guard") else "",
        stage=stage.name,
        manifest=manifest,
        packages=[(name, manifest["packages"][name]) for name in PACKAGES],
        limits=list(_limits(experiment, form.max_length if form else None, manifest, results)),
    )
    return BLANK_LINES.sub("\n\n", visible_page(page))


def escaped(text: str) -> str:
    """A text as Markdown that shows it, in a table's cell too."""
    return MARKUP.sub(r"\\\g<0>", visible(text))


def _template() -> Any:
    environment = Environment(
        loader=FileSystemLoader(HERE), undefined=StrictUndefined, trim_blocks=True, autoescape=False
    )
    environment.filters["md"] = escaped
    return environment.get_template(TEMPLATE)


def _made_of_table(made_of: list[Source]) -> Table:
    rows = (
        Row((source.use, source.name, NOT_STATED if source.licence == UNKNOWN else source.licence, source.note))
        for source in made_of
    )
    return Table("", tuple(Column(name, words=True) for name in ("use", "what", "licence", "")), tuple(rows))


def _settings_table(experiment: Experiment, manifest: dict[str, Any]) -> Table:
    values = {
        "rows": f"{manifest['rows_out']:,}" if "steps" in manifest else None,
        "trials": manifest["rows_out"] if "best" in manifest else None,
        **{name: getattr(experiment.train, name) for name in SETTINGS},
        "seed": experiment.seed,
        "steps": manifest.get("steps"),
        "best step on the dev part": manifest.get("best_step"),
    }
    rows = (Row((name, str(value))) for name, value in values.items() if value is not None)
    return Table("", (Column("setting", words=True), Column("value")), tuple(rows))


def _limits(
    experiment: Experiment, max_length: int | None, manifest: dict[str, Any], results: Results
) -> Iterator[str]:
    """What is known to be weak."""
    if (manifest.get("guard") or {}).get("chosen") == "base":
        yield "Its weights are those of the base model: training made it no better."
    if max_length is not None:
        yield f"Of a text the first {max_length} tokens count; nlift cuts longer documents into passages."
    if is_translated(experiment):
        yield "It learnt from machine translations, whose mistakes it may have learnt too."
    if experiment.train.base_model == "embedded":
        yield "The model that it was trained from is a small one for demonstrations; take a larger one for real use."
    for row in results.comparisons:
        if row["name"] == OWN and row["difference"] <= 0:
            figures = f"{row['metric']} {row['value']:.3f}, {row['against']} {row['against_value']:.3f}"
            yield f"On {row['set']} {row['against']} is no worse: {figures}."
    if results.metrics:
        yield "Other domains, languages and kinds of text than those of the results were not measured."
