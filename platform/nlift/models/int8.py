"""An encoder's backbone with its matrices in int8, run by CTranslate2 on a CPU."""

import numpy as np
import torch
from torch import Tensor
from transformers.utils import logging

from nlift.errors import ModelError, first_line
from nlift.models.ctranslate2 import converted

KINDS = ("bert", "distilbert", "roberta", "xlm-roberta", "camembert")  # that CTranslate2 knows, by their model_type


class Int8Backbone:
    """Hidden states as the transformers backbone has them, nearly.

    The checkpoint is converted once per machine. Raises ModelError where CTranslate2 does not know
    the kind of model.
    """

    def __init__(self, path: str, revision: str | None, subfolder: str = "") -> None:
        import ctranslate2

        threads, verbosity = torch.get_num_threads(), logging.get_verbosity()
        logging.set_verbosity_error()  # a fresh pooler, which is not used, would be warned of
        try:
            folder = converted(path, "encoder", revision, "int8_float32", subfolder)
            self.model = ctranslate2.Encoder(
                str(folder), device="cpu", compute_type="int8_float32", inter_threads=threads, intra_threads=1
            )
        except Exception as error:
            message = f"{path}: cannot run in int8, compute_type float32 can ({first_line(error)})"
            raise ModelError(message) from None
        finally:
            logging.set_verbosity(verbosity)
            torch.set_num_threads(threads)  # CTranslate2 sets its own number for the whole thread

    def __call__(self, rows: list[list[int]]) -> Tensor:
        """Hidden states, float32 [B, T, D], of token ids; what stands beyond a row's end means nothing."""
        return torch.from_numpy(np.array(self.model.forward_batch(rows).last_hidden_state))
