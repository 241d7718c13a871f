"""The stages, a file each, and what runs them."""

from nlift.pipeline.all_stages import STAGES, preflight, run, run_tune, stages

__all__ = ["STAGES", "preflight", "run", "run_tune", "stages"]
