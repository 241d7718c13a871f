"""Tables of groups of queries."""

from nlift.report.group_tables import group_tables


def figures(ndcg, queries=3):
    return {"queries": queries, "ndcg@10": ndcg, "recall@100": 0.5}


def test_a_row_per_group_and_a_column_per_encoder():
    groups = {
        "places": {
            "words of the query": {
                "1-2": {"tuned": figures(0.5), "bm25_plain": figures(0.1), "base": figures(0.25)},
                "3-5": {"tuned": figures(0.75, 1200), "base": figures(0.125, 1200)},
            }
        }
    }
    (table,) = group_tables(groups)
    assert table.title == "places, NDCG@10"
    assert [column.name for column in table.columns] == ["queries by", "group", "queries", "base", "tuned"]
    assert [row.cells for row in table.rows] == [
        ("words of the query", "1-2", "3", "0.250", "0.500"),
        ("words of the query", "3-5", "1,200", "0.125", "0.750"),
    ]
    assert [row.first for row in table.rows] == [True, False]
    assert group_tables({}) == []
