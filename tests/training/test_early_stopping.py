"""When training ends early."""

from nlift.training.early_stopping import EarlyStopping


def test_patience_counts_measurements_without_a_better_one():
    stopping = EarlyStopping("ndcg@10", 2)
    for value, ended in ((0.1, False), (0.2, False), (0.2, False), (0.15, True)):
        stopping.saw({"ndcg@10": value})
        assert stopping.ended == ended
    lower = EarlyStopping("uniformity", 1)
    for value in (-1.0, -2.0):
        lower.saw({"uniformity": value})
    assert not lower.ended and lower.best == 2.0
    endless = EarlyStopping("map", None)
    for _ in range(5):
        endless.saw({"map": 0.1})
    assert not endless.ended and endless.stale == 4
