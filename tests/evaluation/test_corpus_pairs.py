"""Queries made of a corpus itself."""

from nlift.data.passages import is_left_out
from nlift.data.schema import Document
from nlift.evaluation import corpus_pairs as module
from nlift.evaluation.corpus_pairs import corpus_pairs


def documents(count, text):
    return [Document(str(i), "", text.format(i=i), "{}") for i in range(count)]


SENTENCES = "The cat number {i} sat on a mat. The dog number {i} ran away. Nobody saw the bird {i}."


def test_a_query_and_the_rest_are_the_document():
    corpus = documents(300, SENTENCES)
    pairs = corpus_pairs(corpus)
    assert len(pairs) == 3 * sum(map(is_left_out, corpus)) > 30
    for pair in pairs:
        text = corpus[pair.row].text
        assert pair.query in text and pair.query not in pair.rest
        assert sorted(f"{pair.query} {pair.rest}".split()) == sorted(text.split())


def test_documents_that_training_sees_make_no_pair():
    corpus = documents(300, SENTENCES)
    assert all(is_left_out(corpus[pair.row]) for pair in corpus_pairs(corpus))


def test_the_pairs_follow_from_the_texts_alone():
    corpus = documents(300, SENTENCES)
    renamed = [Document(f"x{i}", "", document.text, "{}") for i, document in enumerate(corpus)]
    assert corpus_pairs(corpus) == corpus_pairs(renamed)
    backwards = {(pair.query, pair.rest) for pair in corpus_pairs(corpus[::-1])}
    assert backwards == {(pair.query, pair.rest) for pair in corpus_pairs(corpus)}


def test_many_documents_give_one_pair_each(monkeypatch):
    monkeypatch.setattr(module, "PAIRS", 10)
    pairs = corpus_pairs(documents(1000, SENTENCES))
    assert len(pairs) == 10 == len({pair.row for pair in pairs})


def test_a_text_without_sentences_is_cut_into_stretches_of_words():
    words = " ".join(f"word{n}" for n in range(30))
    pairs = corpus_pairs(documents(200, f"number{{i}} {words}"))
    assert pairs and {len(pair.query.split()) for pair in pairs} <= {15, 16}


def test_short_documents_make_no_pair():
    assert corpus_pairs(documents(500, "police station {i}")) == []
    assert corpus_pairs(documents(500, "How do I change the address of account {i}?")) == []
    assert corpus_pairs([]) == []
