"""One self-contained HTML page: what was measured, how training went, how good the translations are."""

import json
from collections import Counter
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from nlift import __version__, charts, quality
from nlift.artifacts import read_jsonl, read_manifest
from nlift.config import Experiment
from nlift.trials import shown

COLORS = {"base": charts.GREY, "bm25": "#d9a441", "tuned": charts.BLUE}
WATCHED = ("ndcg@10", "recall@100", "spearman", "uniformity")  # of the dev part, by step
BAR_METRICS = (("retrieval", "ndcg@10"), ("retrieval", "recall@100"), ("sts", "spearman"))
STYLE = """
body{font:16px/1.5 system-ui,sans-serif;color:#1f2933;max-width:68rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.7rem;margin-bottom:0}h2{font-size:1.2rem;margin-top:2.2rem;border-bottom:1px solid #e4e7eb}
table{border-collapse:collapse;font-size:.92rem;font-variant-numeric:tabular-nums}
td,th{padding:.25rem .7rem;text-align:right;white-space:nowrap}
td:first-child,th:first-child,td:nth-child(2),th:nth-child(2){text-align:left}th{border-bottom:2px solid #cbd2d9}
tr.tuned td{font-weight:600}.plots{display:flex;flex-wrap:wrap;gap:1.5rem}figure{margin:0}
figcaption,td .note{font-size:.85rem;color:#52606d}svg text{font:12px system-ui,sans-serif;fill:#52606d}.note{color:#52606d}
td{vertical-align:top}table.text td{white-space:normal}details{margin:.4rem 0}summary{cursor:pointer}
tr.first td{border-top:1px solid #e4e7eb}
"""


def write(experiment: Experiment, folder: Path, sweep_folder: Path | None = None) -> None:
    """Write `report.html` into the folder of metrics.json, from what the stages and the sweep left."""
    encoders = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["encoders"]
    parts = [
        f"<h1>{escape(experiment.name)}</h1>",
        f'<p class="note">nlift {__version__}, seed {experiment.seed}, base model {escape(experiment.train.base_model)}</p>',
        "<h2>Encoders</h2>",
        metrics_table(encoders),
        f'<p class="note">Higher is better, but for uniformity and alignment, where lower is.{_dev_note(experiment)}</p>',
        '<div class="plots">',
        *(bar_chart(encoders, group, metric) for group, metric in BAR_METRICS),
        "</div>",
        *training(experiment.folder / "train"),
        *(sweep(experiment, sweep_folder) if sweep_folder is not None else []),
        *translation(experiment.folder / "score"),
        *stages(experiment),
    ]
    _write_page(folder / "report.html", experiment.name, parts)


def write_sweep(experiment: Experiment, folder: Path) -> None:
    """Write `report.html` into the folder of trials.json."""
    note = f'<p class="note">nlift {__version__}, base model {escape(experiment.train.base_model)}</p>'
    _write_page(
        folder / "report.html",
        f"{experiment.name}: sweep",
        [f"<h1>{escape(experiment.name)}: sweep</h1>", note, *sweep(experiment, folder)],
    )


def _write_page(path: Path, title: str, parts: list[str]) -> None:
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>'
    body = "\n".join(parts)
    path.write_text(f'<!doctype html><html lang="en">{head}\n{body}\n</html>\n', encoding="utf-8")


def metrics_table(encoders: dict[str, Any]) -> str:
    """Every metric of every set and encoder."""
    columns = ("spearman", "ndcg@10", "recall@10", "recall@100", "mrr@10", "map", "uniformity", "alignment")
    rows = []
    for set_name in set_names(encoders):
        first = True
        for name in ordered(encoders):
            values: dict[str, float] = {}
            for group in encoders[name].values():
                values |= group.get(set_name, {})
            if values:
                cells = "".join(f"<td>{values[c]:.3f}</td>" if c in values else "<td></td>" for c in columns)
                style = f"{name} first" if first else name
                label = f"{escape(set_name)}{_size(values)}" if first else ""
                rows.append(f'<tr class="{escape(style)}"><td>{label}</td><td>{escape(name)}</td>{cells}</tr>')
                first = False
    head = "".join(f"<th>{column}</th>" for column in columns)
    return f"<table><tr><th>set</th><th>encoder</th>{head}</tr>{''.join(rows)}</table>"


def bar_chart(encoders: dict[str, Any], group: str, metric: str) -> str:
    """Bars of one metric, a cluster per set."""
    sets = [name for name in set_names(encoders) if any(name in encoders[e].get(group, {}) for e in encoders)]
    if not sets:
        return ""
    width, height, bars = 60 + 110 * len(sets), 180, []
    for i, set_name in enumerate(sets):
        shown = [name for name in ordered(encoders) if set_name in encoders[name].get(group, {})]
        for j, name in enumerate(shown):
            value = max(encoders[name][group][set_name].get(metric, 0.0), 0.0)
            x, size = 40 + 110 * i + 30 * j, value * (height - 40)
            bars.append(
                f'<rect x="{x}" y="{height - 20 - size:.1f}" width="24" height="{size:.1f}" fill="{COLORS.get(name, "#6b4ea0")}">'
                f"<title>{escape(name)} {value:.3f}</title></rect>"
                f'<text x="{x + 12}" y="{height - 24 - size:.1f}" text-anchor="middle">{value:.2f}</text>'
            )
        bars.append(f'<text x="{40 + 110 * i + 42}" y="{height - 4}" text-anchor="middle">{escape(set_name)}</text>')
    legend = " ".join(f'<span style="color:{COLORS.get(n, "#6b4ea0")}">&#9632;</span> {escape(n)}' for n in ordered(encoders))
    svg = f'<svg width="{width}" height="{height}">{"".join(bars)}</svg>'
    return f"<figure>{svg}<figcaption>{metric} &nbsp; {legend}</figcaption></figure>"


def training(folder: Path) -> list[str]:
    """The loss by step, and the dev part's metrics where they were watched."""
    loss, dev = (read_jsonl(folder / name) for name in ("log.jsonl", "dev.jsonl"))
    if not loss:
        return []
    curves = [(charts.line_chart([row["step"] for row in loss], [row["loss"] for row in loss]), "loss by step")]
    for metric in WATCHED:
        seen = [(row["step"], row[metric]) for row in dev if metric in row]
        if len(seen) > 1:
            curves.append((charts.line_chart([step for step, _ in seen], [value for _, value in seen]), f"dev {metric} by step"))
    figures = (f"<figure>{svg}<figcaption>{text}</figcaption></figure>" for svg, text in curves)
    return ["<h2>Training</h2>", '<div class="plots">', *figures, "</div>"]


def sweep(experiment: Experiment, folder: Path) -> list[str]:
    """The sweep's plots and its table, from trials.json."""
    assert experiment.tune is not None
    content = json.loads((folder / "trials.json").read_text(encoding="utf-8"))
    metric, found, rows = content["metric"], content["trials"], content["configurations"]
    lower = experiment.tune.lower_is_better
    counts = Counter(trial["status"] for trial in found)
    plots = (
        (charts.parallel(experiment.tune.space, rows, metric, lower), "a line per configuration; the best is dark and thick"),
        (charts.histories(found, lower), f"dev {metric} by step, a line per trial; a ring: stopped early"),
        (charts.best_so_far(found, lower), f"dev {metric} of each trial, and the best so far"),
    )
    return [
        "<h2>Sweep</h2>",
        f'<p class="note">{len(rows)} configurations, {len(found)} trials: '
        f"{', '.join(f'{count} {status}' for status, count in counts.items())}; by dev {metric}, "
        f"{'lower' if lower else 'higher'} is better.</p>",
        *(f"<figure>{svg}<figcaption>{escape(text)}</figcaption></figure>" for svg, text in plots if svg),
        sweep_table(content),
    ]


def sweep_table(content: dict[str, Any]) -> str:
    """A row per configuration, best first: values, seeds that finished, mean and deviation, each trial's end."""
    keys = list(content["trials"][0]["config"])
    rows = []
    for row in content["configurations"]:
        trials = [trial for trial in content["trials"] if trial["config"] == row["config"]]
        each = "<br>".join(
            escape(f"seed {one['seed']}: " + (one["error"] or f"{one['value']:.4f}, {one['status']} at step {one['steps']}"))
            for one in trials
        )
        mean = "" if row["mean"] is None else f"{row['mean']:.4f}"
        std = "" if row["std"] is None else f"{row['std']:.4f}"
        cells = (*(shown(row["config"][key]) for key in keys), f"{row['finished']}/{row['seeds']}", mean, std)
        seconds = sum(one["seconds"] or 0 for one in trials)
        body = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        rows.append(f'<tr>{body}<td>{seconds:.0f}</td><td style="text-align:left">{each}</td></tr>')
    columns = (*keys, "finished", content["metric"], "std", "seconds", "trials")
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    return f"<table><tr>{head}</tr>{''.join(rows)}</table>"


def translation(folder: Path) -> list[str]:
    """COMET over sentences: histogram, what thresholds keep, examples."""
    if not (folder / "quality.json").is_file():
        return []
    found = quality.read(folder)
    comet = found["comet"]
    deciles = ", ".join(f"{value:.2f}" for value in comet["deciles"])
    note = f"{found['sentences']} distinct sentences; mean {comet['mean']:.3f}, median {comet['median']:.3f}; deciles {deciles}"
    chart = charts.histogram(np.array(found["histogram"]["counts"]), np.array(found["histogram"]["edges"]))
    kept = "".join(
        f"<tr><td>{'none' if row['min_score'] is None else row['min_score']}</td><td>{row['pairs']}</td>"
        f"<td>{row['triplets']}</td></tr>"
        for row in found["thresholds"]
    )
    return [
        "<h2>Translation quality</h2>",
        f"<figure>{chart}<figcaption>reference-free COMET: {note}</figcaption></figure>",
        f"<table><tr><th>min_score</th><th>pairs kept</th><th>triplets kept</th></tr>{kept}</table>",
        *(_examples(kind, items) for kind, items in found["examples"].items()),
    ]


def _examples(kind: str, items: list[dict[str, Any]]) -> str:
    rows = "".join(
        f"<tr><td>{escape(one['source'])}</td><td>{escape(one['target'])}</td><td>{one['comet']:.3f}</td></tr>" for one in items
    )
    head = "<tr><th>source</th><th>translation</th><th>COMET</th></tr>"
    return f'<details><summary>{kind} {len(items)} translations</summary><table class="text">{head}{rows}</table></details>'


def stages(experiment: Experiment) -> list[str]:
    """A row per finished stage: rows, quarantined, seconds."""
    rows = []
    for name in ("nli", "translate", "score", "triplets", "mine", "cloze", "train"):
        if (experiment.folder / name / "manifest.json").is_file():
            one = read_manifest(experiment.folder / name)
            cells = (one["rows_in"], one["rows_out"], one["quarantined"], f"{one['seconds']:.1f}", one["rows_per_s"])
            rows.append(f"<tr><td>{name}</td><td>{one['fingerprint']}</td>" + "".join(f"<td>{c}</td>" for c in cells) + "</tr>")
    head = "".join(f"<th>{c}</th>" for c in ("stage", "fingerprint", "rows in", "rows out", "quarantined", "seconds", "rows/s"))
    return ["<h2>Stages</h2>", f"<table><tr>{head}</tr>{''.join(rows)}</table>"]


def set_names(encoders: dict[str, Any]) -> list[str]:
    """Sets in the order they were measured in."""
    return list(dict.fromkeys(name for groups in encoders.values() for group in groups.values() for name in group))


def ordered(encoders: dict[str, Any]) -> list[str]:
    """Encoders, the baselines before the tuned one."""
    return sorted(encoders, key=lambda name: {"base": 0, "bm25": 1, "tuned": 2}.get(name, 3))


def _size(values: dict[str, float]) -> str:
    if "queries" in values:
        return f'<br><span class="note">{values["queries"]:.0f} queries, {values["documents"]:.0f} documents</span>'
    return f'<br><span class="note">{values["pairs"]:.0f} pairs</span>' if "pairs" in values else ""


def _dev_note(experiment: Experiment) -> str:
    dev = experiment.train.dev
    return f" Of {escape(dev)} only the test part is measured: training looks at the rest." if dev else ""
