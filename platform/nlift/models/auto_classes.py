"""What transformers loads models with by their config.json, without scikit-learn and scipy.

Transformers imports them, where they are installed, for assisted decoding and for losses of object detection, which
nothing here does; that would take a quarter of the time in which a worker starts.
"""

from transformers.utils import import_utils

import_utils._sklearn_available = import_utils._scipy_available = False

from transformers import AutoConfig, AutoModel, AutoModelForSeq2SeqLM, AutoTokenizer, PreTrainedModel  # noqa: E402
from transformers.models.auto.modeling_auto import (  # noqa: E402
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)

__all__ = [
    "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
    "MODEL_FOR_MASKED_LM_MAPPING_NAMES",
    "AutoConfig",
    "AutoModel",
    "AutoModelForSeq2SeqLM",
    "AutoTokenizer",
    "PreTrainedModel",
]
