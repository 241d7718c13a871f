"""Bars where the output is no terminal: lines with count, rate and time left."""

import json
import logging
import re

import pytest

from nlift import progress


@pytest.fixture
def shown():
    """This process says what it does, for a test's time."""
    logger = logging.getLogger("nlift")
    level, propagate = logger.level, logger.propagate
    progress.show()
    yield
    logger.removeHandler(progress._handler)
    logger.setLevel(level)
    logger.propagate = propagate
    progress._handler = None


def write(log, *steps):
    log.write_text("".join(json.dumps({"step": step, "loss": 1 / step}) + "\n" for step in steps))


def test_what_an_earlier_run_did_is_counted_but_is_no_part_of_the_rate(tmp_path, capfd, shown):
    write(tmp_path / "log.jsonl", 900_000)
    with progress.following(tmp_path / "log.jsonl", "train", 1_000_000, "steps"):
        write(tmp_path / "log.jsonl", 900_000, 900_003)
    lines = [line for line in capfd.readouterr().err.splitlines() if "train" in line]
    assert re.search(r" 900000/1000000 \[00:00<\?, \? steps/s\]", lines[0])


def test_a_bar_ends_where_its_work_ends(capfd, shown):
    with progress.bar("index", 3, "texts") as advance:
        advance(3)
        assert "index" in capfd.readouterr().err


def test_lines_go_to_standard_output_and_warnings_to_standard_error(capfd, shown):
    logging.getLogger("nlift").info("nli       %d rows", 3)
    logging.getLogger("nlift").warning("out of memory")
    output = capfd.readouterr()
    assert (output.out, output.err) == ("  nli       3 rows\n", "  out of memory\n")


def test_it_is_silent_unless_told_otherwise(capfd, tmp_path):
    write(tmp_path / "log.jsonl", 1)
    with progress.bar("index", 3, "texts") as advance, progress.following(tmp_path / "log.jsonl", "train", 2, "steps"):
        advance(3)
    logging.getLogger("nlift").info("nli done")
    assert capfd.readouterr() == ("", "")
