"""Tables: every number in its row, the same for the console and the page."""

from conftest import RETRIEVAL, STS, encoder_metrics

from nlift.report import tables

ENCODERS = {
    "tuned": encoder_metrics(
        {"sts_pl": STS}, {"places": RETRIEVAL}, {"places": {"uniformity": -2.5, "alignment": 0.3}}
    ),
    "base": encoder_metrics({"sts_pl": {**STS, "spearman": 0.1}}, {"places": {**RETRIEVAL, "ndcg@10": 0.2}}),
    "hybrid": encoder_metrics({}, {"places": {**RETRIEVAL, "ndcg@10": 0.6}}),
    "bm25": encoder_metrics({}, {"places": {**RETRIEVAL, "ndcg@10": 0.4}}),
}


def names(table):
    return [column.name for column in table.columns]


def test_a_row_per_set_and_encoder_with_its_numbers():
    table = tables.encoders_table(ENCODERS, tables.all_metrics())
    assert names(table)[:4] == ["set", "encoder", "spearman", "ndcg@10"]
    assert [row.cells[1] for row in table.rows] == ["base", "tuned", "base", "bm25", "tuned", "hybrid"]
    assert [row.cells[0] for row in table.rows] == ["sts_pl"] * 2 + ["places"] * 4
    assert [row.first for row in table.rows] == [True, False, True, False, False, False]
    assert [row.note for row in table.rows if row.note] == ["40 pairs", "10 queries, 1000 documents"]
    assert table.rows[0].cells[2:] == ("0.100", *[""] * 7)
    assert table.rows[2].cells[2:4] == ("", "0.200")
    numbers = ("", "0.500", "0.625", "0.750", "0.250", "0.125", "-2.500", "0.300")
    assert table.rows[4].cells == ("places", "tuned", *numbers)
    assert [row.cells[1] for row in table.rows if row.strong] == ["tuned", "tuned"]


def test_the_short_table_has_the_same_cells():
    long, short = (tables.encoders_table(ENCODERS, metrics()) for metrics in (tables.all_metrics, tables.short_metrics))
    places = [names(long).index(name) for name in names(short)]
    assert [tuple(row.cells[i] for i in places) for row in long.rows] == [row.cells for row in short.rows]
    assert len(places) == 8 < len(names(long))


def test_baselines_stand_before_the_tuned_encoder_and_others_after():
    others = {"e5": encoder_metrics(), "e5+bm25": encoder_metrics()}
    assert tables.ordered({**others, **ENCODERS}) == ["base", "bm25", "tuned", "hybrid", "e5", "e5+bm25"]
    assert tables.set_names(ENCODERS) == ["sts_pl", "places"]
    assert tables.encoders_table(ENCODERS, []).title == "base, bm25, tuned and hybrid"
    assert tables.encoders_table(others, []).title == "encoders"


def compared(difference, low, high, p=0.001, detectable=0.05, against="base"):
    row = {"set": "places", "metric": "ndcg@10", "name": "tuned", "against": against, "difference": difference}
    return {**row, "low": low, "high": high, "p_holm": p, "detectable": detectable, "count": 10.0}


def test_how_far_a_figure_is_above_that_of_base():
    rows = [compared(0.178, 0.165, 0.191), compared(-0.3, -0.4, -0.2, against="bm25")]
    table = tables.encoders_table(ENCODERS, tables.all_metrics(), rows)
    place = names(table).index("ndcg@10")
    asides = {row.cells[:2]: row.asides[place] for row in table.rows if row.asides[place]}
    assert asides == {("places", "tuned"): "(+.178, .165 to .191)"}
    assert not any("".join(row.asides) for row in tables.encoders_table(ENCODERS, tables.all_metrics()).rows)


def test_a_difference_that_is_not_shown_says_so():
    assert tables.delta(compared(-0.003, -0.012, 0.006, p=0.4)) == "(-.003, -.012 to .006; not shown)"
    assert tables.delta(compared(0.0, 0.0, 0.0, p=1.0, detectable=0.0)) == "(the same everywhere)"
    assert tables.delta(compared(0.0, -0.1, 0.1, p=1.0)) == "(+.000, -.100 to .100; not shown)"
    assert tables.delta(compared(1.0, 1.0, 1.0)) == "(+1.000, 1.000 to 1.000)"
