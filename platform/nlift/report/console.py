"""What a person sees at the end of a command: tables, sample searches, paths."""

import json
import sys
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from nlift.config import Experiment
from nlift.evaluation import comet_summary, translation
from nlift.evaluation.datasets import RetrievalSet, load_set
from nlift.pipeline import evaluate, index, score, train, translate, triplets, tune
from nlift.pipeline.stage import StageResult, read_manifest
from nlift.pipeline.tuned_encoder import tuned_encoder
from nlift.report import html, tables
from nlift.report.tables import Table
from nlift.search.bundle import Bundle, Hit
from nlift.tuning.trials import described

SAMPLE_QUERIES = 3
SAMPLE_TRANSLATIONS = 3  # of each kind; quality.json and the report have twenty
SNIPPET_CHARACTERS = 70


def console() -> Console:
    """Standard output; wide enough for the tables where it is no terminal, whose width is known."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 110)


def draw(table: Table) -> None:
    """Print a table."""
    drawn = RichTable(title=escape(table.title), title_justify="left")
    for column in table.columns:
        drawn.add_column(escape(column.name), justify="left" if column.words else "right")
    for row in table.rows:
        if row.first and row is not table.rows[0]:
            drawn.add_section()
        drawn.add_row(*map(escape, row.cells), style="bold" if row.strong else None)
    console().print(drawn)


def show_run(experiment: Experiment, results: list[StageResult]) -> None:
    """The end of `nlift run`: metrics, sample searches, paths."""
    fresh = {result.name for result in results if result.seconds}
    names = {result.name for result in results}
    if not fresh:
        print("nothing to do: every stage is done")
    if score.STAGE.name in fresh or names == {score.STAGE.name}:
        show_quality(experiment)
    if evaluate.STAGE.name in names:
        show_metrics(evaluate.read_metrics(evaluate.STAGE.path(experiment)))
    if index.STAGE.name in fresh:
        _show_samples(experiment)
    if train.STAGE.name in names:
        searched = names & {evaluate.STAGE.name, index.STAGE.name}
        print(f"encoder  {tuned_encoder(experiment) if searched else train.STAGE.path(experiment) / 'encoder'}")
    _show_report(experiment)
    if index.STAGE.name in names:
        print(f"bundles  {index.STAGE.path(experiment)}")
    seconds = sum(result.seconds for result in results)
    print(f"{seconds / 60:.1f} minutes" if seconds >= 60 else f"{seconds:.0f} s")


def show_metrics(metrics: dict[str, Any]) -> None:
    """A row per set and encoder; then translators and COMET where people's work is there to compare with."""
    draw(tables.encoders_table(metrics["encoders"], tables.short_metrics()))
    for kind in translation.KINDS:
        for set_name, models in metrics.get(kind, {}).items():
            for model, values in models.items():
                numbers = ", ".join(f"{name} {value:.3f}" for name, value in values.items() if name != "pairs")
                line = f"{kind} {set_name}: {model} {numbers} ({values['pairs']} pairs)"
                console().print(escape(line))


def show_quality(experiment: Experiment) -> None:
    """COMET of the translations, what each threshold would keep, a few examples of each kind."""
    config = translate.config_of(experiment)
    folder = score.STAGE.path(experiment)
    summary, notes = comet_summary.read(folder), read_manifest(translate.STAGE.path(experiment))
    out, comet = console(), summary["comet"]
    out.print(f"[bold]translations[/bold] {escape(notes.get('chosen', config.model))}, {config.engine}")
    deciles = " ".join(f"{value:.2f}" for value in comet["deciles"])
    mean = f"mean {comet['mean']:.3f}, median {comet['median']:.3f}"
    out.print(f"COMET of {summary['sentences']} sentences: {mean}, deciles {deciles}")
    for row in notes.get("candidates", []):
        mean = f"mean {row['mean']:.3f}, median {row['median']:.3f}"
        out.print(f"  {escape(row['model'])}: {mean}, {row['translated']} pairs")
    kept = comet_summary.read_thresholds(triplets.STAGE.path(experiment))
    if kept:
        draw(tables.thresholds_table(kept))
    for kind, examples in summary["examples"].items():
        out.print(f"[bold]{kind}[/bold]")
        for row in tables.examples_table(kind, examples[:SAMPLE_TRANSLATIONS]).rows:
            source, target, comet_cell = row.cells
            out.print(escape(f"  {comet_cell}  {source} -> {target}"), soft_wrap=True)
    out.print(escape(f"more in {folder / comet_summary.FILE}"))


def show_hits(query: str, hits: list[Hit]) -> None:
    """A query and its results, a line each."""
    out = console()
    out.print(f"[bold]{escape(query)}[/bold]")
    if not hits:
        out.print("  nothing found")
    for rank, hit in enumerate(hits, 1):
        text = " ".join(hit.text.split())
        text = text if len(text) <= SNIPPET_CHARACTERS else text[: SNIPPET_CHARACTERS - 1] + "…"
        title = f"{escape(hit.title)}: " if hit.title else ""
        out.print(f"  {rank}. {hit.score:.3f} {escape(hit.doc_id)}  {title}{escape(text)}", soft_wrap=True)


def show_sweep(experiment: Experiment) -> None:
    """A row per configuration, best first; what went wrong; where the best encoder is."""
    folder = tune.STAGE.path(experiment)
    content = json.loads((folder / tune.TRIALS_FILE).read_text(encoding="utf-8"))
    draw(tables.sweep_table(content))
    for trial in content["trials"]:
        if trial["status"] == "failed":
            line = f"failed   {described(trial['config'])}, seed {trial['seed']}: {trial['error']}"
            console().print(escape(line))
    print(f"best     {folder / 'best.yaml'}")
    print(f"encoder  {folder / 'encoder'}")
    _show_report(experiment)


def _show_report(experiment: Experiment) -> None:
    path = html.path_of(experiment)
    if path.is_file():
        print(f"report   {path}")


def _show_samples(experiment: Experiment) -> None:
    """The first queries of the set that has the indexed corpus, unpicked, and their hits."""
    corpus = index.config_of(experiment).corpus
    config = next((config for config in experiment.evaluate.sets if config.path == corpus), None)
    dataset = load_set(config) if config is not None else None
    if isinstance(dataset, RetrievalSet):
        bundle = Bundle.load(index.STAGE.path(experiment))
        reported = list(dataset.part(dev=False).queries.values())
        queries = reported[:: max(1, len(reported) // SAMPLE_QUERIES)][:SAMPLE_QUERIES]
        for query, hits in zip(queries, bundle.search(queries, top_k=3), strict=True):
            show_hits(query, hits)
