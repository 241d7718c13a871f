"""report.html of a run: one self-contained page, drawn from what the stages left."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from nlift import __version__
from nlift.config import Experiment
from nlift.data import transfer
from nlift.data.files import read_json, read_jsonl, write_text
from nlift.errors import ArtifactError
from nlift.evaluation import comet_summary
from nlift.evaluation.comparisons import metric_name
from nlift.pipeline import evaluate, guard, saved_experiment, score, train, triplets, tune
from nlift.pipeline.tuned_encoder import finished_sweep
from nlift.report import (
    changes,
    charts,
    diagnosis,
    group_tables,
    lineage,
    pictures,
    stage_tables,
    sts_tables,
    summary,
    sweep_charts,
    tables,
    training_tables,
)
from nlift.report.tables import Figure, Table
from nlift.settings import METRICS
from nlift.training import log
from nlift.visible import visible_page

FILE = "report.html"
HERE = Path(__file__).parent
WATCHED = ("ndcg@10", "recall@100", "spearman", "uniformity")  # of the dev part, by step
BARS = ("ndcg@10", "recall@100", "spearman")


@dataclass(frozen=True)
class GuardPart:
    """What the page says of base, tuned and their averages."""

    summary: str
    encoders: Table


@dataclass(frozen=True)
class SweepPart:
    """What the page says of a sweep."""

    summary: str
    guard: GuardPart | None
    plots: list[Figure]
    configurations: Table
    trials: Table


@dataclass(frozen=True)
class TranslationPart:
    """What the page says of the translations."""

    histogram: Figure
    thresholds: Table
    examples: list[Table]


def path_of(experiment: Experiment) -> Path:
    """Where the page of a run stands."""
    return experiment.folder / FILE


def write(experiment: Experiment, path: Path | None = None) -> Path | None:
    """Write the page of a run, to its folder where no other path is given; None where there is nothing to show yet."""
    metrics = _metrics(evaluate.STAGE.path(experiment))
    curves = _curves(train.STAGE.path(experiment))
    sweep = finished_sweep(experiment)
    translation = _translation(experiment)
    if not (metrics.get("encoders") or curves or sweep or translation):
        return None
    page = template().render(
        name=experiment.name,
        version=__version__,
        seed=experiment.seed,
        base_model=experiment.train.base_model,
        css=style(),
        **_measured(experiment, metrics),
        curves=curves,
        guard=_guard(train.STAGE.path(experiment)),
        sweep=_sweep(experiment, sweep.path) if sweep else None,
        translation=translation,
        stages=stage_tables.stages_table(experiment),
        lineage=lineage.lineage(experiment),
    )
    path = path or path_of(experiment)
    write_text(path, visible_page(page) + "\n")
    if experiment.folder_store is not None and path == path_of(experiment):
        transfer.put(path, transfer.joined(experiment.folder_store, FILE))
    return path


def redraw(folder: Path, path: Path | None = None) -> Path:
    """Write the page of a run again, from its folder alone.

    Raises ArtifactError where the folder does not say which experiment it is of, or has nothing to show.
    """
    written = write(saved_experiment.load(folder), path)
    if written is None:
        raise ArtifactError(f"{folder}: nothing to show yet; run its stages score, train or evaluate first")
    return written


def style() -> Markup:
    """The style sheet of all pages."""
    return Markup((HERE / "report.css").read_text(encoding="utf-8"))


def _measured(experiment: Experiment, metrics: dict[str, Any]) -> dict[str, Any]:
    """What the page says of the evaluation."""
    folder = evaluate.STAGE.path(experiment)
    encoders: dict[str, Any] = metrics.get("encoders", {})
    comparisons = evaluate.read_comparisons(folder)
    return {
        "summary": summary.sentence(experiment, metrics, comparisons),
        "findings": diagnosis.diagnose(metrics, comparisons),
        "encoders": tables.encoders_table(encoders, tables.all_metrics(), comparisons) if encoders else None,
        "average": sts_tables.average_line(metrics.get("averages", {})),
        "subsets": sts_tables.subsets_table(encoders),
        "comparisons": _comparisons(comparisons),
        "deployed": tables.deployed_table(metrics["deployed"]) if metrics.get("deployed") else None,
        "lower_is_better": [metric.name for metric in METRICS if metric.lower_is_better],
        "dev": [config.name for config in experiment.evaluate.sets if experiment.is_watched(config.name)],
        "bars": _bars(encoders),
        "groups": group_tables.group_tables(evaluate.read_groups(folder)),
        "changes": changes.changes(experiment),
        "geometry": pictures.geometry(encoders),
        "pictures": pictures.of_vectors(folder),
    }


def template(name: str = f"{FILE}.j2") -> Template:
    """A page's template; whatever is put into it is text and not markup, but for the plots."""
    loader = FileSystemLoader(HERE)
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.get_template(name)


def _metrics(folder: Path) -> dict[str, Any]:
    return evaluate.read_metrics(folder) if (folder / evaluate.METRICS_FILE).is_file() else {}


def _comparisons(comparisons: Sequence[dict[str, Any]]) -> tuple[list[str], Table] | None:
    """The differences in sentences, and all of them as a table; None where there are none."""
    return (tables.lift_lines(comparisons), tables.comparisons_table(comparisons)) if comparisons else None


def _bars(encoders: dict[str, Any]) -> list[Figure]:
    """A bar chart of each metric that is there, a cluster of bars per set."""
    figures = []
    for metric in METRICS:
        values = {
            set_name: {
                name: encoders[name][metric.group][set_name][metric.name]
                for name in tables.ordered(encoders)
                if metric.name in encoders[name].get(metric.group, {}).get(set_name, {})
            }
            for set_name in tables.set_names(encoders)
        }
        values = {set_name: by_encoder for set_name, by_encoder in values.items() if by_encoder}
        if metric.name in BARS and values:
            figures.append(
                Figure(
                    charts.bar_chart(values, metric_name(metric.name)), f"{metric_name(metric.name)} by set and encoder"
                )
            )
    return figures


def _curves(folder: Path) -> list[Figure]:
    """The loss by step, and the dev part's metrics where they were watched."""
    loss, dev = (read_jsonl(folder / name) for name in (log.FILE, log.DEV_FILE))
    curves = [("loss", "loss by step", [(row["step"], row["loss"]) for row in loss])] if loss else []
    for metric in WATCHED:
        points = [(row["step"], row[metric]) for row in dev if metric in row]
        if len(points) > 1:
            curves.append((metric_name(metric), f"dev {metric} by step", points))
    figures = []
    for name, caption, points in curves:
        steps, values = [step for step, _ in points], [value for _, value in points]
        figures.append(Figure(charts.line_chart(steps, values, "step", name), caption))
    return figures


def _guard(folder: Path) -> GuardPart | None:
    """The comparison that a stage ended with, where it has one."""
    path = folder / guard.FILE
    if not path.is_file():
        return None
    verdict = read_json(path)
    return GuardPart(f"{training_tables.guard_line(verdict)}.", training_tables.guard_table(verdict))


def _sweep(experiment: Experiment, folder: Path) -> SweepPart:
    config = tune.config_of(experiment)
    content = read_json(folder / tune.TRIALS_FILE)
    metric, trials, rows = content["metric"], content["trials"], content["configurations"]
    lower = config.lower_is_better
    counts = Counter(trial["status"] for trial in trials)
    ends = ", ".join(f"{count} {status}" for status, count in counts.items())
    better = "lower" if lower else "higher"
    plots = (
        (
            sweep_charts.parallel(config.space, rows, metric, lower),
            "a line per configuration; the best is thick, the worst yellow",
        ),
        (
            sweep_charts.histories(trials, metric, lower),
            f"dev {metric} by step, a line per trial; a ring: stopped early",
        ),
        (sweep_charts.best_so_far(trials, metric, lower), f"dev {metric} of each trial, and the best so far"),
    )
    return SweepPart(
        f"{len(rows)} configurations, {len(trials)} trials: {ends}; by dev {metric}, {better} is better.",
        _guard(folder),
        [Figure(svg, caption) for svg, caption in plots if svg],
        training_tables.sweep_table(content, with_seconds=True),
        training_tables.trials_table(content),
    )


def _translation(experiment: Experiment) -> TranslationPart | None:
    """COMET over sentences: histogram, what thresholds keep, examples."""
    folder = score.STAGE.path(experiment)
    if not (folder / comet_summary.FILE).is_file():
        return None
    summary = comet_summary.read(folder)
    comet, histogram = summary["comet"], summary["histogram"]
    deciles = ", ".join(f"{value:.2f}" for value in comet["deciles"])
    caption = (
        f"reference-free COMET: {summary['sentences']} distinct sentences; "
        f"mean {comet['mean']:.3f}, median {comet['median']:.3f}; deciles {deciles}"
    )
    svg = charts.histogram(
        np.array(histogram["counts"]), np.array(histogram["edges"]), "COMET, higher is better", "sentences"
    )
    examples = [training_tables.examples_table(kind, rows) for kind, rows in summary["examples"].items()]
    kept = comet_summary.read_thresholds(triplets.STAGE.path(experiment))
    return TranslationPart(Figure(svg, caption), training_tables.thresholds_table(kept), examples)
