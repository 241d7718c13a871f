"""docs/experiments.md is what the settings say."""

from pathlib import Path

from nlift.report import settings_page


def test_the_document_is_current():
    document = Path(__file__).parents[2] / "docs" / "experiments.md"
    assert document.read_text() == settings_page.markdown(), (
        "run python -m nlift.report.settings_page > docs/experiments.md"
    )


def test_every_train_key_is_described():
    rows = [line for line in settings_page.markdown().splitlines() if line.startswith("| `")]
    assert all(row.rstrip(" |").count("|") >= 4 for row in rows)
