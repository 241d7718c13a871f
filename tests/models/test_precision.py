"""Which precision is meant, by setting and device."""

import pytest
import torch

from nlift.models.precision import half_type

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    "compute_type, on_cpu, on_gpu",
    [
        ("auto", None, torch.float16),
        ("float32", None, None),
        ("float16", None, torch.float16),
        ("bfloat16", torch.bfloat16, torch.bfloat16),
        ("int8", None, None),
    ],
)
def test_a_precision_by_device(compute_type, on_cpu, on_gpu):
    assert half_type(compute_type, CPU) == on_cpu
    assert half_type(compute_type, GPU) == on_gpu
    assert half_type(compute_type, CPU, trains=True) == on_cpu


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_training_prefers_bfloat16_where_the_gpu_has_it():
    expected = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    assert half_type("auto", GPU, trains=True) == expected
