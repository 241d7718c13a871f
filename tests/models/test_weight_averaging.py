"""Averages of base and tuned weights; no Ray."""

import pytest
import torch

from nlift.models import weight_averaging
from nlift.models.encoder import Encoder


@pytest.fixture
def tuned(bert):
    """An encoder that has gone away from its base, and the base's weights."""
    encoder = Encoder.load(bert)
    base = weight_averaging.weights(encoder)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(torch.randn_like(parameter))
    return encoder, base


@pytest.mark.parametrize("share", [0.25, 0.5, 0.9])
def test_inside_weights_are_the_average(tuned, share):
    encoder, base = tuned
    own = weight_averaging.weights(encoder)
    with weight_averaging.blended(encoder, base, share):
        for name, tensor in weight_averaging.weights(encoder).items():
            assert torch.allclose(tensor, share * base[name] + (1 - share) * own[name], atol=1e-6)


def test_afterwards_they_are_the_encoders_own_bit_for_bit(tuned):
    encoder, base = tuned
    own = weight_averaging.weights(encoder)
    with pytest.raises(KeyError), weight_averaging.blended(encoder, base, 0.3):
        raise KeyError
    assert all(torch.equal(tensor, own[name]) for name, tensor in weight_averaging.weights(encoder).items())


def test_no_share_needs_no_base(tuned):
    encoder, _ = tuned
    own = weight_averaging.weights(encoder)
    with weight_averaging.blended(encoder, {}, 0.0):
        assert all(torch.equal(tensor, own[name]) for name, tensor in weight_averaging.weights(encoder).items())


def test_a_head_is_not_averaged(bert):
    encoder = Encoder.load(bert, mlp_head=True)
    assert not any("pooler" in name for name in weight_averaging.weights(encoder))
    assert any("pooler" in name for name, _ in encoder.backbone.named_parameters())
