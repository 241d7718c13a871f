"""What tests share: tiny random-initialised models that need no network, one Ray, and one tiny run of all stages."""

import csv
import json
import multiprocessing
import os
import subprocess
import sys
import uuid
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # some hundred processes would compile what they import
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# tiny models gain nothing from threads, and wait for them on a busy machine
os.environ.setdefault("OMP_NUM_THREADS", "1")

from itertools import product

import pytest

from nlift.data.sources import EMBEDDED

SENTENCES = [
    f"{who} {does} {what} {where}"
    for who, does, what, where in product(
        ("a woman", "an old man", "the small dog"),
        ("sees", "carries", "likes", "wants to find"),
        ("a red ball", "the map"),
        ("in the park", "near the river"),
    )
]
HERE = Path(__file__).parent
SIZE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
SIZES = {  # of small models of other kinds
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64},
    "albert": {**SIZE, "embedding_size": 16},
    "electra": {**SIZE, "embedding_size": 16},
    "mpnet": SIZE,
    "xlnet": {"d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 64},
}


NLI_ROWS = [
    {"premise": '"Hi," says a man.', "hypothesis": "A man, speaks.", "label": "entailment"},
    {"premise": "Żółw idzie.", "hypothesis": "A cat runs.", "label": "contradiction"},
]

RETRIEVAL = {"ndcg@10": 0.5, "recall@10": 0.625, "recall@100": 0.75, "mrr@10": 0.25, "map": 0.125}
RETRIEVAL |= {"queries": 10, "documents": 1000}
STS = {"spearman": 0.875, "pearson": 0.9, "pairs": 40}
GEOMETRY = {"uniformity": -2.5, "alignment": 0.3}


def encoder_metrics(sts=None, retrieval=None, geometry=None):
    """What metrics.json says of an encoder."""
    return {"sts": sts or {}, "retrieval": retrieval or {}, "geometry": geometry or {}, "transfer": {}}


def write_file(path, rows):
    """Rows as a file of the form that its ending says."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".tsv":
        path.write_text("".join("\t".join(row) + "\n" for row in [rows[0].keys(), *(row.values() for row in rows)]))
    else:
        with path.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)
    return path


@pytest.fixture
def load(tmp_path):
    """Loads text as an experiment."""
    from nlift.config import load_experiment

    def load(text, *overrides):
        path = tmp_path / "x.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_experiment(path, list(overrides))

    return load


@pytest.fixture
def fails(load, tmp_path):
    """The line of the ConfigError, without the folder of the file."""
    from nlift.errors import ConfigError

    def fails(text, *overrides):
        with pytest.raises(ConfigError) as caught:
            load(text, *overrides)
        message = str(caught.value)
        assert len(message.splitlines()) == 1 and message.isprintable() and len(message) < 1200
        return message.replace(f"{tmp_path}/", "")

    return fails


@pytest.fixture(scope="session")
def sentences():
    """48 short sentences, all different, of unequal lengths."""
    return SENTENCES


@pytest.fixture(scope="session")
def bert(tmp_path_factory):
    """Folder of a plain Hugging Face BERT with a WordPiece vocabulary of its own."""
    import torch
    from transformers import BertConfig, BertModel

    torch.manual_seed(1)
    tokenizer = word_piece()
    config = BertConfig(vocab_size=len(tokenizer), max_position_embeddings=64, **SIZE)
    return saved(BertModel(config), tokenizer, tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="session")
def xlm_roberta(tmp_path_factory):
    """Folder of a plain Hugging Face XLM-R with a Unigram vocabulary of its own."""
    import torch
    from transformers import XLMRobertaConfig, XLMRobertaModel

    torch.manual_seed(2)
    tokenizer = unigram()
    config = XLMRobertaConfig(vocab_size=len(tokenizer), max_position_embeddings=66, **SIZE)
    return saved(XLMRobertaModel(config), tokenizer, tmp_path_factory.mktemp("xlmr"))


@pytest.fixture(scope="session")
def make_model(tmp_path_factory):
    """Builds the folder of any other kind of model, by its Hugging Face name."""

    def build(kind, **settings):
        from transformers import AutoConfig, AutoModel

        tokenizer = word_piece()
        config = AutoConfig.for_model(kind, vocab_size=len(tokenizer), **settings)
        return saved(AutoModel.from_config(config), tokenizer, tmp_path_factory.mktemp(kind))

    return build


@pytest.fixture(scope="session")
def folder_of_kind(bert, xlm_roberta, make_model):
    """The folder of a small model of a kind: `bert`, `xlm_roberta` or one of SIZES; each is made once."""
    made = {"bert": bert, "xlm_roberta": xlm_roberta}

    def folder(kind):
        if kind not in made:
            made[kind] = make_model(kind, **SIZES[kind])
        return made[kind]

    return folder


def saved(model, tokenizer, folder):
    """Weights are widened: random vectors of the usual width are all but parallel."""
    import torch

    with torch.no_grad():
        for weights in model.parameters():
            weights.add_(0.2 * torch.randn_like(weights))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def word_piece():
    from tokenizers import BertWordPieceTokenizer
    from tokenizers.processors import BertProcessing
    from transformers import BertTokenizerFast

    trained = BertWordPieceTokenizer()
    trained.train_from_iterator(SENTENCES, vocab_size=120, min_frequency=1, show_progress=False)
    separator, first = ((name, trained.token_to_id(name)) for name in ("[SEP]", "[CLS]"))
    trained._tokenizer.post_processor = BertProcessing(separator, first)
    return BertTokenizerFast(tokenizer_object=trained._tokenizer)


def unigram():
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import XLMRobertaTokenizerFast

    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trained = Tokenizer(models.Unigram())
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=100, special_tokens=special, unk_token="<unk>", show_progress=False)
    trained.train_from_iterator(SENTENCES, trainer)
    trained.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return XLMRobertaTokenizerFast(tokenizer_object=trained)


def on_ranks(work, ranks, folder, *arguments):
    """What `work(rank, ranks, folder, *arguments)` returns on every rank of as many gloo processes."""
    context = multiprocessing.get_context("forkserver")  # torch is imported once, and forked
    context.set_forkserver_preload(["nlift.training.gradcache", "torch.distributed"])
    processes = [
        context.Process(target=_on_rank, args=(work, rank, ranks, folder, *arguments)) for rank in range(ranks)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=120)
    assert [process.exitcode for process in processes] == [0] * ranks
    import torch

    return [torch.load(folder / f"{rank}.pt") for rank in range(ranks)]


def _on_rank(work, rank, ranks, folder, *arguments):
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=ranks)
    torch.save(work(rank, ranks, *arguments), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def started(script, folder, *arguments):
    """A script of tests/programs in a process of its own, with its own Ray; what it says goes to `folder/output`."""
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent / "platform")}
    environment.pop("RAY_ADDRESS", None)
    command = [sys.executable, str(HERE / "programs" / script), *map(str, arguments)]
    with (folder / "output").open("a") as output:
        return subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True)


@pytest.fixture
def two_threads():
    """Two threads for torch, as on a machine of two cores."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def s3_server():
    """The address of an S3 server on this machine (moto)."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture
def copies(monkeypatch, tmp_path):
    """Where this machine keeps copies of what is in buckets; nothing is there yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "copies"))
    return tmp_path / "copies"


@pytest.fixture
def bucket(s3_server, monkeypatch, copies):
    """The URI of an empty bucket; processes that are started find it as they find a cloud's."""
    import boto3

    known = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    for name, value in {**known, "AWS_ENDPOINT_URL": s3_server, "AWS_EC2_METADATA_DISABLED": "true"}.items():
        monkeypatch.setenv(name, value)
    name = f"nlift-{uuid.uuid4().hex}"
    boto3.client("s3").create_bucket(Bucket=name)
    return f"s3://{name}"


@pytest.fixture(scope="session")
def ray_session():
    """The one Ray of the whole test session."""
    import ray

    from nlift import cluster
    from nlift.settings import ClusterConfig

    cluster.connect(ClusterConfig(num_cpus=2))
    yield
    ray.shutdown()


@pytest.fixture
def address_of_another_ray(ray_session):
    """The machine's note of the last `ray start` names a Ray that is gone, as after a kill or a crash."""
    from ray._common.utils import get_ray_address_file

    note = Path(get_ray_address_file(None))
    before = note.read_text() if note.exists() else None
    note.write_text("127.0.0.1:1")
    yield
    note.unlink() if before is None else note.write_text(before)


def _tiny_inputs(folder):
    """A dozen NLI pairs (two of them bad), a retrieval set of 30 documents, 40 STS pairs."""
    lines = (EMBEDDED / "data" / "snli.tsv").read_text().splitlines()
    bad = ["A dog runs.\t\tentailment", "A dog runs.\tAn animal moves.\tperhaps"]
    (folder / "nli.tsv").write_text("\n".join([*lines[:16], *bad]) + "\n")

    source, target = EMBEDDED / "data" / "poquad_pl", folder / "tiny"
    (target / "qrels").mkdir(parents=True)
    for name, count in (("corpus.jsonl", 30), ("queries.jsonl", 20)):
        (target / name).write_text("\n".join((source / name).read_text().splitlines()[:count]) + "\n")
    texts = [(target / f"{name}.jsonl").read_text() for name in ("corpus", "queries")]
    known = {json.loads(line)["_id"] for text in texts for line in text.splitlines()}
    header, *rows = (source / "qrels" / "test.tsv").read_text().splitlines()
    kept = [row for row in rows if set(row.split("\t")[:2]) <= known and int(row.split("\t")[0][1:]) <= 20]
    (target / "qrels" / "test.tsv").write_text("\n".join([header, *kept]) + "\n")

    sts = (EMBEDDED / "data" / "stsb_pl.tsv").read_text().splitlines()[:41]
    (folder / "sts.tsv").write_text("\n".join(sts) + "\n")


@pytest.fixture(scope="session")
def tiny_experiment(tmp_path_factory):
    """An experiment on tiny inputs, not run."""
    from nlift.config import Experiment

    folder = tmp_path_factory.mktemp("tiny")
    _tiny_inputs(folder)
    return Experiment.model_validate(
        {
            "name": "tiny",
            "output_dir": str(folder / "runs"),
            "nli": {"path": str(folder / "nli.tsv")},
            "translate": {"num_beams": 2, "shard_size": 8},
            "train": {"global_batch_size": 2, "epochs": 2, "learning_rate": 3e-4, "num_workers": 2, "dev": "tiny"},
            "evaluate": {
                "sets": [
                    {"name": "tiny", "kind": "retrieval", "path": str(folder / "tiny")},
                    {"name": "pairs", "kind": "sts", "path": str(folder / "sts.tsv")},
                ]
            },
            "index": {"corpus": str(folder / "tiny"), "kind": "hnsw", "max_length": 64},
        }
    )


@pytest.fixture(scope="session")
def tiny_run(ray_session, tiny_experiment):
    """The tiny experiment, run from end to end."""
    from nlift import pipeline

    pipeline.run(tiny_experiment)
    return tiny_experiment


@pytest.fixture(scope="session")
def several_sentences(sentences):
    """Documents in the order of their rows."""
    from nlift.data.schema import Document
    from nlift.search.ranking import row_order

    unordered = [
        Document(f"d{i:02}", "", f"{text}. {sentences[-i].capitalize()}.", json.dumps({"row": i, "odd": bool(i % 2)}))
        for i, text in enumerate(sentences)
    ]
    unordered.append(Document("empty", "a map", "", "{}"))
    return [unordered[i] for i in row_order([document.doc_id for document in unordered])]


@pytest.fixture(scope="session")
def encoder_folder(bert, tmp_path_factory):
    from nlift.models.encoder import Encoder

    folder = tmp_path_factory.mktemp("encoder")
    Encoder.load(bert, prefixes={"query": "the map ", "passage": ""}).save(folder)
    return folder


@pytest.fixture(scope="session")
def encoder_of(encoder_folder):
    from nlift.models.encoder import Encoder

    return Encoder.load(encoder_folder)


@pytest.fixture(scope="session")
def bundle(encoder_folder, encoder_of, several_sentences, tmp_path_factory):
    """Of documents of several sentences, with metadata; ten candidates of each leg."""
    from nlift.search.analyzers import Analyzer
    from nlift.search.bm25 import BM25Index
    from nlift.search.bundle import Bundle
    from nlift.search.bundle_format import write_bundle
    from nlift.search.faiss_index import FaissIndex

    analyzer = Analyzer("stem", "en")
    search = {"mode": "hybrid", "alpha": 0.5, "fusion": "convex", "depth": 10}
    search |= {"analyzer": "stem", "language": "en", "analyzer_version": analyzer.version}
    contents = [document.content for document in several_sentences]
    vectors = encoder_of.encode(contents, role="passage")
    folder = write_bundle(
        tmp_path_factory.mktemp("bundles"),
        encoder=encoder_folder,
        documents=several_sentences,
        index=FaissIndex.build(vectors),
        words=BM25Index.build(contents, analyzer),
        judged=[],
        info={"version": "v1", "dim": 32, "index": {"kind": "flat"}, "search": search},
    )
    return Bundle.load(folder, cached_queries=100)
