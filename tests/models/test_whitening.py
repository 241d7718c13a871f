"""Soft whitening: what it does to the vectors it was fitted on, and that few or flat ones do no harm."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.nn.functional import linear, normalize

from nlift.models.whitening import fitted, layer, whitened

POWERS = [0.0, 0.1, 0.25, 0.4, 0.5]


def unit_vectors(count, dim=6):
    """Vectors that lie in a cone and spread unevenly, in directions that are none of the axes."""
    random = np.random.default_rng(3)
    turn_DD = np.linalg.qr(random.normal(size=(dim, dim)))[0]
    vectors_ND = (random.normal(size=(count, dim)) * np.geomspace(1, 0.2, dim) + 0.8) @ turn_DD
    return (vectors_ND / np.linalg.norm(vectors_ND, axis=1, keepdims=True)).astype(np.float32)


def spread(vectors_ND):
    """Variances along the directions, the least first."""
    return np.linalg.eigvalsh(np.cov(vectors_ND, rowvar=False, bias=True))


def through(whitening, vectors_ND):
    """Vectors after the layer, of any length."""
    return linear(torch.from_numpy(vectors_ND), whitening.weight, whitening.bias).numpy()


def test_the_whole_whitening_spreads_alike_in_all_directions():
    vectors_ND = unit_vectors(400)
    before_D, after_D = spread(vectors_ND), spread(through(fitted(vectors_ND, 0.5), vectors_ND))
    assert before_D[-1] > 5 * before_D[0]
    np.testing.assert_allclose(after_D, after_D.mean(), rtol=1e-4)


def test_the_whole_whitening_keeps_the_sum_of_variances():
    vectors_ND = unit_vectors(400)
    assert spread(through(fitted(vectors_ND, 0.5), vectors_ND)).sum() == pytest.approx(spread(vectors_ND).sum(), 1e-4)


@pytest.mark.parametrize("power", POWERS)
def test_vectors_stand_around_zero_and_are_about_as_long_as_before(power):
    vectors_ND = unit_vectors(400)
    after_ND = through(fitted(vectors_ND, power), vectors_ND)
    np.testing.assert_allclose(after_ND.mean(0), 0, atol=1e-6)
    centred_ND = vectors_ND - vectors_ND.mean(0)
    before, after = (np.linalg.norm(side, axis=1).mean() for side in (centred_ND, after_ND))
    assert 0.8 < after / before < 1.25


def test_a_power_of_zero_centres_alone():
    vectors_ND = unit_vectors(400)
    whitening = fitted(vectors_ND, 0)
    np.testing.assert_allclose(whitening.weight.numpy(), np.eye(6), atol=1e-6)
    np.testing.assert_allclose(whitening.bias.numpy(), -vectors_ND.mean(0), atol=1e-6)


def test_more_power_spreads_more_evenly():
    vectors_ND = unit_vectors(400)
    spreads = [spread(through(fitted(vectors_ND, power), vectors_ND)) for power in POWERS]
    evenness = [least / most for least, *_, most in spreads]
    assert all(b > 1.2 * a for a, b in pairwise(evenness))


@pytest.mark.parametrize("power", POWERS)
def test_directions_are_stretched_and_not_turned(power):
    """A symmetric matrix of positive eigenvalues: vectors stay as near to what they were as can be."""
    weight_DD = fitted(unit_vectors(400), power).weight.numpy()
    np.testing.assert_allclose(weight_DD, weight_DD.T, atol=1e-6)
    assert np.linalg.eigvalsh(weight_DD).min() > 0


def test_the_order_of_vectors_does_not_matter():
    vectors_ND = unit_vectors(400)
    first, second = fitted(vectors_ND, 0.5), fitted(vectors_ND[::-1].copy(), 0.5)
    torch.testing.assert_close(first.state_dict(), second.state_dict(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("count", [2, 5])
@pytest.mark.parametrize("power", POWERS)
def test_fewer_vectors_than_dimensions_are_finite(count, power):
    few_ND, others_ND = unit_vectors(count, dim=16), unit_vectors(100, dim=16)
    whitening = fitted(few_ND, power)
    assert all(torch.isfinite(value).all() for value in whitening.parameters())
    np.testing.assert_allclose(np.linalg.norm(whitened(others_ND, whitening), axis=1), 1, atol=1e-5)


def test_a_direction_without_variance_is_not_blown_up():
    vectors_ND = unit_vectors(400)
    vectors_ND[:, -1] = 0.5
    most = np.linalg.eigvalsh(fitted(vectors_ND, 0.5).weight.numpy())[-1]
    assert most == pytest.approx(1000**0.5, rel=0.01)  # a thousandth of the mean variance is the least that counts


def test_equal_vectors_leave_others_as_they_spread():
    same_ND = np.repeat(unit_vectors(1), 20, axis=0)
    np.testing.assert_allclose(fitted(same_ND, 0.5).weight.numpy(), np.eye(6), atol=1e-5)


def test_no_whitening_leaves_vectors_as_they_are():
    vectors_ND = unit_vectors(10)
    assert whitened(vectors_ND, None) is vectors_ND


@pytest.mark.parametrize("power", POWERS)
def test_whitened_vectors_are_unit_vectors_of_the_layers_direction(power):
    vectors_ND = unit_vectors(50)
    before_ND = vectors_ND.copy()
    whitening = fitted(vectors_ND, power)
    after_ND = whitened(vectors_ND, whitening)
    assert after_ND.dtype == np.float32 and after_ND.shape == vectors_ND.shape
    np.testing.assert_allclose(np.linalg.norm(after_ND, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(after_ND, normalize(torch.from_numpy(through(whitening, vectors_ND))), atol=1e-6)
    assert np.array_equal(vectors_ND, before_ND)


def test_vectors_in_a_cone_are_less_alike_afterwards():
    vectors_ND = unit_vectors(400)
    after_ND = whitened(vectors_ND, fitted(vectors_ND, 0.25))
    assert (vectors_ND @ vectors_ND.T).mean() > 0.5 and abs((after_ND @ after_ND.T).mean()) < 0.05


def test_a_layer_has_the_numbers_it_is_given_and_is_not_trained():
    weight, bias = torch.arange(6.0).reshape(2, 3), torch.tensor([1.0, 2.0])
    made = layer(weight, bias)
    assert (made.in_features, made.out_features) == (3, 2)
    assert torch.equal(made.weight, weight) and torch.equal(made.bias, bias)
    assert not any(parameter.requires_grad for parameter in made.parameters())
    assert made.weight.dtype == torch.float32


def test_what_is_fitted_is_float32_and_not_trained():
    whitening = fitted(unit_vectors(20), 0.25)
    for parameter in whitening.parameters():
        assert parameter.dtype == torch.float32 and not parameter.requires_grad
