"""What a person sees at the end of a command: tables, sample searches, paths."""

import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table as RichTable
from rich.text import Text

from nlift.config import Experiment
from nlift.data.files import read_json
from nlift.data.stored_folder import place
from nlift.errors import ArtifactError
from nlift.evaluation import comet_summary, translation
from nlift.evaluation.comparisons import BM25_PLAIN
from nlift.evaluation.datasets import RetrievalSet, load_set
from nlift.pipeline import evaluate, index, score, train, translate, triplets, tune
from nlift.pipeline.index_build import Built
from nlift.pipeline.stage import Stage, StageResult
from nlift.pipeline.stage_folder import QUARANTINE, read_manifest
from nlift.pipeline.tuned_encoder import promotion, tuned_encoder
from nlift.report import html, sts_tables, tables, training_tables
from nlift.report.tables import Column, Row, Table
from nlift.search import aliases
from nlift.search.aliases import CANDIDATE, PRODUCTION
from nlift.search.bundle import Bundle
from nlift.search.bundle_format import read_info
from nlift.search.hits import Hit
from nlift.tuning.trials import described
from nlift.visible import visible

SAMPLE_QUERIES = 3
SAMPLE_TRANSLATIONS = 3  # of each kind; quality.json and the report have twenty
SNIPPET_CHARACTERS = 70


def console() -> Console:
    """Standard output; where it is no terminal, whose width is known, tables and lines are as wide as they are."""
    return Console(highlight=False, emoji=False, width=None if sys.stdout.isatty() else 110)


def literal(text: str, style: str = "") -> Text:
    """A text that is printed as it is: no markup, no codes of emoji, nothing that a terminal would obey."""
    return Text(visible(text), style)


def say(text: str, *, style: str = "") -> None:
    """Print a line as it is, and as one line."""
    console().print(literal(text, style), soft_wrap=True)


def draw(table: Table) -> None:
    """Print a table under its title."""
    drawn = RichTable()
    for column in table.columns:
        drawn.add_column(literal(column.name), justify="left" if column.words else "right")
    for row in table.rows:
        if row.first and row is not table.rows[0]:
            drawn.add_section()
        drawn.add_row(*map(literal, row.cells), style="bold" if row.strong else None)
    out = console()
    if not sys.stdout.isatty():
        whole = Measurement.get(out, out.options.update(max_width=100_000), drawn).maximum
        out.width = max(out.width, whole)
    say(table.title, style="italic")
    out.print(drawn)


def show_run(experiment: Experiment, results: list[StageResult]) -> None:
    """The end of `nlift run`: metrics, sample searches, paths."""
    fresh = {result.name for result in results if result.seconds}
    names = {result.name for result in results}
    if not fresh:
        say("nothing to do: every stage is done")
    if score.STAGE.name in fresh or names == {score.STAGE.name}:
        show_quality(experiment)
    if evaluate.STAGE.name in names:
        folder = evaluate.STAGE.path(experiment)
        show_metrics(evaluate.read_metrics(folder), evaluate.read_comparisons(folder))
    if index.STAGE.name in fresh:
        show_built(experiment)
        _show_samples(experiment)
    if train.STAGE.name in fresh:
        _show_guard(experiment, train.STAGE)
    if train.STAGE.name in names:
        searched = names & {evaluate.STAGE.name, index.STAGE.name}
        say(f"encoder  {place(tuned_encoder(experiment) if searched else train.STAGE.path(experiment) / 'encoder')}")
    _show_report(experiment)
    if index.STAGE.name in names:
        say(f"bundles  {index.STAGE.bundles(experiment)}")
    seconds = sum(result.seconds for result in results)
    say(f"{seconds / 60:.1f} minutes" if seconds >= 60 else f"{seconds:.0f} s")


def show_metrics(metrics: dict[str, Any], comparisons: list[dict[str, Any]] | None = None) -> None:
    """A row per set and encoder, what of it is more than chance; then translators and COMET beside people's work."""
    encoders = {name: groups for name, groups in metrics["encoders"].items() if name != BM25_PLAIN}
    draw(tables.encoders_table(encoders, tables.short_metrics()))
    if metrics.get("averages"):
        say(sts_tables.average_line(metrics["averages"]))
    subsets = sts_tables.subsets_table(encoders)
    if subsets is not None:
        draw(subsets)
    for line in tables.lift_lines(comparisons or []):
        say(line)
    if metrics.get("deployed"):
        draw(tables.deployed_table(metrics["deployed"]))
    for kind in translation.KINDS:
        for set_name, models in metrics.get(kind, {}).items():
            for model, values in models.items():
                numbers = ", ".join(f"{name} {value:.3f}" for name, value in values.items() if name != "pairs")
                say(f"{kind} {set_name}: {model} {numbers} ({values['pairs']} pairs)")


def show_quality(experiment: Experiment) -> None:
    """COMET of the translations, what each threshold would keep, a few examples of each kind."""
    config = translate.config_of(experiment)
    folder = score.STAGE.path(experiment)
    summary, notes = comet_summary.read(folder), read_manifest(translate.STAGE.path(experiment))
    comet = summary["comet"]
    say(f"translations {notes.get('chosen', config.model)}, {config.engine}")
    deciles = " ".join(f"{value:.2f}" for value in comet["deciles"])
    mean = f"mean {comet['mean']:.3f}, median {comet['median']:.3f}"
    say(f"COMET of {summary['sentences']} sentences: {mean}, deciles {deciles}")
    for row in notes.get("candidates", []):
        mean = f"mean {row['mean']:.3f}, median {row['median']:.3f}"
        say(f"  {row['model']}: {mean}, {row['translated']} pairs")
    kept = comet_summary.read_thresholds(triplets.STAGE.path(experiment))
    if kept:
        draw(training_tables.thresholds_table(kept))
    for kind, examples in summary["examples"].items():
        say(kind, style="bold")
        for row in training_tables.examples_table(kind, examples[:SAMPLE_TRANSLATIONS]).rows:
            source, target, comet_cell = row.cells
            say(f"  {comet_cell}  {source} -> {target}")
    say(f"more in {folder / comet_summary.FILE}")


def show_search(bundle: Path) -> None:
    """How a bundle answers when nobody says, and why."""
    say(f"index    {tables.search_line(read_info(bundle)['search'])}")


def show_index(built: Built) -> None:
    """What became of a corpus, and how its bundle answers when nobody says."""
    aside = built.rows_in - built.rows_out
    rows = f"; {aside:,} rows set aside, see {built.folder.parent / QUARANTINE}" if aside else ""
    texts = "" if built.passages == built.rows_out else f" in {built.passages:,} passages"
    say(f"corpus   {built.rows_out:,} documents{texts}, {built.embedded:,} embedded{rows}")
    show_search(built.folder)


def show_hits(query: str, hits: list[Hit]) -> None:
    """A query and its results, a line each."""
    say(query, style="bold")
    if not hits:
        say("  nothing found")
    for rank, hit in enumerate(hits, 1):
        text = " ".join((hit.passage or hit.text).split())
        text = text if len(text) <= SNIPPET_CHARACTERS else text[: SNIPPET_CHARACTERS - 1] + "…"
        title = f"{hit.title}: " if hit.title else ""
        say(f"  {rank}. {hit.score:.3f} {hit.doc_id}  {title}{text}")
        if hit.explain is not None:
            say(f"     {_explained(hit.explain)}")


def _explained(explain: dict[str, Any]) -> str:
    """What each leg says of a hit, the words that match and the nearest sentence."""
    legs = []
    for leg in ("dense", "lexical"):
        rank = explain[leg]["rank"]
        legs.append(f"{leg} {explain[leg]['score']:.3f} ({f'rank {rank}' if rank else 'not among the first'})")
    words = f"words {', '.join(explain['words'])}" if explain["words"] else "no word in common"
    nearest = f"; nearest: {explain['sentence']}" if explain["sentence"] else ""
    return f"{'; '.join(legs)}; {words}{nearest}"


def show_built(experiment: Experiment) -> None:
    """How the bundle that an experiment built last is searched, and what it is called."""
    folder, manifest = index.newest(experiment)
    show_search(folder)
    if manifest["alias"] == CANDIDATE:
        say(f"gate     {manifest['gate']}")
        say(f"gate     worse than {PRODUCTION}, which stays as it is; this one is {CANDIDATE}")
    else:
        compared = f"; {manifest['gate']}" if manifest["before"] else ""
        say(f"bundle   {folder.name} is {PRODUCTION}{compared}")


def show_bundles(bundles: Path, title: str | None = None) -> None:
    """A row per version, the oldest first: what it is called, what it holds, how it is searched."""
    names = aliases.read_aliases(bundles)
    rows = []
    for version in aliases.versions(bundles):
        called = ", ".join(sorted(alias for alias, meant in names.items() if meant == version))
        try:
            info = read_info(bundles / version)
        except ArtifactError as error:
            say(str(error))
            continue
        search = info["search"]
        ndcg = search.get("ndcg@10", {}).get(search["mode"])
        figures = "" if ndcg is None else f"{ndcg:.3f}"
        searched = f"{search['mode']}, {search['analyzer']} {search['language'] or ''}".strip()
        shown = (version, called, info.get("created", ""), str(info["documents"]), info["index"]["kind"], searched)
        rows.append(Row((*shown, figures, search.get("chosen_on", "")), strong=bool(called)))
    columns = ("version", "called", "built", "documents", "kind", "search", "ndcg@10", "on")
    words = {"version", "called", "built", "kind", "search", "on"}
    draw(Table(title or str(bundles), tuple(Column(name, words=name in words) for name in columns), tuple(rows)))


def show_sweep(experiment: Experiment) -> None:
    """A row per configuration, best first; what went wrong; where the best encoder is."""
    folder = tune.STAGE.path(experiment)
    content = read_json(folder / tune.TRIALS_FILE)
    draw(training_tables.sweep_table(content))
    for trial in content["trials"]:
        if trial["status"] == "failed":
            say(f"failed   {described(trial['config'])}, seed {trial['seed']}: {trial['error']}")
    _show_guard(experiment, tune.STAGE)
    compared = promotion(experiment)
    if compared is not None:
        taken = "sweep's" if compared.promoted else "train's"
        figures = f"{compared.metric} {compared.sweep:.3f}, train's {compared.train:.3f} on {compared.judged_on}"
        say(f"sweep    {figures}: the {taken} encoder is used")
    say(f"best     {folder / 'best.yaml'}")
    say(f"encoder  {folder / 'encoder'}")
    _show_report(experiment)


def _show_guard(experiment: Experiment, stage: Stage) -> None:
    """Base, tuned and averages beside each other, where they were compared."""
    verdict = read_manifest(stage.path(experiment)).get("guard")
    if verdict:
        draw(training_tables.guard_table(verdict))
        say(f"guard    {training_tables.guard_line(verdict)}")


def _show_report(experiment: Experiment) -> None:
    path = html.path_of(experiment)
    if path.is_file():
        kept = experiment.folder_store and f"{experiment.folder_store}/{path.name}"
        say(f"report   {kept or path}")


def _show_samples(experiment: Experiment) -> None:
    """The first queries of the set that has the indexed corpus, unpicked, and their hits."""
    corpus = index.config_of(experiment).corpus
    config = next((config for config in experiment.evaluate.sets if config.path == corpus), None)
    dataset = load_set(config) if config is not None else None
    if isinstance(dataset, RetrievalSet):
        bundle = Bundle.load(index.newest(experiment)[0])
        reported = list(dataset.part(dev=False).queries.values())
        queries = reported[:: max(1, len(reported) // SAMPLE_QUERIES)][:SAMPLE_QUERIES]
        for query, hits in zip(queries, bundle.search(queries, top_k=3), strict=True):
            show_hits(query, hits)
