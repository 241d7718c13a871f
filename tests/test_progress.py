"""What is said while work goes on, where the output is no terminal and where it is one."""

import json
import logging
import os
import pty
import re
import subprocess
import sys
import termios
import time

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


def lines(capfd):
    return capfd.readouterr().err.splitlines()


def test_what_an_earlier_run_did_is_counted_but_is_no_part_of_the_rate(tmp_path, capfd, shown):
    write(tmp_path / "log.jsonl", 900_000)
    with progress.following(tmp_path / "log.jsonl", "train", 1_000_000, "steps"):
        write(tmp_path / "log.jsonl", 900_000, 900_003)
        time.sleep(1)
    assert re.search(r"train .* 900003/1000000 steps \[00:00\]", lines(capfd)[0])


def test_a_bar_ends_where_its_work_ends(capfd, shown):
    with progress.bar("index", 3, "texts") as advance:
        advance(3)
        assert "3/3 texts" in capfd.readouterr().err


def test_nothing_is_estimated_before_it_means_something(capfd, shown, monkeypatch):
    monkeypatch.setattr(progress, "SURE_AFTER_S", 0.3)
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    with progress.bar("index", 1000, "texts") as advance:
        advance(1)
        advance(10)
        early = capfd.readouterr().err
        time.sleep(0.4)
        advance(1)  # under two per cent
        advance(500)
    late = capfd.readouterr().err
    assert "left" not in early and re.search(r"512/1000 texts \[00:00, 00:00 left, +[\d.]+ texts/s\]", late)


def test_what_is_waited_for_is_said_until_something_moves(capfd, shown, monkeypatch):
    monkeypatch.setattr(progress, "PATIENCE_S", 0.1)
    with progress.bar("translate", 10, "sentences", waits_for="models load") as advance:
        time.sleep(0.4)
        assert lines(capfd) == ["  translate models load ..."]
        advance(10)
    assert "%" in capfd.readouterr().err


def test_what_does_not_take_long_is_not_spoken_of(capfd, shown):
    with progress.waiting("Ray starts"):
        pass
    assert capfd.readouterr().err == ""


def test_lines_go_to_standard_output_and_warnings_to_standard_error(capfd, shown):
    logging.getLogger("nlift").info("nli       %d rows", 3)
    logging.getLogger("nlift").warning("out of memory")
    output = capfd.readouterr()
    assert (output.out, output.err) == ("  nli       3 rows\n", "  out of memory\n")


def test_it_is_silent_unless_told_otherwise(capfd, tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "PATIENCE_S", 0.0)
    write(tmp_path / "log.jsonl", 1)
    with progress.bar("index", 3, "texts") as advance, progress.following(tmp_path / "log.jsonl", "train", 2, "steps"):
        advance(3)
        with progress.waiting("Ray starts"):
            time.sleep(0.1)
    logging.getLogger("nlift").info("nli done")
    assert capfd.readouterr() == ("", "")


TERMINAL = """
import time
from nlift import progress
progress.show()
with progress.waiting("Ray starts"):
    time.sleep(1.2)
with progress.bar("index", 4, "texts") as advance:
    for _ in range(4):
        time.sleep(0.3)
        advance(1)
print("done")
"""


def test_a_terminal_sees_the_seconds_and_then_a_bar():
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    process = subprocess.Popen([sys.executable, "-c", TERMINAL], stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    output = b""
    while process.poll() is None or output[-6:] != b"done\r\n":
        try:
            output += os.read(ours, 4096)
        except OSError:  # the other end is closed
            break
    assert process.wait() == 0
    text = output.decode()
    assert "Ray starts ... 1 s" in text and "\x1b[K" in text.partition("index")[0] and "4/4 texts" in text
