"""The report: one page, self-contained, with every number; names in it are text and not markup."""

import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pyarrow.dataset as pads
import pytest

from nlift import charts, quality, report, tables
from nlift.artifacts import Stage, write_json
from nlift.config import Experiment
from nlift.schema import ScoredPair, to_table
from nlift.sections import TripletsConfig

RETRIEVAL = {"ndcg@10": 0.5, "recall@10": 0.625, "recall@100": 0.75, "mrr@10": 0.25, "map": 0.125}
RETRIEVAL |= {"queries": 10, "documents": 1000}
STS = {"spearman": 0.875, "pearson": 0.9, "pairs": 40}


def encoder(sts=None, retrieval=None, geometry=None):
    return {"sts": sts or {}, "retrieval": retrieval or {}, "geometry": geometry or {}, "transfer": {}}


ENCODERS = {
    "tuned": encoder({"sts_pl": STS}, {"places": RETRIEVAL}, {"places": {"uniformity": -2.5, "alignment": 0.3}}),
    "base": encoder({"sts_pl": {**STS, "spearman": 0.1}}, {"places": {**RETRIEVAL, "ndcg@10": 0.2}}),
    "bm25": encoder({}, {"places": {**RETRIEVAL, "ndcg@10": 0.4}}),
}


class Page(HTMLParser):
    """Table rows as lists of cell texts, and every tag that was opened."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.tags, self.attributes, self.in_cell = [], [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self.in_cell = True

    def handle_endtag(self, tag):
        self.in_cell = self.in_cell and tag not in ("td", "th")

    def handle_data(self, data):
        if self.in_cell:
            self.rows[-1][-1] += data


@pytest.fixture
def experiment(tmp_path):
    sets = [{"name": "places", "kind": "retrieval", "path": "p"}]
    return Experiment(
        name="tiny", output_dir=str(tmp_path), nli={"path": "a.tsv"}, evaluate={"sets": sets}, train={"dev": "places"}
    )


def written(experiment, encoders=ENCODERS):
    experiment.folder.mkdir(exist_ok=True)
    (experiment.folder / "metrics.json").write_text(json.dumps({"encoders": encoders}))
    report.write(experiment, experiment.folder)
    return (experiment.folder / "report.html").read_text()


def test_a_row_per_set_and_encoder_with_its_numbers():
    rows = Page(report.metrics_table(ENCODERS)).rows
    assert rows[0][:4] == ["set", "encoder", "spearman", "ndcg@10"]
    assert [row[1] for row in rows[1:]] == ["base", "tuned", "base", "bm25", "tuned"]
    assert rows[1][0].startswith("sts_pl") and "40 pairs" in rows[1][0] and rows[2][0] == ""
    assert rows[3][0].startswith("places") and "10 queries, 1000 documents" in rows[3][0]
    assert rows[1][2:] == ["0.100", *[""] * 7]
    assert rows[3][2:4] == ["", "0.200"]
    assert rows[5] == ["", "tuned", "", "0.500", "0.625", "0.750", "0.250", "0.125", "-2.500", "0.300"]


def test_baselines_stand_before_the_tuned_encoder_and_others_after():
    assert report.ordered({**ENCODERS, "other": {}}) == ["base", "bm25", "tuned", "other"]
    assert report.set_names(ENCODERS) == ["sts_pl", "places"]


def test_bars_are_as_high_as_their_values():
    svg = re.search("<svg.*?</svg>", report.bar_chart(ENCODERS, "retrieval", "ndcg@10")).group()
    bars = [float(bar.get("height")) for bar in ElementTree.fromstring(svg).iter("rect")]
    assert np.array(bars) / bars[0] == pytest.approx([1, 2, 2.5])  # 0.2, 0.4, 0.5
    assert report.bar_chart({"base": encoder({"sts_pl": STS})}, "retrieval", "ndcg@10") == ""


def test_a_negative_value_has_no_bar():
    assert 'height="-' not in report.bar_chart({"base": encoder({"a": {"spearman": -0.2}})}, "sts", "spearman")


def test_a_line_goes_through_its_points():
    svg = ElementTree.fromstring(charts.line_chart([0, 5, 10], [3.0, 1.0, 2.0]))
    points = [tuple(map(float, point.split(","))) for point in svg.find("polyline").get("points").split()]
    (x0, y0), (x1, y1), (x2, y2) = points
    assert x1 - x0 == x2 - x1 > 0
    assert y0 < y2 < y1 and y2 == pytest.approx((y0 + y1) / 2)
    assert {one.text for one in svg.iter("text")} == {"3.00", "1.00", "10"}


@pytest.mark.parametrize(("xs", "ys"), [([0], [1.0]), ([1, 2], [1.0, 1.0])])
def test_a_line_of_one_value(xs, ys):
    assert "nan" not in charts.line_chart(xs, ys)


def test_a_histogram_counts_every_value():
    svg = ElementTree.fromstring(charts.histogram(*np.histogram([0.0, 0.0, 0.0, 1.0], bins=4)))
    titles = [title.text for title in svg.iter("title")]
    assert [int(title.rpartition(" ")[2]) for title in titles] == [3, 0, 0, 1]
    heights = [float(bar.get("height")) for bar in svg.iter("rect")]
    assert heights == pytest.approx([170, 0, 0, 170 / 3], abs=0.1)


def test_the_page_needs_nothing_else(experiment):
    page = Page(text := written(experiment))
    assert {"script", "link", "img", "iframe"}.isdisjoint(page.tags)
    assert not [value for name, value in page.attributes if name in ("src", "href")] and "@import" not in text
    assert page.tags.count("svg") == 3 and "Of places only the test part is measured" in text


def test_the_page_shows_what_the_stages_left(experiment):
    with Stage("train", experiment.folder / "train", {}).writing() as output:
        output.rows_in = output.rows_out = 1234
        lines = ({"step": step, "loss": 1 / step} for step in (1, 2, 3))
        (output.path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows = [ScoredPair(str(i), "p", f"h{i}", "neutral", "P", f"H{i}", 0.5, 0.1 * i) for i in range(4)]
    with Stage("score", experiment.folder / "score", {}).writing() as output, tables.opened(output.path) as database:
        database.add("scored", pads.dataset(to_table(rows, ScoredPair)))
        write_json(output.path / "quality.json", quality.summarise(database, TripletsConfig()))
    text = written(experiment)
    assert "loss by step" in text and "<polyline" in text
    assert "5 distinct sentences; mean 0.220, median 0.200" in text  # P once, H0 to H3
    assert "<summary>worst 5 translations</summary>" in text and "<th>triplets kept</th>" in text
    assert [row[0] for row in Page(text).rows if row[0] in ("nli", "score", "train")] == ["score", "train"]
    assert next(row for row in Page(text).rows if row[0] == "train")[2:5] == ["1234", "1234", "0"]


def test_names_are_escaped(experiment):
    nasty = '<img src=x onerror="alert(1)">'
    results = {nasty: encoder({nasty: STS}, {nasty: RETRIEVAL})}
    changed = experiment.override(
        {"evaluate.sets": [{"name": nasty, "kind": "sts", "path": "p"}], "train.dev": nasty, "train.base_model": nasty}
    )
    page = Page(text := written(changed, results))
    assert "img" not in page.tags and not [name for name, _ in page.attributes if name == "onerror"]
    assert "&lt;img" in text
