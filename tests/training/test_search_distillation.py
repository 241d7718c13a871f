"""A search's ranking as a term of the loss: its value, batches and targets, one process and several, pieces."""

import numpy as np
import pytest
import torch
from conftest import SENTENCES, on_ranks
from torch.nn.functional import kl_div, log_softmax, normalize, softmax
from torch.nn.parallel import DistributedDataParallel

from nlift.data.schema import RankedPassages
from nlift.models.encoder import Encoder
from nlift.settings import TrainConfig
from nlift.training.gradcache import Embedder, add_gradients
from nlift.training.search_distillation import (
    CLUSTERS,
    HIDDEN_SHARE,
    LEAST_RELEVANT,
    NEIGHBOURS,
    SearchDistillation,
    ranking_loss,
)

PASSAGES = [f"{text} {SENTENCES[-i - 1]}" for i, text in enumerate(SENTENCES[:30])]


def rankings(count=40, size=6, leaders=15):
    """Queries of which several find the same passage first."""
    random, made = np.random.default_rng(4), []
    for i in range(count):
        first = i % leaders
        rest = random.permutation([place for place in range(len(PASSAGES)) if place != first])[: size - 1]
        scores = np.sort(random.random(size))[::-1]
        made.append(RankedPassages(f"query {i}", [PASSAGES[place] for place in (first, *rest)], scores.tolist()))
    return made


def distillation(given=None, seed=1, device_texts=None, passage_length=24, **settings):
    config = TrainConfig(**{"distillation_batch_size": 16, "temperature": 0.2, **settings})
    given = rankings() if given is None else given
    return SearchDistillation(given, config, seed, passage_length=passage_length, device_texts=device_texts)


def random_vectors(count, seed, dim=8):
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# the loss


@pytest.mark.parametrize("temperature", [0.05, 1.0])
def test_there_is_no_loss_at_the_target(temperature):
    query, passage = random_vectors(5, 1), random_vectors(7, 2)
    target = softmax(normalize(query, dim=-1) @ normalize(passage, dim=-1).T / temperature, dim=-1)
    query.requires_grad_()
    loss = ranking_loss(2 * query, 3 * passage, target, temperature=temperature)  # lengths do not matter
    assert loss.item() == pytest.approx(0, abs=1e-12)
    (gradient,) = torch.autograd.grad(loss, query)
    assert gradient.abs().max() < 1e-12


@pytest.mark.parametrize("temperature", [0.05, 1.0])
@pytest.mark.parametrize("sharp", [False, True])
def test_the_loss_is_the_divergence_from_the_target(temperature, sharp):
    query, passage = random_vectors(5, 1), random_vectors(7, 2)
    target = softmax(random_vectors(5, 3, dim=7), dim=-1)
    if sharp:  # with probabilities of 0
        target = torch.eye(7, dtype=torch.float64)[:5]
    logits = normalize(query, dim=-1) @ normalize(passage, dim=-1).T / temperature
    expected = kl_div(log_softmax(logits, dim=-1), target, reduction="batchmean")
    loss = ranking_loss(query, passage, target, temperature=temperature)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-9) and loss > 0


def test_hidden_passages_are_as_if_they_were_not_there():
    query, passage = random_vectors(1, 1).requires_grad_(), random_vectors(7, 2).requires_grad_()
    left = [0, 2, 3, 6]
    hidden = torch.tensor([[place not in left for place in range(7)]])
    rest = softmax(random_vectors(1, 3, dim=4), dim=-1)
    target = torch.zeros(1, 7, dtype=torch.float64).index_copy(1, torch.tensor(left), rest)
    loss = ranking_loss(query, passage, target, hidden, temperature=0.2)
    expected = ranking_loss(query, passage[left], rest, temperature=0.2)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-9) and loss > 0
    gradients, wanted = (torch.autograd.grad(value, (query, passage)) for value in (loss, expected))
    torch.testing.assert_close(gradients, wanted)
    assert (gradients[1][hidden[0]] == 0).all()


def test_what_is_hidden_from_one_query_is_there_for_others():
    query, passage = random_vectors(2, 1), random_vectors(3, 2)
    hidden = torch.tensor([[True, False, False], [False, False, False]])
    target = torch.tensor([[0.0, 0.25, 0.75], [0.5, 0.25, 0.25]], dtype=torch.float64)
    loss = ranking_loss(query, passage, target, hidden, temperature=0.2)
    first = ranking_loss(query[:1], passage[1:], target[:1, 1:], temperature=0.2)
    second = ranking_loss(query[1:], passage, target[1:], temperature=0.2)
    assert loss.item() == pytest.approx((first + second).item() / 2, rel=1e-9)


# batches


@pytest.mark.parametrize("ranks", [1, 2, 4])
@pytest.mark.parametrize("step", range(4))
def test_passages_of_a_batch_are_distinct_and_have_each_querys_first(ranks, step):
    lesson = distillation()
    queries, passages = lesson.batch(step, ranks)
    assert len(set(queries)) == len(queries) and len(set(passages)) == len(passages)
    assert len(queries) % ranks == len(passages) % ranks == 0 and queries and passages
    whole = lesson.batch(step, 1)[1]
    assert whole[: len(passages)] == passages and len(whole) - len(passages) < ranks  # no more is cut than that
    for query in queries:
        assert lesson.lists[query][0] in whole


@pytest.mark.parametrize("step", range(4))
def test_a_batch_is_clusters_around_passages_that_are_first(step):
    lesson = distillation()
    _, passages = lesson.batch(step, 1)
    leaders, others = passages[:CLUSTERS], passages[CLUSTERS:]
    assert set(leaders) <= {int(ranked[0]) for ranked in lesson.lists} and len(others) <= CLUSTERS * NEIGHBOURS
    near = {place for ranked in lesson.lists if ranked[0] in leaders for place in ranked[1 : 2 * NEIGHBOURS].tolist()}
    assert set(others) <= near and others


def test_what_is_most_often_ranked_beside_a_passage_is_in_its_batch():
    lists = [["first", "often", f"rare {i}", f"rarer {i}", "sometimes" if i % 2 else f"never {i}"] for i in range(6)]
    given = [RankedPassages(f"query {i}", ranked, [0.9, 0.8, 0.7, 0.6, 0.5]) for i, ranked in enumerate(lists)]
    lesson = distillation(given)
    names = [lesson.passages[place] for place in lesson.batch(0, 1)[1]]
    assert names[:3] == ["first", "often", "sometimes"] and len(names) == 1 + NEIGHBOURS


def test_an_epoch_has_clusters_of_other_passages_in_every_step():
    lesson = distillation(rankings(count=60, leaders=30))
    for epoch in range(2):
        leaders = [place for step in range(3) for place in lesson.batch(3 * epoch + step, 1)[1][:CLUSTERS]]
        assert sorted(leaders) == lesson.leaders
    assert lesson.batch(0, 1)[1] != lesson.batch(3, 1)[1]


@pytest.mark.parametrize(("size", "ranks", "expected"), [(16, 1, 16), (15, 2, 14), (16, 3, 15), (1000, 1, None)])
def test_as_many_queries_as_are_wanted_and_there_are(size, ranks, expected):
    lesson = distillation(distillation_batch_size=size)
    queries, passages = lesson.batch(0, ranks)
    whole = [query for query, ranked in enumerate(lesson.lists) if ranked[0] in passages]
    assert len(queries) == (len(whole) if expected is None else expected)


@pytest.mark.parametrize("ranks", [5, 7])
def test_each_rank_has_something_where_there_is_less_than_ranks(ranks):
    """Two processes, or two hundred, with the queries of a tiny corpus: some stand twice, and count once."""
    given = [RankedPassages(f"query {i}", PASSAGES[i : i + 2], [0.9, 0.3]) for i in range(2)]
    lesson = distillation(given)
    queries, passages = lesson.batch(0, ranks)
    assert len(queries) == len(passages) == ranks and set(queries) == {0, 1} and set(passages) == {0, 1, 2}
    target_QP, hidden_QP = lesson.target(queries, passages, 0)
    whole_QP, seen_QP = lesson.target(queries, (0, 1, 2), 0)
    query_QD, passage_PD = random_vectors(2, 1)[queries], random_vectors(3, 2)
    loss = ranking_loss(query_QD, passage_PD[passages], target_QP, hidden_QP, temperature=0.5)
    assert loss == pytest.approx(ranking_loss(query_QD, passage_PD, whole_QP, seen_QP, temperature=0.5).item())


def test_queries_are_drawn_anew_in_every_step():
    lesson = distillation(rankings(leaders=8), distillation_batch_size=4)  # a step has all leaders
    drawn = [tuple(lesson.batch(step, 1)[0]) for step in range(6)]
    assert len(set(drawn)) == 6 and len({query for queries in drawn for query in queries}) > 12


def test_a_batch_is_the_seeds_and_the_steps():
    assert distillation().batch(3, 2) == distillation().batch(3, 2)
    batches = [distillation(seed=seed).batch(step, 2) for seed in (1, 2) for step in (0, 1)]
    assert len({(tuple(queries), tuple(passages)) for queries, passages in batches}) == 4


# the target


def scored(*lists):
    """Rankings of passages by their names, with scores."""
    return [RankedPassages(f"query {i}", list(scores), list(scores.values())) for i, scores in enumerate(lists)]


def columns(lesson, *names):
    return [lesson.passages.index(name) for name in names]


LOW = LEAST_RELEVANT / 2  # so little that no first passage is hidden
TWO = scored({"x": 1.0, "y": LOW, "z": 0.5 * LOW}, {"z": 0.75, "w": 0.1 * LOW})


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_the_target_is_the_softmax_of_the_scores(temperature):
    lesson = distillation(TWO, search_temperature=temperature)
    places = columns(lesson, "w", "z", "x")
    scores = torch.tensor([[0.1 * LOW, 0.75, 0.0], [0.0, 0.5 * LOW, 1.0]], dtype=torch.float64)  # 0 is of no list
    for step in range(4):
        target, hidden = lesson.target([1, 0], places, step)
        assert target.dtype == torch.float32 and not hidden.any()
        torch.testing.assert_close(target, softmax(scores / temperature, dim=1).float(), rtol=1e-6, atol=0)


def test_rows_of_the_target_are_probabilities():
    lesson = distillation()
    target, hidden = lesson.target(*lesson.batch(0, 1), 0)
    torch.testing.assert_close(target.sum(1), torch.ones(len(target)))
    assert (target[~hidden] > 0).all() and (target[hidden] == 0).all()
    assert target.shape == hidden.shape and hidden.dtype == torch.bool


MANY = scored(*({"first": 1.0, "second": 0.8, "third": 0.4, f"own {i}": 0.2} for i in range(300)))


def test_the_first_passage_is_hidden_from_some_queries_and_the_best_of_the_rest_takes_its_place():
    lesson = distillation(MANY, search_temperature=0.5)
    places, everyone = columns(lesson, "third", "first", "second"), list(range(300))
    target, hidden = lesson.target(everyone, places, 0)
    assert not hidden[:, [0, 2]].any()
    assert hidden[:, 1].float().mean().item() == pytest.approx(HIDDEN_SHARE, abs=0.1)
    seen = softmax(torch.tensor([0.4, 1.0, 0.8]) / 0.5, dim=0)
    rest = softmax(torch.tensor([0.4 / 0.8, 1.0]) / 0.5, dim=0)
    for query in everyone:
        expected = torch.stack([rest[0], torch.tensor(0.0), rest[1]]) if hidden[query, 1] else seen
        torch.testing.assert_close(target[query], expected, rtol=1e-5, atol=0)


def test_the_first_passage_is_hidden_by_seed_step_and_query_alone():
    def hidden_from(queries, *names, step=0, seed=1):
        lesson = distillation(MANY, seed=seed)
        hidden = lesson.target(queries, columns(lesson, *names), step)[1]
        return dict(zip(queries, hidden.any(1).tolist(), strict=True))

    everyone = list(range(300))
    by_query = hidden_from(everyone, "first", "second")
    assert hidden_from(everyone[::-1], "third", "second", "first") == by_query
    assert hidden_from([7, 3, 299], "first", "second") == {query: by_query[query] for query in (7, 3, 299)}
    assert (
        hidden_from(everyone, "first", "second", step=1) != by_query != hidden_from(everyone, "first", "second", seed=2)
    )


@pytest.mark.parametrize("names", [("second", "third"), ("first", "own 5"), ("first",), ("first", "elsewhere")])
def test_nothing_is_hidden_where_the_rest_says_nothing(names):
    """The first passage is not in the batch, or nothing beside it is relevant."""
    lesson = distillation([*MANY, *scored({"elsewhere": 0.9})])
    assert not lesson.target(list(range(300)), columns(lesson, *names), 0)[1].any()


# the term


def test_all_texts_are_named_with_their_prefixes_and_length(bert):
    encoder, lesson = Encoder.load(bert, prefixes={"query": "the map ", "passage": "a red ball "}), distillation()
    groups = list(lesson.texts(encoder))
    assert [length for _, length in groups] == [24, 24]
    named = {text for group, _ in groups for text in group}
    passages = {passage for ranking in rankings() for passage in ranking.passages}
    assert named == {f"the map query {i}" for i in range(40)} | {f"a red ball {text}" for text in passages}
    assert set(lesson.term(2, encoder, 0, 1).texts) <= named


def test_a_term_is_this_ranks_share_of_the_batch(bert):
    encoder, lesson = Encoder.load(bert), distillation(distillation_share=0.3, device_texts=5)
    queries, passages = lesson.batch(2, 2)
    for rank in (0, 1):
        term = lesson.term(2, encoder, rank, 2)
        expected = [lesson.queries[place] for place in queries[rank::2]]
        assert list(term.texts) == expected + [lesson.passages[place] for place in passages[rank::2]]
        assert (term.weight, term.max_length, term.device_texts) == (0.3, 24, 5)


def test_the_loss_of_a_term_is_that_of_its_queries_and_passages(bert):
    encoder, lesson = Encoder.load(bert).eval(), distillation()
    queries, passages = lesson.batch(2, 1)
    query, passage = (
        torch.from_numpy(encoder.encode([texts[place] for place in places], max_length=24))
        for texts, places in ((lesson.queries, queries), (lesson.passages, passages))
    )
    expected = ranking_loss(query, passage, *lesson.target(queries, passages, 2), temperature=0.2)
    embedder, term = Embedder(encoder), lesson.term(2, encoder, 0, 1)
    loss = add_gradients(embedder, embedder, [term], seed=torch.manual_seed)["distillation"]
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4) and loss > 0.01


def loss_and_gradients(folder, rank=0, ranks=1, device_texts=None, queries=16):
    """Loss and gradients of a step in float64, without dropout, of this rank's share."""
    encoder = Encoder.load(folder).double().eval()
    embedder = Embedder(encoder)
    model = DistributedDataParallel(embedder) if ranks > 1 else embedder
    lesson = distillation(FEW, device_texts=device_texts, distillation_batch_size=queries)
    term = lesson.term(1, encoder, rank, ranks)
    loss = add_gradients(model, embedder, [term], seed=torch.manual_seed)["distillation"]
    return loss, [parameter.grad for parameter in encoder.parameters()]


# its batch of step 1 has an even number of queries and of passages: two ranks leave none of them out
FEW = next(given for size in range(3, 12) if not len(distillation(given := rankings(size=size)).batch(1, 1)[1]) % 2)


def on_rank(rank, ranks, folder):
    return [loss_and_gradients(folder, rank, ranks, device_texts) for device_texts in (None, 3)]


def test_two_processes_equal_one(bert, tmp_path):
    whole = loss_and_gradients(bert)
    assert sum(gradient.abs().sum() for gradient in whole[1]) > 0.01
    for results in on_ranks(on_rank, 2, tmp_path, bert):  # at once, and in pieces
        for result in results:
            torch.testing.assert_close(result, whole, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("device_texts", [1, 4, 9])
def test_pieces_equal_the_whole(bert, device_texts):
    result = loss_and_gradients(bert, device_texts=device_texts)
    torch.testing.assert_close(result, loss_and_gradients(bert), rtol=1e-9, atol=1e-12)


def test_steps_bring_the_encoders_ranking_to_the_searchs(bert):
    encoder, texts = Encoder.load(bert).eval(), SENTENCES[::6]  # eight
    given = [
        RankedPassages(text, [text, *texts[i + 1 :], *texts[:i]], np.linspace(1, 0, 8).tolist())
        for i, text in enumerate(SENTENCES[1::6])
    ]
    lesson, losses = distillation(given, temperature=0.1), []
    optimizer, embedder = torch.optim.AdamW(encoder.parameters(), lr=2e-3), Embedder(encoder)
    for step in range(40):
        term = lesson.term(step, encoder, 0, 1)
        losses.append(add_gradients(embedder, embedder, [term], seed=torch.manual_seed)["loss"])
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    assert losses[-1] < 0.5 * losses[0]
