"""Models in CTranslate2's form, made once per machine."""

import os
import shutil
import uuid
from pathlib import Path

from nlift.data import sources


def converted(model: str, kind: str, revision: str | None, precision: str) -> Path:
    """The folder of a translator or an encoder in CTranslate2's form, made once per machine.

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
        converter = ctranslate2.converters.TransformersConverter(sources.model_source(model, kind), revision=revision)
        converter.convert(str(temporary), quantization=precision)
        temporary.rename(folder)
    except Exception:
        shutil.rmtree(temporary, ignore_errors=True)
        if not folder.is_dir():  # else another actor was first
            raise
    return folder
