"""What training sees of the triplets."""

import pytest

from nlift.data.schema import Triplet
from nlift.errors import DataError
from nlift.settings import TrainConfig
from nlift.training.batches import batch_of_step, group_ids, rows_of_mode, total_steps, usable

ROWS = [Triplet(f"{i:02d}", f"kotwica {i}", f"dobre {i}", f"złe {i}" if i % 2 else None) for i in range(20)]


def test_an_epoch_sees_every_triplet_once():
    seen = [row.pair_id for step in range(5) for row in batch_of_step(ROWS, step, 4, seed=3)]
    assert sorted(seen) == sorted(row.pair_id for row in ROWS)


def test_epochs_and_seeds_differ_and_steps_repeat():
    first, second = batch_of_step(ROWS, 0, 4, seed=3), batch_of_step(ROWS, 5, 4, seed=3)
    assert first != second and first != batch_of_step(ROWS, 0, 4, seed=4)
    assert first == batch_of_step(ROWS, 0, 4, seed=3)


def test_fewer_triplets_than_a_batch():
    with pytest.raises(DataError, match=r"3 triplets are fewer than train.global_batch_size 4"):
        total_steps(3, TrainConfig(global_batch_size=4))


def test_steps_of_a_fraction_of_an_epoch():
    assert total_steps(100, TrainConfig(global_batch_size=10, epochs=1.5)) == 15


def test_rows_that_share_a_text_share_a_group():
    texts = [("a", "b"), ("a", "c"), ("x", "c"), ("y", "z")]
    rows = [Triplet(str(i), anchor, positive, None) for i, (anchor, positive) in enumerate(texts)]
    first, second, third, fourth = group_ids(rows)
    assert first == second == third != fourth


def test_pairs_of_one_document_share_a_group():
    names = ["cloze-d1#0", "cloze-d1#3", "cloze-d2#0", "cloze-d#1#0", "3416.jpg#1", "3416.jpg#2"]
    first, second, *others = group_ids([Triplet(name, f"a {name}", f"p {name}", None) for name in names])
    assert first == second and len({first, *others}) == 5


def test_own_names_that_look_like_those_of_documents_share_no_group():
    rows = [Triplet(f"cloze-{i}", f"a {i}", f"p {i}", None) for i in range(3)]
    assert len(set(group_ids(rows))) == 3


def test_rows_with_an_empty_part_are_set_aside():
    rows = [Triplet("b", " ", "x", "y"), Triplet("c", "x", "", "y"), Triplet("a", "x", "y", " ")]
    good, bad = usable(rows)
    assert good == [Triplet("a", "x", "y", None)]
    assert [(row.pair_id, reason) for row, reason in bad] == [("b", "anchor is empty"), ("c", "positive is empty")]


def test_pairs_have_no_hard_negatives():
    assert all(row.negative is None for row in rows_of_mode(ROWS, "pairs"))
    assert [row.positive for row in rows_of_mode(ROWS, "pairs")] == [row.positive for row in ROWS]


def test_hard_negatives_only_have_themselves_as_positive_and_no_other_negatives():
    rows = rows_of_mode(ROWS, "hard_negatives_only")
    assert len(rows) == 10 and all(row.positive == row.anchor and row.negative for row in rows)
    assert len(set(group_ids(rows, "hard_negatives_only"))) == 1
    with pytest.raises(DataError, match="none of 20 triplets has a hard negative"):
        rows_of_mode(rows_of_mode(ROWS, "pairs"), "hard_negatives_only")


def test_unsupervised_takes_every_distinct_sentence_once():
    rows = rows_of_mode([*ROWS, Triplet("99", "kotwica 0", "dobre 1", None)], "unsupervised")
    assert len(rows) == 50 == len({row.anchor for row in rows})
    assert all(row.positive == row.anchor and row.negative is None for row in rows)
