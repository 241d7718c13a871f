"""The demo's data: SNLI dev, two Polish retrieval sets and a sample of STS-B, as they come."""

import shutil
from pathlib import Path

STS_PAIRS = 300  # the most that may be passed on

COPIES = {
    "nli/snli_dev.tsv": "snli.tsv",
    "retrieval/poquad_dev_pl": "poquad_pl",
    "retrieval/osm_places_pl": "osm_places_pl",
}


def build(data: Path, output: Path) -> None:
    """Copy the shippable sets from `data` into `output`."""
    output.mkdir(parents=True, exist_ok=True)
    for source, target in COPIES.items():
        if (data / source).is_dir():
            shutil.copytree(data / source, output / target, dirs_exist_ok=True, copy_function=shutil.copyfile)
        else:
            shutil.copyfile(data / source, output / target)
    lines = (data / "sts/stsb_pl_dev.tsv").read_text(encoding="utf-8").splitlines(keepends=True)
    step = (len(lines) - 1) / STS_PAIRS  # spread over genres, which follow each other in the file
    chosen = [lines[1 + int(i * step)] for i in range(STS_PAIRS)]
    (output / "stsb_pl.tsv").write_text("".join(lines[:1] + chosen), encoding="utf-8")
