"""Where a model or a data set named in an experiment is: embedded, a local path, or a hub name."""

import glob
import hashlib
import json
import os
import zipfile
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from nlift import uris
from nlift.data import remote
from nlift.data.file_parts import WholeFile
from nlift.data.remote import WILD, RemoteFile
from nlift.data.stored_folder import local_copy
from nlift.errors import DataError, ModelError, first_line

EMBEDDED = Path(__file__).parents[1] / "embedded"
CUSTOM_GENERATE = "custom_generate/generate.py"  # transformers runs it from a local folder without asking

# Files of a folder that no result depends on: nothing here, in torch or in transformers reads them.
DOCUMENTS = {"readme", "license", "licence", "notice", "changelog", "contributing", "citation", "authors"}
DOCUMENT_ENDINGS = {"", ".txt", ".rst", ".html", ".cff", ".bib", ".pdf"}
UNREAD_NAMES = {
    "thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
    "icon\r",
    "copying",
    "sha256sums",
    "wget-log",
    "modelcard.json",
}
UNREAD_NAMES |= {"training_args.bin", "optimizer.pt", "scheduler.pt", "trainer_state.json"}  # a trainer's own
UNREAD_NAMES |= {f"{kind}_results.json" for kind in ("all", "train", "eval", "predict")}
UNREAD_STARTS = ("rng_state", "events.out.tfevents", "benchmark_")
UNREAD_FOLDERS = {"__pycache__", "__macosx", "@eadir", "onnx", "openvino", "coreml", "runs", "logs"}
UNREAD_ENDINGS = {".md", ".lock", ".swp", ".swo", ".bak", ".orig", ".old", ".save", ".rej", ".pyc", ".ipynb", ".pdf"}
UNREAD_ENDINGS |= {".tmp", ".part", ".incomplete", ".aria2"}  # downloads
UNREAD_ENDINGS |= {".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp"}
UNREAD_ENDINGS |= {
    ".onnx",
    ".onnx_data",
    ".h5",
    ".msgpack",
    ".ot",
    ".tflite",
    ".gguf",
    ".mlmodel",
}  # weights for other frameworks


def is_there(path: Path) -> bool:
    """Whether there is a file or folder; False too where its name is longer than any can be."""
    try:
        return path.exists()
    except OSError:
        return False


def model_source(name: str, kind: str) -> str:
    """What `from_pretrained` takes for a model field: a folder, or the hub name as it is.

    What a URI of a stored folder has is fetched. `kind` says which embedded model `embedded` means: translator, comet
    or encoder. Raises ModelError where the name is a path, ArtifactError where it is a URI, and nothing is there.
    """
    if name == "embedded":
        return str(EMBEDDED / kind)
    if uris.is_remote(name):
        return str(local_copy(name))
    if is_there(Path(name)) and Path(name).is_dir():
        return name
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or is_there(Path(name)):
        raise ModelError(f"{name}: no such folder; expected a model folder, a hub name as org/name, or `embedded`")
    return name


def model_fingerprint(name: str, kind: str, revision: str | None = None) -> str:
    """Identity of a model: hash of its files where they are here, else hub name and revision."""
    source = model_source(name, kind)
    return fingerprint(Path(source)) if Path(source).is_dir() else f"{name}@{revision or 'main'}"


def is_local(name: str, kind: str) -> bool:
    """Whether a model is a folder of this machine, and no hub name. Raises ModelError as `model_source`."""
    return Path(model_source(name, kind)).is_dir()


def check_model(name: str, kind: str) -> None:
    """Find a local model's broken files before work is started on it; hub names are taken as they are.

    Raises ModelError naming the file.
    """
    folder = Path(model_source(name, kind))
    if not folder.is_dir():
        return
    described = folder / ("hparams.yaml" if kind == "comet" else "config.json")
    if kind == "encoder":
        described = folder / _backbone(folder) / "config.json"
    if not described.is_file():
        raise ModelError(f"{described.parent}: no {described.name} there; expected the folder of a saved {kind}")
    if kind != "comet":
        _read_json(described)
        refuse_own_code(described.parent)
    weights = [path for path in sorted(_read_files(folder)) if path.suffix in (".safetensors", ".bin", ".ckpt")]
    if not [path for path in weights if kind == "comet" or path.parent == described.parent]:
        expected = "checkpoints/model.ckpt" if kind == "comet" else "model.safetensors"
        raise ModelError(f"{described.parent}: no weights there; expected {expected}")
    for path in weights:
        _check_weights(path)


def refuse_own_code(folder: Path) -> None:
    """Raise ModelError where a model can only be loaded by running code that comes with it, which is never done.

    Files are read and nothing is loaded. A kind that transformers has itself is loaded without the folder's code.
    """
    if (folder / CUSTOM_GENERATE).is_file():
        raise ModelError(f"{folder / CUSTOM_GENERATE}: the model's own code, which is not run; delete it")
    config, tokenizer = (_read_object(folder / name) for name in ("config.json", "tokenizer_config.json"))
    kind, named = config.get("model_type"), tokenizer.get("tokenizer_class")
    attention = str(config.get("_attn_implementation") or config.get("attn_implementation") or "")
    if "/" in attention:
        raise ModelError(f"{folder / 'config.json'}: attention of the hub's {attention}, code which is not run")
    if "auto_map" in config and not _knows_model(kind):
        raise ModelError(
            f"{folder / 'config.json'}: a {kind} is the model's own code (auto_map), which is not run; "
            "expected a kind of model that transformers has"
        )
    if "auto_map" in tokenizer and not (_knows_tokenizer(named) or (named is None and _knows_model(kind))):
        raise ModelError(
            f"{folder / 'tokenizer_config.json'}: {named} is the model's own code (auto_map), which is not run; "
            "expected a tokenizer that transformers has"
        )


def _knows_model(kind: Any) -> bool:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    return isinstance(kind, str) and kind in CONFIG_MAPPING_NAMES


def _knows_tokenizer(name: Any) -> bool:
    from transformers.models.auto.tokenization_auto import tokenizer_class_from_name

    return isinstance(name, str) and tokenizer_class_from_name(name) is not None


def _backbone(folder: Path) -> str:
    """Where in an encoder's folder its transformer is, as sentence-transformers' modules.json says; "" for the root."""
    listing = _read_json(folder / "modules.json")
    if not listing:
        return ""
    try:
        foreign = [module["type"] for module in listing if not module["type"].startswith("sentence_transformers.")]
        path = str(listing[0].get("path") or "")
    except (KeyError, TypeError, AttributeError):
        raise ModelError(f"{folder / 'modules.json'}: not a list of modules of sentence-transformers") from None
    if foreign:
        raise ModelError(f"{folder / 'modules.json'}: {foreign[0]} is the model's own code, which is not run")
    return path


def _read_object(path: Path) -> dict[str, Any]:
    """The object of a file; {} where there is none, or a broken one, which whoever loads it will name."""
    try:
        content = _read_json(path)
    except ModelError:
        return {}
    return content if isinstance(content, dict) else {}


def _read_json(path: Path) -> Any:
    """The content of a file; None where there is none. Raises ModelError where it is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: not readable as JSON ({first_line(error)})") from None


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
    if not is_there(path):
        raise DataError(f"{text}: no such file or folder (looked in {Path.cwd()})")
    return path


def data_files(text: str) -> list[WholeFile]:
    """The files that a data field means: a path, a glob, a URI or `embedded:NAME`.

    Raises DataError where nothing is there.
    """
    if uris.is_remote(text):
        return list(remote.find(text))
    if any(character in text for character in WILD) and not is_there(Path(text)):
        matches = sorted(match for match in glob.glob(text, recursive=True) if not Path(match).is_dir())
        if not matches:
            raise DataError(f"{text}: the glob matches no file")
        return [Path(match) for match in matches]
    return [data_path(text)]


def files_fingerprint(files: Sequence[WholeFile]) -> str:
    """Hash of what files hold, 16 hexadecimal digits; of those of a URI, of name, size and time of change."""
    hashes = [file.fingerprint() if isinstance(file, RemoteFile) else fingerprint(file) for file in files]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()[:16]


def fingerprint(path: Path) -> str:
    """Hash of a file's content, or of a folder's names and contents, as 16 hexadecimal digits.

    Of a folder, files that no result depends on do not count: hidden ones, documents, images, backups of editors,
    what systems leave behind, and weights for other frameworks than torch.
    """
    if path.is_dir():
        digest = hashlib.sha256()
        for file in sorted(_read_files(path)):
            digest.update(f"{file.relative_to(path)}\0{fingerprint(file)}\0".encode())
        return digest.hexdigest()[:16]
    status = os.stat(path)
    return _file_fingerprint(str(path), status.st_size, status.st_mtime_ns)


def _read_files(folder: Path, above: frozenset[str] = frozenset()) -> Iterator[Path]:
    """The files of a folder that a result may depend on, those of linked folders too."""
    above |= {os.path.realpath(folder)}
    for path in folder.iterdir():
        if path.is_dir():
            if not _is_unread_folder(path.name) and os.path.realpath(path) not in above:
                yield from _read_files(path, above)
        elif path.is_file() and not _is_unread(path.name):
            yield path


def _is_unread_folder(name: str) -> bool:
    return name.startswith((".", "checkpoint-")) or name.lower() in UNREAD_FOLDERS


def _is_unread(name: str) -> bool:
    stem, ending = os.path.splitext(name.lower())
    if name.startswith("openvino_") or name.lower().startswith(UNREAD_STARTS):
        return True
    return (
        name.startswith(".")
        or name.endswith("~")
        or (name.startswith("#") and name.endswith("#"))
        or name.lower() in UNREAD_NAMES
        or ending in UNREAD_ENDINGS
        or (stem in DOCUMENTS and ending in DOCUMENT_ENDINGS)
    )


@lru_cache(maxsize=4096)
def _file_fingerprint(path: str, size: int, modified_ns: int) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]
