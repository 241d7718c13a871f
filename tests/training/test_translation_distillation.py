"""Translations as a term of the loss: what is minimised, which pairs a step has, one process and several."""

import numpy as np
import pytest
import torch
from conftest import SENTENCES, on_ranks
from torch.nn.functional import normalize
from torch.nn.parallel import DistributedDataParallel

from nlift.data.schema import ParallelPair
from nlift.models.encoder import Encoder
from nlift.settings import TrainConfig
from nlift.training.gradcache import Embedder, add_gradients
from nlift.training.translation_distillation import TranslationDistillation, translation_loss

COMET = [0.9, 0.5, None, 0.1, -0.3, 0.7, 0.8, 0.0, 0.6, None, 0.4, 1.1]
PAIRS = [ParallelPair(SENTENCES[i], SENTENCES[-i - 1], comet) for i, comet in enumerate(COMET)]


def unit(count, dim=32, seed=0):
    vectors_ND = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    return vectors_ND / np.linalg.norm(vectors_ND, axis=1, keepdims=True)


def distillation(pairs=PAIRS, seed=1, device_texts=None, teacher=None, **settings):
    config = TrainConfig(**{"distillation_batch_size": 6, **settings})
    return TranslationDistillation(pairs, unit(len(pairs)) if teacher is None else teacher, config, seed, device_texts)


def test_there_is_no_loss_where_the_student_is_the_teacher():
    teacher, weight = torch.from_numpy(unit(5)), torch.tensor([0.5, 2.0, 0.0, 1.0, 1.5])
    loss = translation_loss(3 * teacher, 0.1 * teacher, teacher, weight)  # lengths do not matter
    assert loss.item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("wrong", ["source", "target"])
def test_both_sides_are_to_be_the_teachers_vector(wrong):
    teacher, other = torch.from_numpy(unit(5)), torch.from_numpy(unit(5, seed=1))
    sides = (other, teacher) if wrong == "source" else (teacher, other)
    expected = (other - teacher).square().sum(1).mean()
    assert translation_loss(*sides, teacher, torch.ones(5)).item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_loss_is_at_most_eight():
    teacher = torch.from_numpy(unit(5))
    assert translation_loss(-teacher, -2 * teacher, teacher, torch.ones(5)).item() == pytest.approx(8, rel=1e-5)


def test_a_pair_counts_by_its_weight():
    teacher, other = torch.from_numpy(unit(3)), torch.from_numpy(unit(3, seed=1))
    distance = 2 * (other - teacher).square().sum(1)
    weight = torch.tensor([0.0, 0.5, 2.5])
    expected = (distance[1] * 0.5 + distance[2] * 2.5) / 3
    assert translation_loss(other, other, teacher, weight).item() == pytest.approx(expected.item(), rel=1e-5)


def test_weights_go_by_comet_and_are_one_on_average():
    weights = distillation().weights_N
    counts = np.array([0.9, 0.5, 1.0, 0.1, 0.0, 0.7, 0.8, 0.0, 0.6, 1.0, 0.4, 1.1])  # null as 1, less than 0 as 0
    assert weights.mean() == pytest.approx(1)
    np.testing.assert_allclose(weights, counts / counts.mean())


def test_pairs_that_nobody_scored_count_alike():
    pairs = [ParallelPair(pair.source, pair.target, None) for pair in PAIRS]
    assert distillation(pairs).weights_N.tolist() == [1.0] * len(PAIRS)


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("seed", [1, 2])
def test_an_epoch_has_every_pair_once(ranks, seed):
    lesson = distillation(seed=seed)
    epochs = [np.concatenate([lesson.batch(2 * epoch + i, ranks) for i in range(2)]) for epoch in range(3)]
    assert all(sorted(epoch.tolist()) == list(range(len(PAIRS))) for epoch in epochs)
    assert not np.array_equal(epochs[0], epochs[1]) and not np.array_equal(epochs[1], epochs[2])


@pytest.mark.parametrize(("size", "ranks", "expected"), [(5, 1, 5), (5, 2, 4), (7, 3, 6), (100, 1, 12), (100, 5, 10)])
def test_a_batch_is_as_large_as_ranks_share_evenly(size, ranks, expected):
    lesson = distillation(distillation_batch_size=size)
    for step in range(5):
        batch = lesson.batch(step, ranks).tolist()
        assert len(set(batch)) == len(batch) == expected


def test_a_batch_is_the_seeds_and_the_steps():
    batches = [distillation(seed=seed).batch(step, 2).tolist() for seed in (1, 2) for step in (0, 1, 2)]
    assert len({tuple(batch) for batch in batches}) == len(batches)
    assert distillation().batch(5, 2).tolist() == distillation().batch(5, 2).tolist()


def test_all_texts_are_named_with_their_prefix_and_length(bert):
    encoder = Encoder.load(bert, prefixes={"query": "the map ", "passage": "a red ball "})
    groups = list(distillation(max_length=17).texts(encoder))
    assert [length for _, length in groups] == [17, 17]
    named = {text for group, _ in groups for text in group}
    assert named == {f"a red ball {text}" for pair in PAIRS for text in (pair.source, pair.target)}
    for step in range(4):
        assert set(distillation(max_length=17).term(step, encoder, 0, 1).texts) <= named


def test_a_term_is_this_ranks_share_of_the_batch(bert):
    encoder = Encoder.load(bert)
    lesson = distillation(distillation_share=0.3, max_length=17, device_texts=4)
    batch = lesson.batch(3, 2)
    for rank in (0, 1):
        term = lesson.term(3, encoder, rank, 2)
        own = [PAIRS[place] for place in batch[rank::2]]
        assert list(term.texts) == [pair.source for pair in own] + [pair.target for pair in own]
        assert (term.weight, term.max_length, term.device_texts) == (0.3, 17, 4)


def test_the_loss_of_a_term_is_zero_at_the_teachers_vectors(bert):
    lesson = distillation()
    own = lesson.batch(2, 2)[1::2]
    teacher = torch.from_numpy(lesson.teacher_ND[own])
    loss = lesson.term(2, Encoder.load(bert), 1, 2).loss
    assert loss(torch.cat([2 * teacher, teacher])).item() == pytest.approx(0, abs=1e-6)
    expected = translation_loss(
        teacher, -teacher, teacher, torch.from_numpy(lesson.weights_N[own]).float()
    )  # the second half are the translations
    assert loss(torch.cat([teacher, -teacher])).item() == pytest.approx(expected.item(), rel=1e-5)


def loss_and_gradients(folder, rank=0, ranks=1, device_texts=None):
    """Loss and gradients of a step in float64, without dropout, of this rank's pairs."""
    encoder = Encoder.load(folder).double().eval()
    embedder = Embedder(encoder)
    model = DistributedDataParallel(embedder) if ranks > 1 else embedder
    term = distillation(device_texts=device_texts).term(1, encoder, rank, ranks)
    loss = add_gradients(model, embedder, [term], seed=torch.manual_seed)["distillation"]
    return loss, [parameter.grad for parameter in encoder.parameters()]


def on_rank(rank, ranks, folder):
    return [loss_and_gradients(folder, rank, ranks, device_texts) for device_texts in (None, 2)]


def test_two_processes_equal_one(bert, tmp_path):
    loss, gradients = loss_and_gradients(bert)
    assert sum(gradient.abs().sum() for gradient in gradients) > 0.1
    by_rank = on_ranks(on_rank, 2, tmp_path, bert)
    for results in zip(*by_rank, strict=True):  # at once, and in pieces
        torch.testing.assert_close(torch.stack([value for value, _ in results]).mean(), loss, rtol=1e-9, atol=0)
        for _, reduced in results:
            torch.testing.assert_close(reduced, gradients, rtol=1e-5, atol=1e-10)


@pytest.mark.parametrize("device_texts", [1, 2, 5])
def test_pieces_equal_the_whole(bert, device_texts):
    result = loss_and_gradients(bert, device_texts=device_texts)
    torch.testing.assert_close(result, loss_and_gradients(bert), rtol=1e-9, atol=1e-12)


def test_a_pair_of_no_worth_has_no_gradient(bert):
    pairs = [ParallelPair(pair.source, pair.target, 1.0 if i else -0.5) for i, pair in enumerate(PAIRS[:3])]
    gradients = []
    for first in (pairs[0], ParallelPair("the map", "the small dog", -0.2)):
        encoder = Encoder.load(bert).eval()
        lesson = distillation([first, *pairs[1:]])
        add_gradients(embedder := Embedder(encoder), embedder, [lesson.term(0, encoder, 0, 1)], seed=torch.manual_seed)
        gradients.append([parameter.grad for parameter in encoder.parameters()])
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)


def test_steps_bring_a_student_to_its_teacher(bert, xlm_roberta):
    teacher = Encoder.load(xlm_roberta).encode([pair.source for pair in PAIRS])
    student = Encoder.load(bert).eval()
    lesson, losses = distillation(teacher=teacher, distillation_batch_size=12), []
    optimizer, embedder = torch.optim.AdamW(student.parameters(), lr=3e-3), Embedder(student)
    for step in range(40):
        losses.append(
            add_gradients(embedder, embedder, [lesson.term(step, student, 0, 1)], seed=torch.manual_seed)["loss"]
        )
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    assert losses[-1] < 0.3 * losses[0]
    good = [i for i, comet in enumerate(COMET) if comet is None or comet >= 0.5]
    for side in ("source", "target"):
        vectors = student.encode([getattr(PAIRS[i], side) for i in good])
        assert (vectors * teacher[good]).sum(1).mean() > 0.9
    assert torch.allclose(normalize(torch.from_numpy(teacher), dim=-1), torch.from_numpy(teacher), atol=1e-5)
