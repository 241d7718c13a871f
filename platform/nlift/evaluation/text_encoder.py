"""What evaluation needs of an encoder."""

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np

Role = Literal["query", "passage"] | None


class TextEncoder(Protocol):
    """Anything that turns texts into unit vectors."""

    def encode(
        self,
        texts: Sequence[str],
        *,
        role: Role = None,
        max_length: int | None = None,
    ) -> np.ndarray:
        """Unit vectors, float32 [N, D]."""
        ...
