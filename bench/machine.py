"""The machine that a run was made on, in words."""

import os
import platform
import re
import ssl
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench.processes import program

# Each says its version on its first line.
VERSIONS = {
    "nginx": ("nginx", "-v"),
    "wrk": ("wrk", "-v"),
    "igzip": ("igzip", "--version"),
    "qemu-img": ("qemu-img", "--version"),
    "nbdkit": ("nbdkit", "--version"),
    "nbdcopy": ("nbdcopy", "--version"),
    "fio": ("fio", "--version"),
    "cp": ("cp", "--version"),
}
PACKAGES = ("uvicorn", "uvloop", "httptools", "starlette", "isal", "cryptography", "ovirt-imageio")


def describe(memory: Path, disk: Path) -> dict[str, str]:
    """Return what matters for the numbers: processor, memory, kernel, file systems, versions."""
    facts = {
        "processor": f"{_processor()}, {len(os.sched_getaffinity(0))} cores",
        "memory": f"{_memory_gib():.0f} GiB",
        "kernel": platform.release(),
        "system": _system(),
        "python": platform.python_version(),
        "openssl": ssl.OPENSSL_VERSION,
        "memory folder": _file_system(memory),
        "disk folder": _file_system(disk),
    }
    found = {name: _version(words) for name, words in VERSIONS.items()}
    packages = {name: _package(name) for name in PACKAGES}
    return facts | {name: one for name, one in (found | packages).items() if one}


def _processor() -> str:
    text = Path("/proc/cpuinfo").read_text()
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    flags = re.search(r"^flags\s*:\s*(.+)$", text, re.MULTILINE)
    has = set(flags[1].split()) if flags else set()
    kinds = [flag for flag in ("aes", "vaes", "avx512f", "sha_ni", "hypervisor") if flag in has]
    return f"{found[1] if found else platform.machine()} ({', '.join(kinds)})"


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        return platform.system()


def _file_system(path: Path) -> str:
    """Return the type of the file system that holds *path*: of the longest mount point above it."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    above = [(point, kind) for point, kind in mounts if path.resolve().is_relative_to(point)]
    return max(above, key=lambda mount: len(mount[0]))[1] if above else "unknown"


def _version(words: tuple[str, ...]) -> str:
    path = program(words[0])
    if path is None:
        return ""
    ended = subprocess.run(  # noqa: S603 - fixed words
        [path, *words[1:]], check=False, capture_output=True, text=True, timeout=10
    )
    first = (ended.stdout or ended.stderr).strip().partition("\n")[0]
    found = re.search(r"\d+\.\d[\w.]*", first)
    return found[0] if found else first


def _package(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
