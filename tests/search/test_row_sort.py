"""Sorting on the disk: the order of rows, whatever the pieces."""

from hypothesis import given, settings
from hypothesis import strategies as st

from nlift.data.schema import Document
from nlift.search import row_sort
from nlift.search.ranking import row_order
from nlift.search.row_sort import in_row_order

NAMES = st.lists(st.text(max_size=3).filter(lambda text: text.isprintable()), max_size=60)


@settings(max_examples=60, deadline=None)
@given(NAMES, st.integers(1, 7))
def test_documents_descend_by_id_and_equal_ids_stay_in_order(tmp_path_factory, names, most):
    folder = tmp_path_factory.mktemp("pieces")
    placed = [(Document(name, "t", f"text {i}", "{}"), f"file:{i}") for i, name in enumerate(names)]
    before, row_sort.MOST_ROWS = row_sort.MOST_ROWS, most
    try:
        ordered = list(in_row_order(iter(placed), folder))
    finally:
        row_sort.MOST_ROWS = before
    assert ordered == sorted(placed, key=lambda row: row[0].doc_id, reverse=True)
    if len(set(names)) == len(names):
        assert ordered == [placed[row] for row in row_order(names)]
    assert not list(folder.iterdir())


def test_large_documents_are_sorted_in_pieces_too(tmp_path, monkeypatch):
    monkeypatch.setattr(row_sort, "MOST_BYTES", 100)
    placed = [(Document(str(i), "", "x" * 60, "{}"), "") for i in range(9)]
    ordered = in_row_order(iter(placed), tmp_path)
    assert next(ordered)[0].doc_id == "8" and len(list(tmp_path.iterdir())) == 5
    assert [document.doc_id for document, _ in ordered] == list("76543210")
