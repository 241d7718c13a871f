"""The whole pipeline as a Ray job: `ray job submit --working-dir . -- python jobs/run_pipeline.py EXPERIMENT`."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "platform"), str(ROOT / "serve")]

from nlift.cli import app  # noqa: E402

app(["run", *sys.argv[1:]])
