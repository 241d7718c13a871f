"""What runs a translation model: transformers, or CTranslate2 on the same checkpoint, converted once.

Both take a batch of source token ids and return target token ids.
"""

from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from nlift.data import sources
from nlift.errors import ModelError, first_line
from nlift.models import beam_search
from nlift.models.auto_classes import AutoConfig, AutoModelForSeq2SeqLM
from nlift.models.backbone import broken_weight
from nlift.models.ctranslate2 import converted
from nlift.settings import TranslateConfig

Ids = list[int]


class TransformersEngine:
    """`generate` of transformers. Raises ModelError where the model cannot be loaded."""

    def __init__(self, config: TranslateConfig, tokenizer: PreTrainedTokenizerBase) -> None:
        self.config, self.tokenizer = config, tokenizer
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        dtype = getattr(torch, _precision(config, "float16" if self.device.type == "cuda" else "float32"))
        source = sources.model_source(config.model, "translator")
        try:
            model = AutoModelForSeq2SeqLM.from_pretrained(
                source, revision=config.revision, dtype=dtype, trust_remote_code=False
            )
        except Exception as error:
            raise _unloadable(config, error) from None
        broken = broken_weight(model)
        if broken is not None:
            raise _unloadable(config, ValueError(f"{broken} is not finite, the checkpoint is damaged"))
        self.model = model.eval().to(self.device)
        self.max_source_tokens = _room(tokenizer, self.model.config)

    def generate(self, rows: list[Ids], begin: int | None) -> list[Ids]:
        """Target token ids of source token ids, [len(rows)] lists, each beginning with `begin` where it is given."""
        padded = self.tokenizer.pad({"input_ids": rows}, return_tensors="pt").to(self.device)
        with torch.inference_mode():
            tokens = self.model.generate(
                input_ids=padded["input_ids"],
                attention_mask=padded["attention_mask"],
                forced_bos_token_id=begin,
                forced_eos_token_id=None,  # mBART's and Marian's settings end what was cut off as if it had ended
                num_beams=self.config.num_beams,
                length_penalty=self.config.length_penalty,
                no_repeat_ngram_size=self.config.no_repeat_ngram_size,
                max_new_tokens=self.config.max_new_tokens,
                do_sample=False,
                custom_generate=beam_search.search,
            )
        return [row[1:] for row in tokens.tolist()]  # without the decoder's start token


class CTranslate2Engine:
    """CTranslate2: int8 on CPU and float16 on GPU unless `compute_type` says otherwise.

    Raises ModelError where the model cannot be converted.
    """

    def __init__(self, config: TranslateConfig, tokenizer: PreTrainedTokenizerBase) -> None:
        import ctranslate2

        if getattr(tokenizer, "separate_vocabs", False):
            mistake = "separate_vocabs: ctranslate2 takes one vocabulary for both sides; expected engine transformers"
            raise ModelError(f"translate.model {config.model}: {mistake}")
        self.config, self.tokenizer = config, tokenizer
        device = "cuda" if ctranslate2.get_cuda_device_count() else "cpu"
        precision = _precision(config, "float16" if device == "cuda" else "int8")
        source = sources.model_source(config.model, "translator")
        threads = {"inter_threads": 1, "intra_threads": torch.get_num_threads()}
        try:
            folder = converted(config.model, "translator", config.revision, precision)
            self.model = ctranslate2.Translator(str(folder), device=device, compute_type=precision, **threads)
        except Exception as error:
            raise _unloadable(config, error) from None
        described = AutoConfig.from_pretrained(source, revision=config.revision, trust_remote_code=False)
        self.max_source_tokens = _room(tokenizer, described)

    def generate(self, rows: list[Ids], begin: int | None) -> list[Ids]:
        """Target token ids of source token ids, [len(rows)] lists, each beginning with `begin` where it is given."""
        tokens = [self.tokenizer.convert_ids_to_tokens(row) for row in rows]
        prefix = None if begin is None else [[self.tokenizer.convert_ids_to_tokens(begin)]] * len(rows)
        results = self.model.translate_batch(
            tokens,
            target_prefix=prefix,
            beam_size=self.config.num_beams,
            length_penalty=self.config.length_penalty,
            no_repeat_ngram_size=self.config.no_repeat_ngram_size,
            max_decoding_length=self.config.max_new_tokens,
            max_input_length=0,
            return_end_token=True,
        )
        return [self.tokenizer.convert_tokens_to_ids(result.hypotheses[0]) for result in results]


def load_engine(config: TranslateConfig, tokenizer: PreTrainedTokenizerBase) -> TransformersEngine | CTranslate2Engine:
    """The engine that an experiment names."""
    engine = CTranslate2Engine if config.engine == "ctranslate2" else TransformersEngine
    return engine(config, tokenizer)


def _precision(config: TranslateConfig, fastest: str) -> str:
    return fastest if config.compute_type == "auto" else config.compute_type


def _room(tokenizer: PreTrainedTokenizerBase, config: Any) -> int:
    """Source tokens that the model takes."""
    positions = getattr(config, "max_position_embeddings", None) or 512
    return min(tokenizer.model_max_length, positions, 1024)


def _unloadable(config: TranslateConfig, error: Exception) -> ModelError:
    mistake = f"translate.model {config.model}: cannot be loaded as a translator by {config.engine}"
    return ModelError(f"{mistake}: {first_line(error)}")
