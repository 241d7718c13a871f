"""Translating SNLI: nlift's cache and engines beside Hugging Face `generate` at a fixed batch size.

Peers: plain Ray Data `map_batches` over all rows, and the same without Ray. The same model, beam
and float32 (but for int8, which is named), two processes of one thread, or one of two; loading is
left out on both sides: time runs from the first model call to the end of the last.
"""

import argparse
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import peers
import pyarrow as pa
import pyarrow.dataset as pads
import ray
import sacrebleu
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from nlift import cluster, progress
from nlift.data.database import open_database
from nlift.data.result_cache import ResultCache, complete
from nlift.data.schema import Batch, Translation
from nlift.data.sources import model_source
from nlift.models.translator import Translator, identity
from nlift.settings import ClusterConfig, TranslateConfig

PAIRS, ROUNDS, BATCH_SIZE = 300, 3, 32
BEAMS, MAX_NEW_TOKENS = 4, 96
PLAIN, PLAIN_RAY = "generate, no Ray", "generate in Ray Data map_batches"


class Plain:
    """`generate` on batches as they come."""

    def __init__(self, log: str) -> None:
        self.log = log
        source = model_source("embedded", "translator")
        self.tokenizer = AutoTokenizer.from_pretrained(source, src_lang="en")
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = AutoModelForSeq2SeqLM.from_pretrained(source, dtype=torch.float32).eval().to(self.device)

    @torch.inference_mode()
    def __call__(self, batch: Batch) -> Batch:
        """The batch with the column `target`."""
        began = time.time()
        inputs = self.tokenizer(list(batch["source"]), return_tensors="pt", padding=True, truncation=True).to(
            self.device
        )
        begin = self.tokenizer.get_lang_id("pl")
        decoding = {"forced_bos_token_id": begin, "num_beams": BEAMS, "max_new_tokens": MAX_NEW_TOKENS}
        tokens = self.model.generate(**inputs, **decoding)
        target = self.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        with open(self.log, "a") as stream:
            stream.write(f"{began} {time.time()}\n")
        return {**batch, "target": np.array(target, dtype=object)}


def logged(log: Path) -> type[Translator]:
    """nlift's translator, its calls logged."""

    class Logged(Translator):
        def __call__(self, batch: Batch) -> Batch:
            began = time.time()
            translated = super().__call__(batch)
            with log.open("a") as stream:
                stream.write(f"{began} {time.time()}\n")
            return translated

    return Logged


class Work:
    """One set of sentences and every way to translate it; keeps the last translations of each way."""

    def __init__(self, texts: list[str], folder: Path) -> None:
        self.texts, self.folder = texts, folder
        self.translations: dict[str, list[str]] = {}
        self.plain = Plain(str(folder / "plain"))

    def generate(self) -> float:
        """Without Ray, two threads."""
        torch.set_num_threads(peers.THREADS)
        parts = [self.texts[i : i + BATCH_SIZE] for i in range(0, len(self.texts), BATCH_SIZE)]
        targets: list[str] = []
        seconds = peers.timed(
            lambda: [targets.extend(self.plain({"source": np.array(part)})["target"]) for part in parts]
        )
        self.translations[PLAIN] = targets
        return seconds

    def ray_data(self) -> float:
        """Ray Data, two actors."""
        log = self.folder / f"log-{time.time_ns()}"
        rows = [{"position": i, "source": text} for i, text in enumerate(self.texts)]
        translated = ray.data.from_items(rows).map_batches(
            Plain,
            fn_constructor_args=(str(log),),
            batch_size=BATCH_SIZE,
            **cluster.actor_pool(None, len(rows)),
        )
        by_position = {row["position"]: row["target"] for row in translated.iter_rows()}
        self.translations[PLAIN_RAY] = [by_position[i] for i in range(len(self.texts))]
        return peers.busy(log)

    def ours(self, name: str, **engine: str) -> float:
        """nlift, two actors, an empty cache."""
        config = TranslateConfig(num_beams=BEAMS, max_new_tokens=MAX_NEW_TOKENS, shard_size=128, **engine)
        cache = ResultCache(self.folder / str(time.time_ns()), identity(config), Translation)
        log = self.folder / f"log-{time.time_ns()}"
        with open_database(self.folder) as database:
            database.add("sentences", pads.dataset(pa.table({"source": self.texts})))
            query = "SELECT source FROM sentences"
            complete(database, "translated", query, cache, logged(log), config, "translate")
        known = cache.read("target")
        self.translations[name] = [known[cache.key(text)] or "" for text in self.texts]
        return peers.busy(log)


def compare(title: str, texts: list[str]) -> None:
    """Run all contenders on one set of sentences and print rates, ratios and agreement."""
    engines = {
        "nlift, transformers": {"engine": "transformers", "compute_type": "float32"},
        "nlift, ctranslate2 float32": {"engine": "ctranslate2", "compute_type": "float32"},
        "nlift, ctranslate2 int8": {"engine": "ctranslate2", "compute_type": "int8"},
    }
    with tempfile.TemporaryDirectory() as folder:
        work = Work(texts, Path(folder))
        contenders = {PLAIN: work.generate, PLAIN_RAY: work.ray_data}
        for name, engine in engines.items():
            contenders[name] = partial(work.ours, name, **engine)
        seconds = peers.alternate(contenders, ROUNDS)
    peers.table(title, seconds, len(texts), "sentences", "nlift", [PLAIN_RAY, PLAIN])
    for name in engines:
        ours, theirs = work.translations[name], work.translations[PLAIN]
        same = np.mean([translation == reference for translation, reference in zip(ours, theirs, strict=True)])
        chrf = sacrebleu.corpus_chrf(ours, [theirs]).score
        print(f"  {name}: {same:.1%} of translations are those of generate, chrF against them {chrf:.1f}")


def share_of_peak() -> None:
    """How much of the machine's matrix product our transformers engine reaches."""
    torch.set_num_threads(peers.THREADS)
    translator, texts = Translator(TranslateConfig(num_beams=BEAMS, compute_type="float32")), peers.sentences(200)
    translator.translate(texts[:32])
    seconds, peak = (
        peers.timed(lambda: translator.translate(texts)),
        peers.peak_gflops("cuda" if torch.cuda.is_available() else "cpu"),
    )
    rate = peers.gflop(lambda: translator.translate(texts)) / seconds
    print(f"forward passes of translation: {rate:.1f} GFLOP/s, {rate / peak:.0%} of {peak:.0f} GFLOP/s")


def main() -> None:
    """Print the comparison on SNLI as it is and on distinct sentences."""
    peers.options(argparse.ArgumentParser(description=__doc__))
    progress.show()
    cluster.connect(ClusterConfig(num_cpus=peers.THREADS))
    texts = peers.sentences(PAIRS)
    compare("SNLI as it is", texts)
    compare("distinct sentences", list(dict.fromkeys(texts)))
    share_of_peak()


if __name__ == "__main__":
    main()
