"""Tables of stages: those that are there, in their order."""

import pytest

from nlift.config import Experiment
from nlift.pipeline.stage_folder import StageFolder
from nlift.report import stage_tables


@pytest.mark.parametrize("name", ["nli", "cloze"])
def test_stages_that_are_there_in_their_order(tmp_path, name):
    experiment = Experiment(name="tiny", output_dir=str(tmp_path), nli={"path": "a.tsv"})
    for written in ("train", name):
        with StageFolder(written, experiment.folder / written, {}).writing() as output:
            output.rows_in, output.rows_out = 5, 4
    table = stage_tables.stages_table(experiment)
    assert [row.cells[0] for row in table.rows] == [name, "train"]
    assert table.rows[0].cells[2:5] == ("5", "4", "0")


def test_the_stages_of_a_run_in_their_order(tmp_path):
    experiment = Experiment(name="tiny", output_dir=str(tmp_path), nli={"path": "a.tsv"})
    for name in ("index", "nli", "somebody's"):
        with StageFolder(name, experiment.folder / name, {}).writing() as output:
            output.rows_in, output.rows_out = 5, 4
    (experiment.folder / "train").mkdir()
    rows = stage_tables.stages_table(experiment).rows
    assert [row.cells[0] for row in rows] == ["nli", "index"]
    assert [row.cells[2:5] for row in rows] == [("5", "4", "0")] * 2
