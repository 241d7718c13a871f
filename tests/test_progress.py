"""Bars where the output is no terminal: lines with count, rate and time left."""

import json
import re

from nlift import progress


def write(log, *steps):
    log.write_text("".join(json.dumps({"step": step, "loss": 1 / step}) + "\n" for step in steps))


def test_what_an_earlier_run_did_is_counted_but_is_no_part_of_the_rate(tmp_path, capfd):
    write(tmp_path / "log.jsonl", 900_000)
    with progress.following(tmp_path / "log.jsonl", "train", 1_000_000, "steps"):
        write(tmp_path / "log.jsonl", 900_000, 900_003)
    lines = [line for line in capfd.readouterr().err.splitlines() if "train" in line]
    assert re.search(r" 900000/1000000 \[00:00<\?, \? steps/s\]", lines[0])


def test_a_bar_ends_where_its_work_ends(capfd):
    with progress.bar("index", 3, "texts") as advance:
        advance(3)
        assert "index" in capfd.readouterr().err
