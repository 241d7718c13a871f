"""Stage `translate`: each distinct sentence through a sequence-to-sequence model, once."""

from typing import Any

import numpy as np
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, PreTrainedTokenizerBase

from nlift import nli, progress, sources
from nlift.artifacts import Output, Stage, read_rows
from nlift.batching import token_batches
from nlift.config import Experiment, TranslateConfig
from nlift.errors import ConfigError, ModelError
from nlift.memory import Memory, fill
from nlift.schema import Batch, NLIPair, TranslatedPair, Translation

PERFORMANCE = {"batch_tokens", "shard_size", "num_actors"}  # settings that do not change results


class Translator:
    """A translation model; loads once, then turns `source` into `target` batch by batch.

    Raises ModelError where the model is missing, corrupt or no translator, ConfigError where it
    does not know a language.
    """

    def __init__(self, config: TranslateConfig) -> None:
        self.config = config
        source = sources.model_source(config.model, "translator")
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(source, revision=config.revision)
            model = AutoModelForSeq2SeqLM.from_pretrained(
                source,
                revision=config.revision,
                dtype=torch.float16 if self.device.type == "cuda" else torch.float32,
            )
        except Exception as error:
            message = str(error).splitlines()[0]
            raise ModelError(f"translate.model {config.model}: cannot be loaded as a translator: {message}") from None
        self.model = model.eval().to(self.device)
        self.forced_bos_token_id = self._set_languages()

    def __call__(self, batch: Batch) -> Batch:
        return {**batch, "target": np.array(self.translate(list(batch["source"])), dtype=object)}

    def translate(self, texts: list[str]) -> list[str]:
        """The translations of texts, in their order; an empty one where the model emits nothing."""
        limit = min(self.tokenizer.model_max_length, 512)
        rows = self.tokenizer(texts, truncation=True, max_length=limit)["input_ids"]
        targets = [""] * len(texts)
        for positions in token_batches([len(row) for row in rows], self.config.batch_tokens):
            padded = self.tokenizer.pad({"input_ids": [rows[i] for i in positions]}, return_tensors="pt")
            for position, target in zip(positions, self._generate(padded), strict=True):
                targets[position] = target.strip()
        return targets

    @torch.inference_mode()
    def _generate(self, inputs: Any) -> list[str]:
        inputs = {name: tensor.to(self.device) for name, tensor in inputs.items()}
        tokens = self.model.generate(
            **inputs,
            forced_bos_token_id=self.forced_bos_token_id,
            num_beams=self.config.num_beams,
            max_new_tokens=self.config.max_new_tokens,
            do_sample=False,
        )
        return self.tokenizer.batch_decode(tokens, skip_special_tokens=True)

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


def memory(experiment: Experiment) -> Memory:
    """The translation memory that this experiment's settings share with others."""
    assert experiment.translate is not None
    return Memory(experiment.root / "translations", _settings(experiment.translate), Translation)


def stage(experiment: Experiment) -> Stage:
    """The stage's folder and what its content depends on."""
    assert experiment.translate is not None
    identity = {"config": _settings(experiment.translate), "inputs": [nli.stage(experiment).fingerprint]}
    return Stage("translate", experiment.folder / "translate", identity)


def write(experiment: Experiment, output: Output) -> None:
    """Translate what the memory lacks, then join; a pair without a translation goes to quarantine."""
    pairs = read_rows(experiment.folder / "nli", NLIPair)
    output.rows_in = len(pairs)
    mine = memory(experiment)
    keys = {text: mine.key(text) for pair in pairs for text in (pair.premise, pair.hypothesis)}
    known = mine.read("target")
    missing = {key: (text,) for text, key in keys.items() if key not in known}
    with progress.bar("translate", len(missing), "sentences") as advance:
        for count in fill(mine, missing, ("source",), Translator, experiment.translate):
            advance(count)
    known = mine.read("target")
    translated = []
    for pair in pairs:
        premise, hypothesis = known[keys[pair.premise]], known[keys[pair.hypothesis]]
        if premise and hypothesis:
            translated.append(TranslatedPair(**vars(pair), premise_mt=premise, hypothesis_mt=hypothesis))
        else:
            output.quarantine(pair, "the model emitted nothing")
    output.notes = {"distinct_sentences": len(keys), "translated_now": len(missing)}
    output.write_rows(translated, TranslatedPair)


def _settings(config: TranslateConfig) -> dict[str, Any]:
    """All that changes a translation, and nothing else."""
    settings = config.model_dump(mode="json", exclude=PERFORMANCE)
    settings["model"] = sources.model_fingerprint(config.model, "translator", config.revision)
    return settings
