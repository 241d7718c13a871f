"""Python and packages, beside what the project asks for."""

import platform
import tomllib
from collections.abc import Iterator, Sequence
from importlib import metadata, util
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import nlift
from nlift.doctor.finding import Finding

INSTALL = "pip install -c constraints.txt -e '.[cpu]'"
FAISS = ("faiss-cpu", "faiss-gpu")  # the same module: exactly one of them


def required() -> tuple[str, list[Requirement]]:
    """The Python and the packages that nlift needs, extras left out.

    A checkout's pyproject.toml says it, as what pip noted may be older; else what was installed.
    """
    project = Path(nlift.__file__).parents[2] / "pyproject.toml"
    if project.is_file():
        said = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
        return said["requires-python"], [Requirement(text) for text in said["dependencies"]]
    known = [Requirement(text) for text in metadata.requires("nlift") or []]
    return metadata.metadata("nlift")["Requires-Python"], [
        wanted for wanted in known if wanted.marker is None or wanted.marker.evaluate({"extra": ""})
    ]


def python(wanted: str) -> Finding:
    """This Python, beside the versions that are wanted."""
    version = platform.python_version()
    if SpecifierSet(wanted).contains(version, prereleases=True):
        return Finding("ok", "Python", version)
    return Finding("wrong", "Python", f"{version}, expected {wanted}", "make the environment with such a Python")


def packages(wanted: Sequence[Requirement]) -> Iterator[Finding]:
    """What is missing or of another version; one line where nothing is."""
    faults = 0
    for requirement in wanted:
        version = version_of(requirement.name)
        if version is None:
            text = "not installed"
        elif not requirement.specifier.contains(version, prereleases=True):
            text = f"{version}, expected {requirement.specifier}"
        else:
            continue
        faults += 1
        yield Finding("wrong", requirement.name, text, INSTALL)
    if not faults:
        yield Finding("ok", "packages", f"{len(wanted)} as required")


def faiss(names: Sequence[str] = FAISS) -> Finding:
    """Whether exactly one package has FAISS."""
    there = [f"{name} {version}" for name in names if (version := version_of(name)) is not None]
    if len(there) > 1:
        fix = f"pip uninstall {' '.join(names)}, and {INSTALL}"
        return Finding("wrong", "faiss", f"{' and '.join(there)} are the same module", fix)
    if there or util.find_spec("faiss") is not None:
        return Finding("ok", "faiss", there[0] if there else "there")
    return Finding("wrong", "faiss", "not installed: there is no index without", f"{INSTALL}, or the extra gpu")


def version_of(name: str) -> str | None:
    """The version of a package; None where it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
