"""What a replica did, as Prometheus reads it at /metrics; replicas of one machine add up, by files that they share."""

import os
import sys
from pathlib import Path

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)

__all__ = ["CONTENT_TYPE_LATEST", "text"]

FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # of those files, a variable that prometheus_client looks at
SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)

if FOLDER in os.environ:  # on whichever node a replica starts; the counters below make their files there at once
    Path(os.environ[FOLDER]).mkdir(parents=True, exist_ok=True)
REQUESTS = Counter("nlift_requests", "Requests by route, status and mode of search", ["route", "status", "mode"])
SECONDS_OF = Histogram("nlift_request_seconds", "From a request's arrival to its answer", ["route"], buckets=SECONDS)
PARTS = Histogram(
    "nlift_part_seconds", "What a request or batch spends in queue, encode and search", ["part"], buckets=SECONDS
)
BATCH = Histogram("nlift_batch_queries", "Queries that are answered together", buckets=SIZES)
CACHED = Counter("nlift_query_vectors", "Queries whose vector was kept (hit) or computed (miss)", ["outcome"])
SWAPS = Counter("nlift_swaps", "New versions that took over (done) or did not (refused)", ["outcome"])
VERSION = Gauge("nlift_version", "1 for the version that is served", ["version"], multiprocess_mode="livemax")
DOCUMENTS = Gauge("nlift_documents", "Documents of the version that is served", multiprocess_mode="livemax")


def text() -> bytes:
    """All of it, in Prometheus' text format."""
    if FOLDER not in os.environ:
        return generate_latest()
    for process in {name.stem.rpartition("_")[2] for name in Path(os.environ[FOLDER]).glob("gauge_live*.db")}:
        if process.isdigit() and not Path("/proc", process).exists() and sys.platform == "linux":
            multiprocess.mark_process_dead(int(process))  # a replica that was killed says nothing any more
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)
    return generate_latest(registry)
