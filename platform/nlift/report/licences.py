"""Licences of models and data that are often named; docs/models.md cites where each is stated."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import metadata_load

LICENCES = {
    "embedded": "Apache-2.0 (data: see NOTICE)",
    "facebook/m2m100_418M": "MIT",
    "facebook/m2m100_1.2B": "MIT",
    "facebook/mbart-large-50-many-to-many-mmt": "MIT (by fairseq; its model card states none)",
    "facebook/nllb-200-distilled-600M": "CC-BY-NC-4.0 (no commercial use)",
    "Unbabel/wmt20-comet-qe-da": "Apache-2.0",
    "Unbabel/wmt22-cometkiwi-da": "CC-BY-NC-SA-4.0 (no commercial use)",
    "Unbabel/XCOMET-XL": "CC-BY-NC-SA-4.0 (no commercial use)",
    "allegro/herbert-base-cased": "CC-BY-4.0",
    "allegro/herbert-large-cased": "CC-BY-4.0",
    "google-bert/bert-base-uncased": "Apache-2.0",
    "bert-base-uncased": "Apache-2.0",
    "FacebookAI/xlm-roberta-base": "MIT",
    "xlm-roberta-base": "MIT",
}
DATA_LICENCES = {
    "embedded:snli": "CC-BY-SA-4.0",
    "embedded:poquad_pl": "CC-BY-SA (paragraphs of Wikipedia; questions CC-BY-4.0)",
    "embedded:osm_places_pl": "ISC",
    "embedded:stsb_pl": "CC-BY-SA-4.0 (scores; texts of mixed origin)",
    "stanfordnlp/snli": "CC-BY-SA-4.0",
    "facebook/xnli": "CC-BY-NC-4.0 (no commercial use)",
}
UNKNOWN = "unknown"
HUB_LICENCE = re.compile(r"(apache-2\.0|mit|isc|cc0-1\.0|cc-by(-nc)?(-sa)?-[234]\.\d)\b", re.IGNORECASE)


def licence(model: str) -> str:
    """The licence of a model field's value, `unknown` where the table has none."""
    return LICENCES.get(model, UNKNOWN)


def data_licence(name: str) -> str:
    """The licence of data by its name, that of the hub or `embedded:NAME`; `unknown` where the table has none."""
    return DATA_LICENCES.get(name, UNKNOWN)


def licence_in_card(folder: Path) -> str:
    """The licence that the model card in a folder states; `unknown` where it states none, or there is no card."""
    try:
        metadata: dict[str, Any] = metadata_load(folder / "README.md") or {}
    except (OSError, ValueError, AttributeError, yaml.YAMLError):
        return UNKNOWN
    stated = metadata.get("license")
    return stated if isinstance(stated, str) and stated not in ("", "other") else UNKNOWN


def is_non_commercial(words: str) -> bool:
    """Whether a licence forbids commercial use."""
    return "-NC" in words.upper()


def is_share_alike(words: str) -> bool:
    """Whether a licence asks that what is made of it gets the same licence."""
    return "-SA" in words.upper()


def strictest(licences: Iterable[str]) -> str:
    """The licence that asks most, as the hub names it: `unknown` where one is unknown, `other` where it has no name.

    Without commercial use is stricter than share-alike, which is stricter than the others; among equals the first.
    """
    known = list(licences)
    if UNKNOWN in known:
        return UNKNOWN
    words = max(
        known, key=lambda words: (is_non_commercial(words), is_share_alike(words), words.upper().startswith("CC"))
    )
    name = HUB_LICENCE.match(words)
    return name[0].lower() if name else "other"
