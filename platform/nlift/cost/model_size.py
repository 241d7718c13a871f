"""How large a model is: parameters, and the operations that a token takes; from its configuration, without weights.

A matrix of n x m numbers takes 2nm operations per token. Attention over the other tokens, norms and tables that are
looked up are left out: of sentences and passages they are little.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from transformers import AutoConfig

from nlift.data import sources
from nlift.models import comet, encoder_format
from nlift.pipeline.workload import NamedModel

TRANSLATED = 1.0  # target tokens of a source token


@dataclass(frozen=True)
class ModelSize:
    """The shape of a transformer; `decoder_layers` is 0 of an encoder."""

    layers: int
    decoder_layers: int
    width: int
    inner: int
    vocabulary: int

    @property
    def parameters(self) -> float:
        """Weights, word embeddings included."""
        return self._encoder + self._decoder + self.vocabulary * self.width

    def operations(self, beams: int = 1) -> float:
        """Floating point operations of a source token, forward; `beams` that a translation is searched with."""
        decoded = self._decoder + self.vocabulary * self.width if self.decoder_layers else 0
        return 2 * (self._encoder + TRANSLATED * beams * decoded)

    @property
    def _encoder(self) -> float:
        return self.layers * (4 * self.width**2 + 2 * self.width * self.inner)

    @property
    def _decoder(self) -> float:
        return self.decoder_layers * (8 * self.width**2 + 2 * self.width * self.inner)


BASE, LARGE = (12, 0, 768, 3072), (24, 0, 1024, 4096)
ON_THE_HUB = {  # what their config.json says
    "facebook/m2m100_418M": ModelSize(12, 12, 1024, 4096, 128_112),
    "facebook/m2m100_1.2B": ModelSize(24, 24, 1024, 8192, 128_112),
    "facebook/mbart-large-50-many-to-many-mmt": ModelSize(12, 12, 1024, 4096, 250_054),
    "facebook/nllb-200-distilled-600M": ModelSize(12, 12, 1024, 4096, 256_206),
    "Unbabel/wmt20-comet-qe-da": ModelSize(*LARGE, 250_002),
    "Unbabel/wmt22-cometkiwi-da": ModelSize(*LARGE, 250_002),
    "allegro/herbert-base-cased": ModelSize(*BASE, 50_000),
    "allegro/herbert-large-cased": ModelSize(*LARGE, 50_000),
    "google-bert/bert-base-uncased": ModelSize(*BASE, 30_522),
    "bert-base-uncased": ModelSize(*BASE, 30_522),
    "FacebookAI/xlm-roberta-base": ModelSize(*BASE, 250_002),
    "xlm-roberta-base": ModelSize(*BASE, 250_002),
    "intfloat/multilingual-e5-small": ModelSize(12, 0, 384, 1536, 250_037),
    "intfloat/multilingual-e5-base": ModelSize(*BASE, 250_002),
    "intfloat/multilingual-e5-large": ModelSize(*LARGE, 250_002),
}


def size_of(model: NamedModel) -> ModelSize | None:
    """The size of a model: of a folder, of one that was fetched earlier, or of a well-known one; None of others."""
    source = sources.model_source(model.name, model.kind)
    return _read(source, model.kind) or ON_THE_HUB.get(model.name)


@lru_cache(maxsize=32)
def _read(source: str, kind: str) -> ModelSize | None:
    folder = Path(source)
    if folder.is_dir() and kind == "comet":
        source = comet.encoder_source(folder)
        if not Path(source).is_dir():
            return ON_THE_HUB.get(source)
    if folder.is_dir() and kind == "encoder":
        saved = encoder_format.read(source, None)
        source = str(folder / saved.backbone) if saved is not None else source
    try:
        config = AutoConfig.from_pretrained(source, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError):
        return None
    return _of_config(config)


def _of_config(config: Any) -> ModelSize | None:
    def number(*names: str) -> int:
        return next((value for name in names if isinstance(value := getattr(config, name, None), int)), 0)

    width = number("hidden_size", "d_model", "dim")
    layers = number("encoder_layers", "num_hidden_layers", "num_layers")
    decoder_layers = number("decoder_layers", "num_decoder_layers") if config.is_encoder_decoder else 0
    inner = number("encoder_ffn_dim", "intermediate_size", "hidden_dim", "d_ff", "d_inner") or 4 * width
    size = ModelSize(layers, decoder_layers, width, inner, number("vocab_size"))
    return size if width and layers else None
