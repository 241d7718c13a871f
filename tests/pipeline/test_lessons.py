"""What is distilled: teachers that can teach, translations with their COMET, and vectors in their order."""

import json

import numpy as np
import pytest

from nlift import progress
from nlift.config import Experiment
from nlift.data.files import read_rows
from nlift.data.schema import ParallelPair, ScoredPair, TranslatedPair
from nlift.data.sources import EMBEDDED
from nlift.errors import DataError, ModelError
from nlift.models.encoder import Encoder
from nlift.pipeline import lessons, mine, score, train
from nlift.pipeline.lessons import LEAST_PAIRS, MOST_PIECES, pieces_of_a_word, shortened, turned
from nlift.training.objectives import PARALLEL, TEACHER

ENGLISH = [
    "Two women are embracing while holding packages to go.",
    "A man in a blue shirt is standing on a ladder and cleaning a window.",
    "Several children play football in front of an old church.",
]
DOCUMENTS = [json.loads(line) for line in (EMBEDDED / "data" / "poquad_pl" / "corpus.jsonl").read_text().splitlines()]
POLISH = [document["text"] for document in DOCUMENTS]


def word_pieces(texts, size):
    """A tokenizer whose word pieces are those of some texts."""
    from tokenizers import BertWordPieceTokenizer
    from tokenizers.processors import BertProcessing
    from transformers import BertTokenizerFast

    trained = BertWordPieceTokenizer(strip_accents=False)
    trained.train_from_iterator(texts, vocab_size=size, min_frequency=1, show_progress=False)
    separator, first = ((name, trained.token_to_id(name)) for name in ("[SEP]", "[CLS]"))
    trained._tokenizer.post_processor = BertProcessing(separator, first)
    return BertTokenizerFast(tokenizer_object=trained._tokenizer)


@pytest.fixture(scope="module")
def make_teacher(tmp_path_factory):
    """Makes an encoder of a width, with a vocabulary of some texts."""

    def make(texts, vocabulary, width=48):
        import torch
        from transformers import BertConfig, BertModel

        torch.manual_seed(3)
        tokenizer, folder = word_pieces(texts, vocabulary), tmp_path_factory.mktemp("teacher")
        size = {"hidden_size": width, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
        model = BertModel(BertConfig(vocab_size=len(tokenizer), max_position_embeddings=64, **size))
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return str(folder)

    return make


def parallel(path, pairs):
    """A file of translations."""
    path.write_text("".join(f"{source}\t{target}\n" for source, target in [("source", "target"), *pairs]))
    return str(path)


@pytest.fixture
def experiment(tmp_path, bert):
    """A tiny base model that learns from the embedded encoder, by a file of translations."""
    path = parallel(tmp_path / "parallel.tsv", [(f"{ENGLISH[i % 3]} {i}", f"Pies {i}.") for i in range(LEAST_PAIRS)])
    config = {"loss": "translation_distillation", "teacher": "embedded", "parallel": [path], "base_model": str(bert)}
    raw = {"name": "taught", "output_dir": str(tmp_path / "runs"), "nli": {"path": "embedded"}}
    raw |= {"translate": None, "score": None, "cluster": {"num_cpus": 2}}
    return Experiment.model_validate({**raw, "train": config})


def refused(experiment, error=ModelError, premises=ENGLISH):
    with pytest.raises(error) as caught:
        lessons.check(experiment, premises)
    assert str(caught.value).startswith("train")
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_a_teacher_of_the_language_that_is_no_narrower_is_taken(experiment, make_teacher, bert):
    lessons.check(experiment, ENGLISH)
    same_width = make_teacher(ENGLISH, 120, width=Encoder.load(bert).dim)
    lessons.check(experiment.override({"train.teacher": same_width}), ENGLISH)


def test_what_distils_nothing_has_nothing_to_check(experiment, tmp_path):
    plain = experiment.override({"train.loss": "simcse", "train.teacher": None, "train.parallel": []})
    lessons.check(plain, ENGLISH)
    assert lessons.identity(plain) == {} and lessons.folder(plain, tmp_path) is None
    lessons.prepare(plain, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_the_base_model_is_no_teacher_of_itself(experiment, bert, tmp_path):
    line = refused(experiment.override({"train.teacher": str(bert)}))
    assert line.startswith(f"train.teacher {bert}: is train.base_model itself")
    copy = tmp_path / "copy"  # the same files under another name
    copy.mkdir()
    for path in bert.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    assert "is train.base_model itself" in refused(experiment.override({"train.teacher": str(copy)}))


def test_a_teacher_of_fewer_dimensions(experiment, make_teacher):
    narrow = make_teacher(ENGLISH, 120, width=16)
    line = refused(experiment.override({"train.teacher": narrow}))
    assert line == f"train.teacher {narrow}: its vectors have 16 dimensions; expected the base model's 32 or more"


def test_a_teacher_of_another_language(experiment, make_teacher, tmp_path):
    polish = make_teacher(POLISH[:300], 4000)
    teacher = Encoder.load(polish)
    assert len(teacher.tokenizer) > lessons.SMALL_VOCABULARY
    assert pieces_of_a_word(teacher, POLISH[:3]) < MOST_PIECES < pieces_of_a_word(teacher, ENGLISH)
    taught = experiment.override({"train.teacher": polish})
    (path,) = taught.train.parallel
    line = refused(taught, premises=POLISH[:3])  # which it does not learn of
    assert line.startswith(f"train.teacher {polish}: cuts the sources of {path} into ")
    assert line.endswith(
        "tokens a word, as a model of another language does; expected one that knows the language of the sources"
    )
    from_polish = parallel(
        tmp_path / "turned.tsv", [(text, f"Text {i}.") for i, text in enumerate(POLISH[:LEAST_PAIRS])]
    )
    lessons.check(taught.override({"train.parallel": [from_polish]}), ENGLISH)
    translated = taught.override({"train.parallel": [from_polish], "translate": {"source_language": "en"}})
    pieces = pieces_of_a_word(teacher, ENGLISH)
    assert refused(translated).startswith(f"train.teacher {polish}: cuts the premises into {pieces:.1f} tokens a word")
    lessons.check(translated, POLISH[:3])
    lessons.check(translated, [])


def test_tokens_of_a_word_do_not_count_what_stands_around_a_text():
    encoder = Encoder.load("embedded")
    whole = next(word for word in ("dog", "man", "the") if len(encoder.tokens([word])[0]) == 3)
    assert pieces_of_a_word(encoder, [whole] * 5) == pieces_of_a_word(encoder, [f"{whole} {whole}"]) == 1
    assert pieces_of_a_word(encoder, [whole, "xqzvkwj"]) > 1.4
    assert pieces_of_a_word(encoder, []) == pieces_of_a_word(encoder, [""]) == 0


def test_a_small_vocabulary_says_nothing_of_a_language(bert):
    assert pieces_of_a_word(Encoder.load(bert), POLISH[:3]) == 0


def test_translations_that_cannot_be_read(experiment, tmp_path):
    wrong = tmp_path / "wrong.tsv"
    wrong.write_text("source\tmeaning\na\tb\n")
    changed = experiment.override({"train.parallel": [*experiment.train.parallel, str(wrong)]})
    line = refused(changed, DataError)
    assert line.startswith(f"train.parallel: {wrong}:") and "'target'" in line
    wrong.write_text("source\ttarget\n")
    assert "found no pairs" in refused(changed, DataError)
    assert "nowhere.tsv" in refused(experiment.override({"train.parallel": [str(tmp_path / "nowhere.tsv")]}), DataError)


def test_translations_are_read_where_the_teacher_is_a_hub_name(experiment, tmp_path):
    hub = experiment.override({"train.teacher": "org/name"})
    lessons.check(hub, ENGLISH)
    assert "nowhere.tsv" in refused(hub.override({"train.parallel": [str(tmp_path / "nowhere.tsv")]}), DataError)


def cosines(vectors_ND):
    return vectors_ND @ vectors_ND.T


def unit(vectors_ND):
    return (vectors_ND / np.linalg.norm(vectors_ND, axis=1, keepdims=True)).astype(np.float32)


def test_vectors_that_lie_in_fewer_dimensions_keep_their_cosines():
    random = np.random.default_rng(1)
    vectors_ND = unit(random.normal(size=(200, 8)) @ random.normal(size=(8, 32)))
    short_ND = shortened(vectors_ND, 8)
    assert short_ND.shape == (200, 8) and short_ND.dtype == np.float32
    np.testing.assert_allclose(cosines(short_ND), cosines(vectors_ND), atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(short_ND, axis=1), 1, atol=1e-5)


def test_directions_of_most_variance_are_kept():
    random = np.random.default_rng(2)
    spread = np.geomspace(1, 0.01, 32)
    turn = np.linalg.qr(random.normal(size=(32, 32)))[0]
    vectors_ND = unit(random.normal(size=(300, 32)) * spread @ turn)
    errors = [np.abs(cosines(shortened(vectors_ND, dim)) - cosines(vectors_ND)).mean() for dim in (4, 12, 24)]
    assert errors[0] > errors[1] > errors[2] and errors[2] < 0.01
    first = np.abs(cosines(unit(vectors_ND[:, :12])) - cosines(vectors_ND)).mean()
    assert errors[1] < first / 2


def test_vectors_of_as_many_dimensions_stay_as_they_are():
    vectors_ND = unit(np.random.default_rng(3).normal(size=(5, 6)))
    assert shortened(vectors_ND, 6) is vectors_ND


def test_a_teacher_is_turned_to_its_student():
    random = np.random.default_rng(4)
    student_ND = unit(random.normal(size=(300, 12)))
    away = np.linalg.qr(random.normal(size=(12, 12)))[0].astype(np.float32)
    turned_ND = turned(student_ND @ away, student_ND[:100] @ away, student_ND[:100])
    np.testing.assert_allclose(turned_ND, student_ND, atol=1e-5)
    other_ND = unit(student_ND @ away + 0.3 * random.normal(size=(300, 12)))
    nearer_ND = turned(other_ND, other_ND[:100], student_ND[:100])
    np.testing.assert_allclose(cosines(nearer_ND), cosines(other_ND), atol=1e-5)
    before, after = ((vectors_ND * student_ND).sum(1).mean() for vectors_ND in (other_ND, nearer_ND))
    assert before < 0.3 and after > 0.7


def test_fewer_than_a_hundred_translations_are_no_lesson(experiment, tmp_path):
    pairs = [(f"A dog {i}.", f"Pies {i}.") for i in range(LEAST_PAIRS - 1)]
    path = parallel(tmp_path / "few.tsv", pairs * 2)  # of equal ones one counts
    few = experiment.override({"train.parallel": [path]})
    with pytest.raises(DataError, match=r"^train: 99 translations to distil, expected 100 or more; name more under t"):
        lessons.prepare(few, tmp_path)
    assert not (tmp_path / TEACHER).exists()


def test_so_many_rows_are_counted_before_any_work(experiment, tmp_path):
    few = experiment.override({"train.parallel": [parallel(tmp_path / "few.tsv", [("A dog.", "Pies.")])]})
    assert refused(few, DataError).startswith("train: 1 translations to distil, expected 100 or more; name more")
    lessons.check(few.override({"translate": {}}), ENGLISH)  # which gives more


def test_what_is_translated_as_nothing_is_no_lesson(ray_session, experiment, tmp_path, caplog):
    progress.notice.cache_clear()
    pairs = [(f"A dog {i}.", f"Pies {i}.") for i in range(LEAST_PAIRS)]
    path = parallel(tmp_path / "gaps.tsv", [("A cat.", ""), *pairs, ("", "Kot."), (" ", "Kot.")])
    taught = experiment.override({"train.parallel": [path]})
    lessons.check(taught, ENGLISH)
    assert f"train.parallel {path}: 3 rows with an empty side are left out" in caplog.text
    lessons.prepare(taught, folder := made(tmp_path / "lessons"))
    assert {(pair.source, pair.target) for pair in read_rows(folder, ParallelPair, PARALLEL)} == set(pairs)


def test_where_lessons_are(experiment, bert, tmp_path):
    assert lessons.folder(experiment, tmp_path) == tmp_path
    ranks = {"finds": "rankings", "encoder": str(bert), "corpus": "embedded:poquad_pl"}
    plain = {"train.loss": "search_distillation", "train.teacher": None, "train.parallel": [], "mine": ranks}
    ranked = experiment.override(plain)
    assert lessons.folder(ranked, tmp_path) == mine.STAGE.path(ranked)


def test_what_a_lesson_depends_on_makes_another_training(experiment, make_teacher, tmp_path):
    def fingerprint(changes):
        return train.STAGE.folder(experiment.override(changes)).fingerprint

    before = fingerprint({})
    assert before == fingerprint({})
    scored = {"translate": {}, "score": {}}
    others = [{"train.teacher": make_teacher(ENGLISH, 120)}, scored, {**scored, "train.min_comet": 0.5}]
    assert len({before, *(fingerprint(changes) for changes in others)}) == 4
    with open(experiment.train.parallel[0], "a") as stream:
        stream.write("A cat.\tKot.\n")
    assert fingerprint({}) != before


def test_a_least_comet_needs_score(experiment):
    with pytest.raises(Exception, match=r"min_comet"):
        experiment.override({"train.min_comet": 0.5})


def test_pairs_and_vectors_are_written_in_the_same_order(ray_session, experiment, bert, tmp_path):
    """Those of the stage before, and of a file; what COMET holds for bad is left out."""
    nli = [
        TranslatedPair(str(i), f"Premise {i}.", f"A dog {i % 10}.", "neutral", f"Zdanie {i}.", f"Pies {i % 10}.")
        for i in range(100)
    ]
    more = parallel(
        tmp_path / "more.tsv",
        [*((f"Cat {i}.", f"Kot {i}.") for i in range(60)), ("A dog 1.", "Pies 1."), ("Cat 1.", "Kotek.")],
    )
    taught = experiment.override({"translate": {}, "score": {"num_actors": 1}, "train.parallel": [more]})
    with score.STAGE.folder(taught).writing() as output:
        output.write_rows([ScoredPair(**vars(row), premise_comet=0.5, hypothesis_comet=0.5) for row in nli], ScoredPair)
    lessons.prepare(taught, folder := made(tmp_path / "first"))
    pairs = read_rows(folder, ParallelPair, PARALLEL)
    expected = {(row.premise, row.premise_mt) for row in nli} | {(row.hypothesis, row.hypothesis_mt) for row in nli}
    expected |= {("Cat 1.", "Kotek."), *((f"Cat {i}.", f"Kot {i}.") for i in range(60))}
    assert {(pair.source, pair.target) for pair in pairs} == expected and len(pairs) == len(expected) == 171
    scores = sorted(pair.comet for pair in pairs)
    assert scores[0] < scores[-1]
    vectors_ND, teacher = np.load(folder / TEACHER), Encoder.load("embedded")
    assert vectors_ND.shape == (171, Encoder.load(bert).dim) and vectors_ND.dtype == np.float32
    sources = list(dict.fromkeys(pair.source for pair in pairs))
    short_ND = shortened(teacher.encode(sources, max_length=taught.inference_length), 32)
    expected_ND = short_ND[[sources.index(pair.source) for pair in pairs]]
    np.testing.assert_allclose(cosines(vectors_ND), cosines(expected_ND), atol=1e-3)
    assert len(sources) == 170 and np.abs(cosines(vectors_ND[::-1]) - cosines(expected_ND)).max() > 0.1
    least = scores[40]
    lessons.prepare(taught.override({"train.min_comet": least}), folder := made(tmp_path / "second"))
    kept = read_rows(folder, ParallelPair, PARALLEL)
    assert set(kept) == {pair for pair in pairs if pair.comet >= least} and len(kept) < 171
    assert len(np.load(folder / TEACHER)) == len(kept)
    with pytest.raises(DataError, match=r"expected 100 or more; lower train\.min_comet 0"):
        lessons.prepare(taught.override({"train.min_comet": scores[-LEAST_PAIRS + 1]}), made(tmp_path / "third"))


def made(folder):
    folder.mkdir()
    return folder
