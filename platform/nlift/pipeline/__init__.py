"""The stages, a file each, and what runs them.

The public names are loaded when they are first used: a worker of a stage needs little of it, and loads no more.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nlift.pipeline.all_stages import STAGES, preflight, run, run_tune, stages

__all__ = ["STAGES", "preflight", "run", "run_tune", "stages"]


def __getattr__(name: str) -> Any:
    """A public name's object."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from nlift.pipeline import all_stages

    return getattr(all_stages, name)
