"""What is shown of STS beside each set's own figure, on the screen and on the page."""

from conftest import STS, encoder_metrics

from nlift.config import Experiment
from nlift.data.files import write_json
from nlift.evaluation.sts_figures import averages
from nlift.pipeline import evaluate
from nlift.pipeline.measurements import Measurement
from nlift.report import console, html, sts_tables


def encoders():
    """Two encoders on a set with subsets and on one without."""
    made = {}
    for name, figure in (("tuned", 0.75), ("base", 0.5)):
        parts = {"spearman/news": figure + 0.125, "pairs/news": 30, "spearman/forum": figure, "pairs/forum": 10}
        made[name] = encoder_metrics({"sts12": {**STS, "spearman": figure, **parts}, "sts13": STS})
    return {**made, "bm25": encoder_metrics()}


def test_the_average_of_every_encoder_in_a_line():
    line = sts_tables.average_line(averages(encoders()))
    assert line == "sts average of 2 sets, Spearman: base 0.688, tuned 0.812"
    assert sts_tables.average_line({}) == ""


def test_a_row_per_subset_and_one_of_the_whole():
    table = sts_tables.subsets_table(encoders())
    assert [column.name for column in table.columns] == ["set", "subset", "pairs", "base", "tuned"]
    assert [row.cells for row in table.rows] == [
        ("sts12", "news", "30", "0.625", "0.875"),
        ("sts12", "forum", "10", "0.500", "0.750"),
        ("sts12", "all", "40", "0.500", "0.750"),
    ]
    assert [row.first for row in table.rows] == [True, False, False]
    assert sts_tables.subsets_table({"base": encoder_metrics({"sts13": STS}), "bm25": encoder_metrics()}) is None


def test_metrics_json_has_the_average_where_there_are_two_sets():
    results = [
        Measurement(name, set_name, {"sts": sts})
        for name, groups in encoders().items()
        for set_name, sts in groups["sts"].items()
    ]
    assert evaluate.collect(results)["averages"] == averages(encoders())
    assert "averages" not in evaluate.collect([result for result in results if result.set_name == "sts12"])


def test_both_are_on_the_screen_and_on_the_page(tmp_path, capsys):
    content = {"encoders": encoders(), "averages": averages(encoders())}
    console.show_metrics(content)
    printed = capsys.readouterr().out
    assert "sts average of 2 sets, Spearman: base 0.688, tuned 0.812\n" in printed and "forum" in printed
    experiment = Experiment(name="tiny", output_dir=str(tmp_path), nli={"path": "a.tsv"})
    evaluate.STAGE.path(experiment).mkdir(parents=True)
    write_json(evaluate.STAGE.path(experiment) / evaluate.METRICS_FILE, content)
    page = html.write(experiment).read_text()
    assert "<p>sts average of 2 sets, Spearman: base 0.688, tuned 0.812.</p>" in page
    assert "<caption>subsets, Spearman</caption>" in page
