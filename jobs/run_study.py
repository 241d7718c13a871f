"""A study as a Ray job: `ray job submit --working-dir . -- python jobs/run_study.py STUDY.yaml`."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "platform"), str(ROOT / "serve")]

from nlift.cli import app  # noqa: E402

app(["study", *sys.argv[1:]])
