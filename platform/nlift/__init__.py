"""nlift: English NLI data in, a search engine for your domain in your language out.

The public names are loaded when they are first used: `import nlift` stays fast.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nlift.config import Experiment, load_experiment
    from nlift.models.encoder import Encoder
    from nlift.search.bundle import Bundle
    from nlift.training.loss import supervised_simcse_loss

__version__ = "0.1.0"
__all__ = ["Bundle", "Encoder", "Experiment", "load_experiment", "supervised_simcse_loss"]
_MODULES = {
    "Bundle": "nlift.search.bundle",
    "Encoder": "nlift.models.encoder",
    "Experiment": "nlift.config",
    "load_experiment": "nlift.config",
    "supervised_simcse_loss": "nlift.training.loss",
}


def __getattr__(name: str) -> Any:
    """A public name's object."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    """What the module has, the names that are not loaded yet too."""
    return sorted({*globals(), *__all__})
