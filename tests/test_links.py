"""What the pages point at is there: links, headings, pictures, files that they name."""

import re

import pages
import pytest

ROOT = pages.ROOT
TREE = [
    str(path.relative_to(ROOT))
    for top in ("platform", "serve", "jobs", "tests", "docs", "benchmarks")
    for path in (ROOT / top).rglob("*")
    if "__pycache__" not in path.parts
] + [path.name for path in ROOT.iterdir()]


@pytest.mark.parametrize("name", [*pages.NAMES, "CHANGELOG.md"])
def test_links_lead_somewhere(name):
    for link in pages.LINK.findall(pages.prose(name)):
        if re.match(r"(https?|mailto):", link):
            continue
        path, _, anchor = link.partition("#")
        target = ((ROOT / name).parent / path).resolve() if path else ROOT / name
        assert target.exists(), f"{name}: {link}: no such file"
        if anchor:
            assert anchor in pages.anchors(str(target.relative_to(ROOT))), f"{name}: {link}: no such heading"


WRITTEN = re.compile(r"[\w./*-]+\.(py|j2|css|sh|toml|txt)")
NAMED = re.compile(r"[\w./-]+\.(json|jsonl|html|parquet|npy|arrow|trec|db)")


@pytest.mark.parametrize("name", [name for name in pages.NAMES if not name.endswith(("experiments.md", "results.md"))])
def test_files_in_the_text_are_there(name):
    """Sources are in the checkout; what a run leaves is named by the code that writes it."""
    code = "".join((ROOT / path).read_text() for path in TREE if re.match(r"(platform|serve).*\.(py|j2|yaml)$", path))
    for line, text in pages.spans(name):
        if WRITTEN.fullmatch(text) and "NAME" not in text:
            assert any(path == text or path.endswith(f"/{text}") for path in TREE), f"{name}:{line}: no file {text}"
        elif NAMED.fullmatch(text) and not text.startswith("my_") and "SET" not in text:
            last = text.rpartition("/")[2]
            assert last in code or any(path.endswith(last) for path in TREE), f"{name}:{line}: nothing writes {text}"
