"""docs/experiments.md is what the settings say."""

from pathlib import Path

from nlift import reference


def test_the_document_is_current():
    document = Path(__file__).parents[1] / "docs" / "experiments.md"
    assert document.read_text() == reference.markdown(), "run python -m nlift.reference > docs/experiments.md"


def test_every_train_key_is_described():
    rows = [line for line in reference.markdown().splitlines() if line.startswith("| `")]
    assert all(row.rstrip(" |").count("|") >= 4 for row in rows)
