"""The demo's data: SNLI dev and entailed pairs of its train sample, two Polish retrieval sets, a sample of STS-B."""

import shutil
from pathlib import Path

STS_PAIRS = 300  # the most that may be passed on

COPIES = {
    "retrieval/poquad_dev_pl": "poquad_pl",
    "retrieval/osm_places_pl": "osm_places_pl",
}


def build(data: Path, output: Path) -> None:
    """Copy the shippable sets from `data` into `output`."""
    output.mkdir(parents=True, exist_ok=True)
    for source, target in COPIES.items():
        shutil.copytree(data / source, output / target, dirs_exist_ok=True, copy_function=shutil.copyfile)
    _write_snli(data, output / "snli.tsv")
    lines = (data / "sts/stsb_pl_dev.tsv").read_text(encoding="utf-8").splitlines(keepends=True)
    step = (len(lines) - 1) / STS_PAIRS  # spread over genres, which follow each other in the file
    chosen = [lines[1 + int(i * step)] for i in range(STS_PAIRS)]
    (output / "stsb_pl.tsv").write_text("".join(lines[:1] + chosen), encoding="utf-8")


def _write_snli(data: Path, output: Path) -> None:
    """All of dev; of the train sample what triplets can use: premises with an entailed hypothesis."""
    dev = (data / "nli/snli_dev.tsv").read_text(encoding="utf-8").splitlines()
    sample = (data / "nli/snli_train_sample20k.tsv").read_text(encoding="utf-8").splitlines()[1:]
    entailed = {line.split("\t")[0] for line in sample if line.endswith("\tentailment")}
    useful = [line for line in sample if line.split("\t")[0] in entailed and not line.endswith("\tneutral")]
    output.write_text("\n".join([*dev, *useful]) + "\n", encoding="utf-8")
