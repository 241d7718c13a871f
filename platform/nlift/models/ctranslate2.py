"""Models in CTranslate2's form, made once per machine."""

import os
import shutil
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from nlift.data import sources
from nlift.models.backbone import broken_weight


def converted(model: str, kind: str, revision: str | None, precision: str, subfolder: str = "") -> Path:
    """The folder of a translator or an encoder in CTranslate2's form, made once per machine.

    `subfolder` is where in the model's folder the checkpoint is.

    It lies under `$XDG_CACHE_HOME/nlift` (`~/.cache/nlift`); a conversion takes its name when it is
    complete, so actors that start together do no harm to each other. Raises what CTranslate2 raises.
    """
    import ctranslate2

    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nlift" / "ctranslate2"
    name = sources.model_fingerprint(model, kind, revision).replace("/", "--")
    folder = cache / f"{name}-{precision}-{ctranslate2.__version__}"
    if folder.is_dir():
        return folder
    temporary = cache / f".{uuid.uuid4().hex}.tmp"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        _converter(sources.model_source(model, kind), revision, subfolder).convert(
            str(temporary), quantization=precision
        )
        temporary.rename(folder)
    except Exception:
        shutil.rmtree(temporary, ignore_errors=True)
        if not folder.is_dir():  # else another actor was first
            raise
    return folder


def _converter(source: str, revision: str | None, subfolder: str) -> Any:
    """CTranslate2's converter of a checkpoint. Left to itself it would ask whether to run a tokenizer's own code."""
    import ctranslate2

    if subfolder and not Path(source).is_dir():
        raise ValueError(f"its checkpoint is in the folder {subfolder} of a hub model; download it")
    converter = ctranslate2.converters.TransformersConverter(str(Path(source, subfolder) if subfolder else source))
    known = {"revision": revision, "trust_remote_code": False}
    converter.load_model = partial(_whole_model, converter.load_model, **known)
    converter.load_tokenizer = partial(converter.load_tokenizer, **known)
    return converter


def _whole_model(load: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """A loaded model. Raises ValueError for weights that are no numbers: in int8 they would be numbers again."""
    model = load(*args, **kwargs)
    broken = broken_weight(model)
    if broken is not None:
        raise ValueError(f"{broken} is not finite, the checkpoint is damaged")
    return model
