"""A translation model: sentences in, translations or faults out."""

import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nlift.data import sources
from nlift.data.result_cache import ResultCache
from nlift.data.schema import Batch, Translation
from nlift.errors import ConfigError, ModelError, first_line
from nlift.models.auto_classes import AutoConfig, AutoTokenizer
from nlift.models.batching import in_batches, lowered, token_budget
from nlift.models.language_codes import known_code, language_codes, meant, text_prefix
from nlift.models.translation_engines import load_engine
from nlift.settings import TranslateConfig

PERFORMANCE = {"batch_tokens", "shard_size", "num_actors", "candidates"}  # settings that do not change results
Attempt = tuple[str | None, str | None]  # the translation and null, or null and the fault


class Translator:
    """A translation model; loads once, then turns `source` into `target` and `fault` batch by batch.

    `fault` says why a source has no translation, null where it has one. Raises ModelError where the
    model is missing, corrupt or no translator, ConfigError where it does not know a language.
    """

    def __init__(self, config: TranslateConfig) -> None:
        self.config = config
        self.notices: list[str] = []
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.budget = token_budget("translate", device, config.batch_tokens)
        languages = Languages(config)
        self.tokenizer, self.begin, self.prefix = languages.tokenizer, languages.begin, languages.prefix
        self.special = set(self.tokenizer.all_special_ids)  # kept: slow tokenizers gather them anew for every token
        self.engine = load_engine(config, self.tokenizer)

    def __call__(self, batch: Batch) -> Batch:
        """The batch with the columns `target` and `fault`."""
        attempts = self.attempt(list(batch["source"]))
        targets = np.array([target for target, _ in attempts], dtype=object)
        faults = np.array([fault for _, fault in attempts], dtype=object)
        return {**batch, "target": targets, "fault": faults}

    def translate(self, texts: list[str]) -> list[str]:
        """The translations of texts, in their order; an empty one where there is a fault."""
        return [target or "" for target, _ in self.attempt(texts)]

    def attempt(self, texts: list[str]) -> list[Attempt]:
        """Of each text its translation and null, or null and the fault; in their order."""
        texts = [clean(text) for text in texts]
        rows = self.tokenizer([self.prefix + text for text in texts])["input_ids"]
        room = self.engine.max_source_tokens
        fitting = [i for i, row in enumerate(rows) if len(row) <= room and texts[i]]
        targets = self._generate([rows[i] for i in fitting])
        attempts: list[Attempt] = [
            (None, f"{len(row)} tokens, the model takes {room}" if len(row) > room else "nothing to translate")
            for row in rows
        ]
        for i, attempt in zip(fitting, self._decoded(targets), strict=True):
            attempts[i] = attempt
        return attempts

    def _generate(self, rows: list[list[int]]) -> list[list[int]]:
        """Target token ids of source token ids, in their order."""
        targets, budget = in_batches(
            [len(row) for row in rows],
            self.budget,
            lambda positions: self.engine.generate([rows[i] for i in positions], self.begin),
        )
        if budget < self.budget:
            self.notices.append(lowered("translate", self.budget, budget))
            self.budget = budget
        return targets

    def _decoded(self, targets: list[list[int]]) -> list[Attempt]:
        """What target token ids say; a fault where they are cut off or say nothing."""
        plain = [[token for token in row if token not in self.special] for row in targets]
        attempts: list[Attempt] = []
        for tokens, target in zip(targets, self.tokenizer.batch_decode(plain), strict=True):
            if self.tokenizer.eos_token_id not in tokens:
                attempts.append((None, f"the translation did not end within {self.config.max_new_tokens} tokens"))
            else:
                attempts.append((target.strip(), None) if target.strip() else (None, "the model emitted nothing"))
        return attempts


TAUGHT = ("en", "pl")  # of the hundred that the embedded translator's tokenizer has


class Languages:
    """How a model is told its languages: its tokenizer, and what stands before a text or its translation.

    Loads no weights. Raises ModelError and ConfigError as Translator does.

    Attributes:
        tokenizer: The model's tokenizer.
        begin: The token that a translation must begin with; None where none is needed.
        prefix: What a text must begin with, mostly nothing.
    """

    def __init__(self, config: TranslateConfig) -> None:
        source = sources.model_source(config.model, "translator")
        if Path(source).is_dir():
            sources.refuse_own_code(Path(source))
        where = {"revision": config.revision, "trust_remote_code": False}
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(source, **where)
            model_config = AutoConfig.from_pretrained(source, **where)
        except Exception as error:
            mistake = f"translate.model {config.model}: cannot be loaded as a translator"
            raise ModelError(f"{mistake}: {first_line(error)}") from None
        self.begin = self._begin(config)
        self.prefix = "" if self.begin is not None else text_prefix(config, self.tokenizer, model_config)
        if self.begin is None and not self.prefix:
            self._check_pair(config)

    def _check_pair(self, config: TranslateConfig) -> None:
        """Raise ConfigError where a model of one pair says that its languages are others."""
        for field, own in (("source_language", "source_lang"), ("target_language", "target_lang")):
            has, wanted = self.tokenizer.init_kwargs.get(own), getattr(config, field)
            if isinstance(has, str) and has and not meant([has], wanted):
                raise ConfigError(f"translate.{field}: {config.model} does not know {wanted!r}; it knows {has}")

    def _begin(self, config: TranslateConfig) -> int | None:
        codes = language_codes(self.tokenizer)
        if not codes:
            return None  # one language pair only, or the language is said in the text, as Marian
        if config.model == "embedded":
            codes = {code: codes[code] for code in TAUGHT}
        self.tokenizer.src_lang = known_code(config, codes, "source_language", config.source_language)
        return codes[known_code(config, codes, "target_language", config.target_language)]


def clean(text: str) -> str:
    """A text as the model gets it: control characters and runs of white space are one space each."""
    printable = [" " if unicodedata.category(character) in ("Cc", "Cs", "Co") else character for character in text]
    return " ".join("".join(printable).split())


def candidates(config: TranslateConfig) -> list[TranslateConfig]:
    """The settings of each model to translate with; one, unless candidates are to be compared."""
    alone = config.model_copy(update={"candidates": []})
    return [alone.model_copy(update={"model": model}) for model in config.candidates] or [alone]


def identity(config: TranslateConfig) -> dict[str, Any]:
    """All that changes a translation, and nothing else."""
    settings = config.model_dump(mode="json", exclude=PERFORMANCE)
    settings["model"] = sources.model_fingerprint(config.model, "translator", config.revision)
    return settings


def cache(config: TranslateConfig, folder: str) -> ResultCache:
    """The translations under `folder` that these settings share with other experiments."""
    return ResultCache(f"{folder}/translations", identity(config), Translation)
