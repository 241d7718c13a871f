"""Soft whitening: a linear layer after which a corpus's vectors spread more evenly (arXiv 2103.15316, section 3).

With the covariance U S U^T of unit vectors x around their mean m it is U S^-power U^T (x - m); a power of 0 centres
alone, 0.5 is the whole whitening. It is fitted on documents alone, and no query is needed.

Shape suffixes: N vectors, D dimensions.
"""

import numpy as np
import torch
from torch.nn.functional import linear, normalize

from nlift.errors import DataError

LEAST_VARIANCE = 1e-3  # of a direction, as a share of the mean: less says nothing, and would be blown up


def fitted(vectors_ND: np.ndarray, power: float) -> torch.nn.Linear:
    """The whitening of a corpus, float32 D to D, not to be trained.

    Args:
        vectors_ND: Unit vectors of its documents, float32 [N, D].
        power: Of the inverse variances, 0 to 0.5.
    """
    vectors_ND = vectors_ND.astype(np.float64)
    mean_D = vectors_ND.mean(0)
    centred_ND = vectors_ND - mean_D
    variances_D, directions_DD = np.linalg.eigh(centred_ND.T @ centred_ND / len(vectors_ND))
    variances_D = np.maximum(variances_D, max(LEAST_VARIANCE * variances_D.mean(), 1e-12))
    stretch_D = (variances_D / variances_D.mean()) ** -power  # near 1: vectors stay about as long as they are
    weight_DD = directions_DD * stretch_D @ directions_DD.T
    return layer(torch.from_numpy(weight_DD).float(), torch.from_numpy(-weight_DD @ mean_D).float())


def check(count: int, dim: int) -> None:
    """Raise DataError for fewer documents than a vector has dimensions, most of which they would leave unknown."""
    if count < dim:
        raise DataError(f"whitening: a corpus of {count} documents, expected {dim} or more, one per dimension")


def layer(weight_DD: torch.Tensor, bias_D: torch.Tensor) -> torch.nn.Linear:
    """A linear layer of these numbers, which training leaves alone."""
    made = torch.nn.Linear(weight_DD.shape[1], weight_DD.shape[0])
    made.load_state_dict({"weight": weight_DD, "bias": bias_D})
    return made.requires_grad_(False)


def whitened(vectors_ND: np.ndarray, whitening: torch.nn.Linear | None) -> np.ndarray:
    """Unit vectors after a whitening, float32 [N, D]: what an encoder that has it gives."""
    if whitening is None:
        return vectors_ND
    whitened_ND = linear(torch.from_numpy(vectors_ND), whitening.weight, whitening.bias)
    return np.asarray(normalize(whitened_ND, dim=-1).numpy())
