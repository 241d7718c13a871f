"""Fills a translation cache, each sentence that goes through the model logged by the model call itself.

python fill_result_cache.py CACHE LOG COUNT, the cache a folder or a URI: run, and killed, by test_exactly_once.py.
"""

import os
import sys
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as pads

from nlift import cluster
from nlift.data.database import open_database
from nlift.data.result_cache import ResultCache, complete
from nlift.data.schema import Translation
from nlift.data.sources import EMBEDDED
from nlift.data.table import read_table
from nlift.models.translator import Translator, identity
from nlift.settings import ClusterConfig, TranslateConfig

CONFIG = TranslateConfig(num_beams=1, max_new_tokens=32, shard_size=16, num_actors=2)
LOG = sys.argv[2] if __name__ == "__main__" else ""  # workers get it with the class


class LoggingTranslator(Translator):
    """Appends a line `process key` per sentence before it is translated."""

    def __call__(self, batch):
        with open(LOG, "a") as stream:
            stream.write("".join(f"{os.getpid()} {key}\n" for key in batch["key"]))
        return super().__call__(batch)


def sentences(count):
    """The first distinct sentences of the embedded NLI pairs."""
    rows = (row.values for row in read_table(EMBEDDED / "data" / "snli.tsv"))
    return list(dict.fromkeys(text for row in rows for text in (row["premise"], row["hypothesis"])))[:count]


def main():
    place, count = sys.argv[1], int(sys.argv[3])
    cache = ResultCache(place, identity(CONFIG), Translation)
    cluster.connect(ClusterConfig(num_cpus=2))
    with tempfile.TemporaryDirectory() as work, open_database(Path(work)) as database:
        database.add("sentences", pads.dataset(pa.table({"source": sentences(count)})))
        query = "SELECT source FROM sentences"
        done = complete(database, "done", query, cache, LoggingTranslator, CONFIG, "translate")
    print(done, "translated", flush=True)


if __name__ == "__main__":
    main()
