"""What a person sees at the end of a command: tables, sample searches, paths."""

import json
import sys
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from nlift import evaluate, quality, references, report, tune
from nlift.artifacts import read_manifest
from nlift.bundle import Bundle, Hit
from nlift.config import Experiment
from nlift.sets import RetrievalSet, load_set
from nlift.stages import Ran
from nlift.trials import described, shown

SAMPLE_QUERIES = 3
SAMPLE_TRANSLATIONS = 3  # of each kind; quality.json and the report have twenty
COLUMNS = (
    ("sts", "spearman"),
    ("retrieval", "ndcg@10"),
    ("retrieval", "recall@10"),
    ("retrieval", "recall@100"),
    ("geometry", "uniformity"),
    ("geometry", "alignment"),
)


def console() -> Console:
    """Standard output; wide enough for the tables where it is no terminal, whose width is known."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 110)


def show_run(experiment: Experiment, ran: list[Ran]) -> None:
    """The end of `nlift run`: metrics, sample searches, paths."""
    names = {one.name for one in ran}
    folder = experiment.folder
    if not any(one.seconds for one in ran):
        print("nothing to do: every stage is done")
    if any(one.name == "score" and (one.seconds or len(ran) == 1) for one in ran):
        show_quality(experiment)
    if "evaluate" in names:
        show_metrics(evaluate.read_metrics(folder / "evaluate"))
    if "index" in names and any(one.seconds for one in ran if one.name == "index"):
        _show_samples(experiment)
    used = evaluate.tuned_stage(experiment).folder if names & {"evaluate", "index"} else folder / "train"
    paths = {
        "train": ("encoder", used / "encoder"),
        "evaluate": ("report", folder / "evaluate" / "report.html"),
        "index": ("bundles", folder / "index"),
    }
    for name, (title, path) in paths.items():
        if name in names:
            print(f"{title:<8} {path}")
    total = sum(one.seconds for one in ran)
    print(f"{total / 60:.1f} minutes" if total >= 60 else f"{total:.0f} s")


def show_metrics(measured: dict[str, Any]) -> None:
    """A row per set and encoder; then translators and COMET where people's work is there to compare with."""
    _show_encoders(measured["encoders"])
    for kind in references.KINDS:
        for set_name, models in measured.get(kind, {}).items():
            for model, values in models.items():
                found = ", ".join(f"{name} {value:.3f}" for name, value in values.items() if name != "pairs")
                console().print(f"{kind} {set_name}: {escape(model)} {found} ({values['pairs']} pairs)")


def _show_encoders(encoders: dict[str, Any]) -> None:
    table = Table(title="base, bm25 and tuned", title_justify="left")
    table.add_column("set")
    table.add_column("encoder")
    for _, metric in COLUMNS:
        table.add_column(metric, justify="right")
    for set_name in report.set_names(encoders):
        for encoder in report.ordered(encoders):
            values = [encoders[encoder].get(group, {}).get(set_name, {}).get(metric) for group, metric in COLUMNS]
            if any(value is not None for value in values):
                cells = ["" if value is None else f"{value:.3f}" for value in values]
                table.add_row(set_name, encoder, *cells, style="bold" if encoder == "tuned" else None)
        table.add_section()
    console().print(table)


def show_quality(experiment: Experiment) -> None:
    """COMET of the translations, what each threshold would keep, a few examples of each kind."""
    assert experiment.translate is not None
    found = quality.read(experiment.folder / "score")
    notes = read_manifest(experiment.folder / "translate")
    out = console()
    out.print(f"[bold]translations[/bold] {notes.get('chosen', experiment.translate.model)}, {experiment.translate.engine}")
    comet = found["comet"]
    deciles = " ".join(f"{value:.2f}" for value in comet["deciles"])
    out.print(
        f"COMET of {found['sentences']} sentences: mean {comet['mean']:.3f}, median {comet['median']:.3f}, deciles {deciles}"
    )
    for row in notes.get("candidates", []):
        out.print(f"  {row['model']}: mean {row['mean']:.3f}, median {row['median']:.3f}, {row['translated']} pairs")
    table = Table(title="kept by min_score", title_justify="left")
    for column in ("min_score", "pairs", "triplets"):
        table.add_column(column, justify="right")
    for row in found["thresholds"]:
        table.add_row(*("none" if value is None else str(value) for value in row.values()))
    out.print(table)
    for kind, items in found["examples"].items():
        out.print(f"[bold]{kind}[/bold]")
        for item in items[:SAMPLE_TRANSLATIONS]:
            line = f"  {item['comet']:.3f}  {escape(item['source'])} -> {escape(item['target'])}"
            out.print(line, soft_wrap=True)
    out.print(f"more in {experiment.folder / 'score' / 'quality.json'}")


def show_hits(query: str, hits: list[Hit], width: int = 70) -> None:
    """A query and its results, a line each."""
    out = console()
    out.print(f"[bold]{escape(query)}[/bold]")
    if not hits:
        out.print("  nothing found")
    for position, hit in enumerate(hits, 1):
        text = " ".join(hit.text.split())
        text = text if len(text) <= width else text[: width - 1] + "…"
        title = f"{escape(hit.title)}: " if hit.title else ""
        out.print(f"  {position}. {hit.score:.3f} {escape(hit.doc_id)}  {title}{escape(text)}", soft_wrap=True)


def show_sweep(experiment: Experiment) -> None:
    """A row per configuration, best first; what went wrong; where the best encoder is."""
    folder = tune.stage(experiment).folder
    content = json.loads((folder / "trials.json").read_text(encoding="utf-8"))
    keys = list(content["trials"][0]["config"])
    several = any(row["seeds"] > 1 for row in content["configurations"])
    table = Table(title=f"configurations by dev {content['metric']}", title_justify="left")
    for column in (*keys, "finished", "steps", content["metric"], *(["std"] if several else [])):
        table.add_column(column, justify="right")
    for row in content["configurations"]:
        steps = [trial["steps"] or 0 for trial in content["trials"] if trial["config"] == row["config"]]
        mean = "failed" if row["mean"] is None else f"{row['mean']:.4f}"
        cells = [*map(shown, row["config"].values()), f"{row['finished']}/{row['seeds']}", str(max(steps)), mean]
        table.add_row(*map(escape, cells), *(["" if row["std"] is None else f"{row['std']:.4f}"] if several else []))
    out = console()
    out.print(table)
    for trial in content["trials"]:
        if trial["status"] == "failed":
            out.print(f"failed   {escape(described(trial['config']))}, seed {trial['seed']}: {escape(trial['error'])}")
    print(f"best     {folder / 'best.yaml'}")
    print(f"encoder  {folder / 'encoder'}")
    print(f"report   {folder / 'report.html'}")


def _show_samples(experiment: Experiment) -> None:
    """The first queries of the set that has the indexed corpus, unpicked, and their hits."""
    assert experiment.index is not None
    same = [one for one in experiment.evaluate.sets if one.path == experiment.index.corpus]
    loaded = load_set(same[0]) if same else None
    if isinstance(loaded, RetrievalSet):
        bundle = Bundle.load(experiment.folder / "index")
        loaded = loaded.part(dev=False)
        step = max(1, len(loaded.queries) // SAMPLE_QUERIES)
        queries = list(loaded.queries.values())[::step][:SAMPLE_QUERIES]
        for query, hits in zip(queries, bundle.search(queries, top_k=3), strict=True):
            show_hits(query, hits)
