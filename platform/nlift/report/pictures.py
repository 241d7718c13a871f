"""The plots of an evaluation's vectors, from evaluate/pictures.json where the stage left one, and from metrics.json."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nlift.data.files import read_json
from nlift.pipeline import evaluate
from nlift.report import vector_charts
from nlift.report.svg import axis
from nlift.report.tables import Figure

SHOWN = ("base", "tuned")


def of_vectors(folder: Path) -> dict[str, list[Figure]]:
    """By set the histograms of cosines and the projections, base before tuned; {} where there is no file."""
    path = folder / evaluate.PICTURES_FILE
    if not path.is_file():
        return {}
    content: dict[str, dict[str, Any]] = read_json(path)
    figures = {set_name: [*_cosines(own), *_maps(own)] for set_name, own in content.items()}
    return {set_name: drawn for set_name, drawn in figures.items() if drawn}


def _cosines(by_encoder: Mapping[str, Any]) -> list[Figure]:
    """Both on the same axes, so that they can be compared."""
    drawn = {
        name: by_encoder[name]["cosines"]
        for name in SHOWN
        if any(map(sum, by_encoder.get(name, {}).get("cosines", {}).get("counts", {}).values()))
    }
    if not drawn:
        return []
    across = axis("cosine", [edge for own in drawn.values() for edge in own["edges"]])
    shares = [
        share
        for own in drawn.values()
        for counts in own["counts"].values()
        for share in vector_charts.shares_of(counts)
    ]
    up = axis("share of the pairs", shares, from_zero=True, percent=True)
    return [
        Figure(
            vector_charts.cosines(own["edges"], own["counts"], across, up),
            f"{name}: cosines of {' and '.join(f'{sum(counts):,} {group}' for group, counts in own['counts'].items())} "
            "pairs",
        )
        for name, own in drawn.items()
    ]


def _maps(by_encoder: Mapping[str, Any]) -> list[Figure]:
    figures = []
    for name in SHOWN:
        own = by_encoder.get(name, {}).get("map")
        if own and (own["documents"] or own["queries"]):
            counts = f"{len(own['documents']):,} documents and {len(own['queries']):,} queries"
            svg = vector_charts.projection(own["documents"], own["queries"])
            figures.append(Figure(svg, f"{name}: {counts} on a plane"))
    return figures


def geometry(encoders: Mapping[str, Any]) -> Figure | None:
    """Uniformity and alignment of base and tuned on every set, of what metrics.json has under `encoders`."""
    places: dict[str, dict[str, tuple[float, float]]] = {}
    for name in SHOWN:
        for set_name, own in encoders.get(name, {}).get("geometry", {}).items():
            if {"uniformity", "alignment"} <= own.keys():
                places.setdefault(set_name, {})[name] = (own["uniformity"], own["alignment"])
    if not places:
        return None
    caption = "a ring: base, a dot: tuned. Down is closer to what belongs together, left is more spread out"
    return Figure(vector_charts.geometry_map(places), caption)
