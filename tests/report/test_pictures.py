"""Pictures of vectors: drawn where the evaluation left any, left out where not."""

import pytest

from nlift.data.files import write_json
from nlift.errors import ArtifactError
from nlift.report import pictures


def encoder(relevant, other=(5, 5), points=None):
    cosines = {"edges": [-1.0, 0.0, 1.0], "counts": {"relevant": list(relevant), "other": list(other)}}
    return {"cosines": cosines} | ({"map": points} if points else {})


def test_a_file_that_is_damaged_is_named(tmp_path):
    (tmp_path / "pictures.json").write_text('{"places": ')
    with pytest.raises(ArtifactError, match=r"pictures\.json: not readable JSON"):
        pictures.of_vectors(tmp_path)


def test_where_there_is_no_file(tmp_path):
    assert pictures.of_vectors(tmp_path) == {}


def test_histograms_and_projections_of_a_set(tmp_path):
    points = {"documents": [[0.0, 0.5], [1.0, 0.25]], "queries": [[0.1, 0.1]]}
    content = {"places": {name: encoder([1, 3], points=points) for name in ("tuned", "base")}}
    write_json(tmp_path / "pictures.json", content)
    captions = [figure.caption for figure in pictures.of_vectors(tmp_path)["places"]]
    assert captions == [
        "base: cosines of 4 relevant and 10 other pairs",
        "tuned: cosines of 4 relevant and 10 other pairs",
        "base: 2 documents and 1 queries on a plane",
        "tuned: 2 documents and 1 queries on a plane",
    ]


def test_base_and_tuned_have_the_same_axes(tmp_path):
    write_json(tmp_path / "pictures.json", {"pairs": {"base": encoder([1, 0]), "tuned": encoder([1, 1])}})
    for figure in pictures.of_vectors(tmp_path)["pairs"]:
        assert "100 %" in figure.svg


@pytest.mark.parametrize(
    "content", [{}, {"places": {}}, {"places": {"base": {}}}, {"places": {"base": encoder([0, 0], [0, 0])}}]
)
def test_nothing_to_draw(tmp_path, content):
    write_json(tmp_path / "pictures.json", content)
    assert pictures.of_vectors(tmp_path) == {}


def test_names_are_text(tmp_path):
    write_json(tmp_path / "pictures.json", {"<b>": {"base": encoder([1, 1])}})
    assert "<b>" in pictures.of_vectors(tmp_path)
    figure = pictures.geometry({"base": {"geometry": {"<b>": {"uniformity": -1.0, "alignment": 0.5}}}})
    assert "<b>" not in figure.svg and "&lt;b&gt;" in figure.svg


def test_encoders_without_geometry():
    assert pictures.geometry({"bm25": {"geometry": {}}, "base": {"geometry": {"x": {"uniformity": -1.0}}}}) is None
