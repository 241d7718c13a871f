"""CPU, memory, GPU and clock of this machine, and what its container allows of them."""

import os
import platform
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import nlift
from nlift.doctor.finding import Finding
from nlift.doctor.packages import version_of
from nlift.errors import NliftError
from nlift.search import faiss_gpu
from nlift.visible import size_text

CPUINFO, CGROUPS, DRIVER = Path("/proc/cpuinfo"), Path("/sys/fs/cgroup"), Path("/proc/driver/nvidia/version")
SPEEDS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")  # what int8 gains from
SMALL_MEMORY = 4 * 2**30
NO_LIMIT = 2**60  # bytes; version 1 of cgroups says it by a huge number
APART_S = 5.0  # of a file's time and the clock's: more is no rounding


def cpu(info: Path = CPUINFO) -> Finding:
    """The instructions that int8 and CTranslate2 are fast with."""
    lines = info.read_text(errors="replace").splitlines() if info.is_file() else []
    flags = {flag for line in lines if line.lower().startswith(("flags", "features")) for flag in line.split()}
    there = [flag for flag in SPEEDS if flag in flags]
    if not flags:
        return Finding("note", "CPU", f"{platform.machine()}; its instructions are not known here")
    if not there:
        fix = "int8 and CTranslate2 are slow here; set compute_type: float32"
        return Finding("note", "CPU", f"none of {', '.join(SPEEDS)}", fix)
    return Finding("ok", "CPU", ", ".join(there))


def cores(groups: Path = CGROUPS) -> Finding:
    """How many CPUs there are, and how many this process and its container may use."""
    here, mine = os.cpu_count() or 1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    quota = cpu_limit(groups)
    allowed = min(count for count in (here, mine, quota) if count is not None)
    if allowed < here:
        fix = f"Ray counts {here}: set cluster.num_cpus: {max(1, int(allowed))}"
        return Finding("note", "cores", f"{allowed:g} of {here} are allowed here", fix)
    return Finding("ok", "cores", str(here))


def whole_memory() -> int:
    """Memory of the machine, bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def memory(groups: Path = CGROUPS) -> Finding:
    """Memory of the machine, or what its container allows."""
    whole = whole_memory()
    usable = min(whole, memory_limit(groups) or whole)
    text = f"{size_text(usable)}{f', as the container allows, of {size_text(whole)}' if usable < whole else ''}"
    if usable < SMALL_MEMORY:
        fix = "the demo wants 4 GiB; lower cluster.num_cpus, so that fewer workers run beside each other"
        return Finding("note", "memory", text, fix)
    return Finding("ok", "memory", text)


def cpu_limit(groups: Path) -> float | None:
    """CPUs that the control group allows, of version 2 or 1; None without a limit."""
    for path in ("cpu.max", "cpu/cpu.cfs_quota_us"):
        said = _words(groups / path) + _words(groups / "cpu/cpu.cfs_period_us")
        if len(said) >= 2 and said[0].lstrip("-").isdigit() and int(said[0]) > 0:
            return int(said[0]) / int(said[1])
    return None


def memory_limit(groups: Path) -> int | None:
    """Bytes that the control group allows, of version 2 or 1; None without a limit."""
    for path in ("memory.max", "memory/memory.limit_in_bytes"):
        said = _words(groups / path)
        if said and said[0].isdigit() and int(said[0]) < NO_LIMIT:
            return int(said[0])
    return None


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []


def gpu(driver: Path = DRIVER) -> Iterator[Finding]:
    """GPUs, and whether driver and torch go together; torch, which loads long, is asked where both know of GPUs."""
    build = version_of("torch")
    if build is None:
        return
    if not driver.is_file():
        yield Finding("ok", "GPU", f"none here, torch {build}: all runs on the CPU")
        return
    if build.endswith("+cpu"):
        fix = "install torch's build with CUDA to use it: https://pytorch.org/get-started/locally"
        yield Finding("note", "GPU", f"there is a driver, but torch {build} is built without CUDA", fix)
        return
    import torch

    if not torch.cuda.is_available():
        fix = "update the driver, or install a torch for it (nvidia-smi says which CUDA it knows)"
        yield Finding("wrong", "GPU", f"torch {build} cannot use the driver: built for CUDA {torch.version.cuda}", fix)
        return
    names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    yield Finding("ok", "GPU", f"{', '.join(names)}; torch {build}, CUDA {torch.version.cuda}")
    try:
        seen = faiss_gpu.gpus()
    except NliftError:  # told among the packages
        return
    if seen:
        yield Finding("ok", "faiss on GPUs", f"sees {seen}, to mine, evaluate and build ivf indexes on")
    else:
        fix = "to mine, evaluate and index on it: `pip uninstall faiss-cpu`, then nlift with its extra gpu"
        yield Finding("note", "faiss on GPUs", "faiss-cpu sees none", fix)


def clock(folder: Path | None = None, code: Path | None = None) -> Iterator[Finding]:
    """Whether the clock goes with the file system's, and is not before the day that nlift's own files are from."""
    code = code or Path(nlift.__file__)
    ahead_s = code.stat().st_mtime - time.time()
    if ahead_s > APART_S:
        text = f"{code.name} of nlift is from {ahead_s:.0f} s in the future"
        yield Finding("wrong", "clock", text, "set the clock: make, TLS and what is `newest` go by it")
        return
    try:
        with tempfile.NamedTemporaryFile(dir=folder) as file:
            file.write(b".")
            file.flush()
            apart_s = Path(file.name).stat().st_mtime - time.time()
    except OSError:
        return  # that the folder cannot be written to is another finding
    if abs(apart_s) > APART_S:
        text = f"{folder or tempfile.gettempdir()} is {apart_s:+.0f} s from this machine's clock"
        yield Finding("note", "clock", text, "set both by NTP")
    else:
        yield Finding("ok", "clock", time.strftime("%Y-%m-%d %H:%M:%S %z"))
