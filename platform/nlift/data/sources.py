"""Where a model or a data set named in an experiment is: embedded, a local path, or a hub name."""

import hashlib
import os
import zipfile
from functools import lru_cache
from pathlib import Path

from safetensors import SafetensorError, safe_open

from nlift.errors import DataError, ModelError

EMBEDDED = Path(__file__).parents[1] / "embedded"


def model_source(name: str, kind: str) -> str:
    """What `from_pretrained` takes for a model field: a folder, or the hub name as it is.

    `kind` says which embedded model `embedded` means: translator, comet or encoder. Raises
    ModelError where the name is a path and nothing is there.
    """
    if name == "embedded":
        return str(EMBEDDED / kind)
    if Path(name).is_dir():
        return name
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise ModelError(f"{name}: no such folder; expected a model folder, a hub name as org/name, or `embedded`")
    return name


def model_fingerprint(name: str, kind: str, revision: str | None = None) -> str:
    """Identity of a model: hash of its files where they are here, else hub name and revision."""
    source = model_source(name, kind)
    return fingerprint(Path(source)) if Path(source).is_dir() else f"{name}@{revision or 'main'}"


def check_model(name: str, kind: str) -> None:
    """Find a local model's broken files before work is started on it; hub names are taken as they are.

    Raises ModelError naming the file.
    """
    folder = Path(model_source(name, kind))
    if not folder.is_dir():
        return
    described = folder / ("hparams.yaml" if kind == "comet" else "config.json")
    if not described.is_file():
        raise ModelError(f"{folder}: no {described.name} there; expected the folder of a saved {kind}")
    weights = [path for path in sorted(folder.rglob("*")) if path.suffix in (".safetensors", ".bin", ".ckpt")]
    if not weights:
        raise ModelError(f"{folder}: no weights there; expected model.safetensors, or checkpoints/model.ckpt for COMET")
    for path in weights:
        _check_weights(path)


def _check_weights(path: Path) -> None:
    if path.suffix == ".safetensors":
        try:
            with safe_open(path, framework="np"):
                pass
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{path}: not readable as safetensors ({error}); the file is corrupt or cut off") from None
    elif path.suffix == ".ckpt" and not zipfile.is_zipfile(path):
        raise ModelError(f"{path}: not a checkpoint of torch; the file is corrupt or cut off")


def data_path(text: str) -> Path:
    """The path that a data field means. Raises DataError where nothing is there."""
    if text == "embedded":
        text = "embedded:snli"
    if text.startswith("embedded:"):
        name = text.removeprefix("embedded:")
        known = {path.name.partition(".")[0]: path for path in (EMBEDDED / "data").iterdir()}
        if name not in known:
            raise DataError(f"{text}: no embedded data of this name; known are {', '.join(sorted(known))}")
        return known[name]
    path = Path(text)
    if not path.exists():
        raise DataError(f"{text}: no such file or folder (looked in {Path.cwd()})")
    return path


def fingerprint(path: Path) -> str:
    """Hash of a file's content, or of a folder's names and contents, as 16 hexadecimal digits."""
    if path.is_dir():
        digest = hashlib.sha256()
        for file in sorted(path.rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                digest.update(f"{file.relative_to(path)}\0{fingerprint(file)}\0".encode())
        return digest.hexdigest()[:16]
    status = os.stat(path)
    return _file_fingerprint(str(path), status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=4096)
def _file_fingerprint(path: str, size: int, modified_ns: int) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]
