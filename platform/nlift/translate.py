"""Stage `translate`: each distinct sentence through a sequence-to-sequence model, once."""

import unicodedata
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from nlift import nli, sources, tables
from nlift.artifacts import Output, Stage, rows_on_disk
from nlift.batching import in_batches, lowered
from nlift.config import Experiment
from nlift.engines import load_engine
from nlift.errors import ConfigError, DataError, ModelError
from nlift.memory import Memory, complete
from nlift.schema import Batch, NLIPair, TranslatedPair, Translation, arrow_schema
from nlift.sections import TranslateConfig
from nlift.tables import Tables

PERFORMANCE = {"batch_tokens", "shard_size", "num_actors", "candidates"}  # settings that do not change results
SENTENCES = "SELECT premise AS source FROM pairs UNION ALL SELECT hypothesis FROM pairs"
BATCH_TOKENS = {"cpu": 2048, "cuda": 8192}


class Translator:
    """A translation model; loads once, then turns `source` into `target` and `fault` batch by batch.

    `fault` says why a source has no translation, null where it has one. Raises ModelError where the
    model is missing, corrupt or no translator, ConfigError where it does not know a language.
    """

    def __init__(self, config: TranslateConfig) -> None:
        self.config = config
        self.notices: list[str] = []
        self.budget = config.batch_tokens or BATCH_TOKENS["cuda" if torch.cuda.is_available() else "cpu"]
        source = sources.model_source(config.model, "translator")
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(source, revision=config.revision)
        except Exception as error:
            message = str(error).splitlines()[0]
            raise ModelError(f"translate.model {config.model}: cannot be loaded as a translator: {message}") from None
        self.begin = self._set_languages()
        self.special = set(self.tokenizer.all_special_ids)  # kept: slow tokenizers gather them anew for every token
        self.engine = load_engine(config, self.tokenizer)

    def __call__(self, batch: Batch) -> Batch:
        attempts = self.attempt(list(batch["source"]))
        target, fault = (np.array([one[i] for one in attempts], dtype=object) for i in (0, 1))
        return {**batch, "target": target, "fault": fault}

    def translate(self, texts: list[str]) -> list[str]:
        """The translations of texts, in their order; an empty one where there is a fault."""
        return [target or "" for target, _ in self.attempt(texts)]

    def attempt(self, texts: list[str]) -> list[tuple[str | None, str | None]]:
        """Of each text its translation and null, or null and the fault; in their order."""
        texts = [clean(text) for text in texts]
        rows = self.tokenizer(texts)["input_ids"]
        room = self.engine.max_source_tokens
        fitting = [i for i, row in enumerate(rows) if len(row) <= room and texts[i]]
        targets, budget = in_batches(
            [len(rows[i]) for i in fitting],
            self.budget,
            lambda batch: self.engine.generate([rows[fitting[i]] for i in batch], self.begin),
        )
        if budget < self.budget:
            self.notices.append(lowered("translate", self.budget, budget))
            self.budget = budget
        found: list[tuple[str | None, str | None]] = [
            (None, f"{len(row)} tokens, the model takes {room}" if len(row) > room else "nothing to translate") for row in rows
        ]
        decoded = self.tokenizer.batch_decode([[token for token in row if token not in self.special] for row in targets])
        for i, tokens, target in zip(fitting, targets, decoded, strict=True):
            if self.tokenizer.eos_token_id not in tokens:
                found[i] = (None, f"the translation did not end within {self.config.max_new_tokens} tokens")
            else:
                found[i] = (target.strip(), None) if target.strip() else (None, "the model emitted nothing")
        return found

    def _set_languages(self) -> int | None:
        """Tell the tokenizer the languages; the token that the translation must begin with."""
        codes = language_codes(self.tokenizer)
        if not codes:
            return None  # one language pair only, as Marian
        self.tokenizer.src_lang = self._code(codes, "source_language")
        return codes[self._code(codes, "target_language")]

    def _code(self, codes: dict[str, int], field: str) -> str:
        wanted = getattr(self.config, field)
        for code in codes:
            if code == wanted or code.split("_")[0] == wanted:
                return code
        raise ConfigError(f"translate.{field}: {self.config.model} does not know {wanted!r}; it knows {', '.join(sorted(codes))}")


def clean(text: str) -> str:
    """A text as the model gets it: control characters and runs of white space are one space each."""
    printable = "".join(" " if unicodedata.category(character) in ("Cc", "Cs", "Co") else character for character in text)
    return " ".join(printable.split())


def language_codes(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """Token ids by language code, as `pl` (M2M100) or `pl_PL` (mBART-50); empty for one-pair models."""
    for attribute in ("lang_code_to_id", "lang_token_to_id"):
        found = getattr(tokenizer, attribute, None)
        if found:
            return {code.strip("_"): token for code, token in found.items()}
    if not hasattr(tokenizer, "src_lang"):
        return {}
    special = [token for token in tokenizer.additional_special_tokens if len(token.split("_")) == 2]
    return {token: tokenizer.convert_tokens_to_ids(token) for token in special}


def memory(experiment: Experiment, config: TranslateConfig) -> Memory:
    """The translation memory that these settings share with other experiments."""
    return Memory(f"{experiment.memories}/translations", settings(config), Translation)


def stage(experiment: Experiment) -> Stage:
    """The stage's folder and what its content depends on."""
    assert experiment.translate is not None
    configs = candidates(experiment.translate)
    identity: dict[str, Any] = {"config": settings(configs[0]), "inputs": [nli.stage(experiment).fingerprint]}
    if len(configs) > 1:
        assert experiment.score is not None
        judge = sources.model_fingerprint(experiment.score.model, "comet", experiment.score.revision)
        identity |= {"candidates": [settings(one) for one in configs], "judge": judge}
    return Stage("translate", experiment.folder / "translate", identity)


def candidates(config: TranslateConfig) -> list[TranslateConfig]:
    """The settings of each model to translate with; one, unless candidates are to be compared."""
    alone = config.model_copy(update={"candidates": []})
    return [alone.model_copy(update={"model": model}) for model in config.candidates] or [alone]


def write(experiment: Experiment, output: Output) -> None:
    """Translate what the memory lacks, then join; a pair without a translation goes to quarantine."""
    assert experiment.translate is not None
    configs = candidates(experiment.translate)
    with tables.opened(output.path) as database:
        database.add("pairs", rows_on_disk(experiment.folder / "nli", NLIPair))
        output.rows_in = database.count("FROM pairs")
        now = [translated(experiment, config, database, table_of(i)) for i, config in enumerate(configs)]
        output.notes = {"distinct_sentences": database.count(f"FROM {table_of(0)}"), "translated_now": sum(now)}
        chosen = 0
        if len(configs) > 1:
            from nlift import candidates as comparison  # it scores, and scoring reads this stage

            found = comparison.compare(experiment, database, [config.model for config in configs])
            chosen = found.best
            output.notes |= {"candidates": found.table, "chosen": configs[chosen].model}
        join(database, table_of(chosen), output)


def table_of(candidate: int) -> str:
    """The table of a candidate's translations: source, target, fault."""
    return f"translations_{candidate}"


def translated(experiment: Experiment, config: TranslateConfig, database: Tables, table: str) -> int:
    """Make a table of all sentences of `pairs`, translated; how many were not in the memory."""
    return complete(database, table, SENTENCES, memory(experiment, config), Translator, config, "translate")


def join(database: Tables, table: str, output: Output) -> None:
    """Write the pairs that `table` has both translations of, set the others aside. Raises DataError where none is left."""
    # one join at a time: each may take all of the memory there is
    premises = "SELECT p.*, t.target AS premise_mt, t.fault AS premise_fault"
    database.make("halves", f"{premises} FROM pairs p JOIN {table} t ON t.source = p.premise")
    fault = "coalesce('premise: ' || premise_fault, 'hypothesis: ' || t.fault)"
    hypotheses = f"SELECT p.*, t.target AS hypothesis_mt, {fault} AS reason"
    database.make("joined", f"{hypotheses} FROM halves p JOIN {table} t ON t.source = p.hypothesis")
    columns = ", ".join(field.name for field in fields(NLIPair))
    for row in database.rows(f"SELECT {columns}, reason FROM joined WHERE reason IS NOT NULL ORDER BY pair_id"):
        output.quarantine(row, row.pop("reason"))
    good = "FROM joined WHERE reason IS NULL ORDER BY pair_id"
    output.rows_out = database.write(good, output.path / "rows.parquet", arrow_schema(TranslatedPair))
    if not output.rows_out:
        fault = min(output.reasons)
        raise DataError(f"translate: no pair of {output.rows_in} has a translation; a fault: {fault}")


def settings(config: TranslateConfig) -> dict[str, Any]:
    """All that changes a translation, and nothing else."""
    found = config.model_dump(mode="json", exclude=PERFORMANCE)
    found["model"] = sources.model_fingerprint(config.model, "translator", config.revision)
    return found
