"""What a stage has to do, in units that can be counted; cost/prediction.py makes seconds of it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from transformers import PreTrainedTokenizerBase

from nlift.data import sources
from nlift.data.corpus import usable_corpus
from nlift.data.schema import Document
from nlift.models import comet, encoder_format
from nlift.models.auto_classes import AutoTokenizer

Kind = Literal["translator", "comet", "encoder"]
Use = Literal["translate", "score", "embed", "train"]
CHARACTERS_PER_TOKEN = 4.0  # where a model's tokenizer is not here
SPECIAL_TOKENS = 2  # of a text, where a model's tokenizer is not here
TARGET_TOKENS = 1.0  # of a translation, for each of its source
SAMPLE = 400  # texts that are tokenised to know how long they are


@dataclass(frozen=True)
class NamedModel:
    """A model that an experiment names: a hub name, a folder or `embedded`."""

    name: str
    kind: Kind


@dataclass(frozen=True)
class Pass:
    """Work that several workers can share: tokens through a model, and what is done beside it."""

    use: Use
    model: NamedModel
    tokens: float
    settings: str = ""
    """What its speed depends on beside the model and the machine, in words: `ctranslate2, auto, 4 beams`."""
    cpu_s: float = 0.0
    """Seconds of one CPU beside the model, shared out together with the tokens."""
    most_workers: float = math.inf
    """That can share it: it comes in no more pieces, or the largest of unequal ones is so large a part of it."""


@dataclass(frozen=True)
class Workload:
    """What a stage has to do."""

    passes: tuple[Pass, ...] = ()
    serial_s: float = 0.0
    """Seconds of one process that no further worker shortens: reading, joins, sorting, finishing an index."""


def shards(count: float, size: int, workers: int | None = None) -> float:
    """How many workers can share so many rows that are cut in shards of a size, no more than are wanted."""
    return min(max(1, math.ceil(count / size)), workers or math.inf)


def mean_tokens(model: NamedModel, texts: Sequence[str], most: int | None = None) -> float:
    """Tokens of a text on average, special ones included, cut to `most`; by its characters where no tokenizer is here.

    Looks at some of the texts, evenly drawn; 0 where there are none.
    """
    lengths = _lengths(model, texts[:: max(1, len(texts) // SAMPLE)])
    return sum(min(length, most or math.inf) for length in lengths) / max(1, len(lengths))


def document_tokens(model: NamedModel, corpus: str, max_length: int, overlap: int | None) -> tuple[int, float]:
    """Documents of a corpus, and the tokens of all their passages; of each document's first part without an overlap."""
    documents = usable_corpus(corpus)
    return len(documents), len(documents) * mean_passages(model, documents, max_length, overlap)


def mean_passages(model: NamedModel, documents: Sequence[Document], max_length: int, overlap: int | None) -> float:
    """Tokens of a document on average, those that its passages share counted as often as they are read."""
    texts = [document.content for document in documents[:: max(1, len(documents) // SAMPLE)]]
    if overlap is None or not texts:
        return mean_tokens(model, texts, max_length)
    lengths = _lengths(model, texts)
    step = max(1, max_length - overlap)
    return sum(length + overlap * max(0, math.ceil((length - max_length) / step)) for length in lengths) / len(texts)


def _lengths(model: NamedModel, texts: Sequence[str]) -> list[float]:
    """Tokens of each text, special ones included."""
    tokenizer = _tokenizer(model)
    if tokenizer is None:
        return [len(text) / CHARACTERS_PER_TOKEN + SPECIAL_TOKENS for text in texts]
    return [float(len(ids)) for ids in tokenizer(list(texts), verbose=False)["input_ids"]] if texts else []


def _tokenizer(model: NamedModel) -> PreTrainedTokenizerBase | None:
    source = sources.model_source(model.name, model.kind)
    return _loaded(source, model.kind) if Path(source).is_dir() else None


@lru_cache(maxsize=8)
def _loaded(source: str, kind: Kind) -> PreTrainedTokenizerBase | None:
    folder = Path(source)
    if kind == "encoder":
        saved = encoder_format.read(source, None)
        folder = folder / saved.backbone if saved is not None else folder
    if kind == "comet":
        folder = Path(comet.encoder_source(folder))
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError):  # of a COMET whose encoder is the hub's
        return None
