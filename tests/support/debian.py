"""A Postgres server out of Debian packages, unpacked into a cache directory: nothing is installed.

The suite's second server version; it brings pgTAP and plpgsql_check, which the wheel has not.
"""

from __future__ import annotations

import fcntl
import os
import platform
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from currant.cluster import Installation

ROOT = Path(__file__).resolve().parents[2]
PREFERRED_MAJOR = 15


class Unavailable(Exception):
    """There are no Debian packages to take a server from."""


def cache_directory() -> Path:
    """Where downloads are kept between runs."""
    return Path(os.environ.get("CURRANT_TEST_CACHE") or ROOT / ".cache")


def debian_installation() -> tuple[int, Installation]:
    """The major version and the programs of the server; downloaded by the first call.

    Raises:
        Unavailable: not a system with apt.
    """
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise Unavailable("needs a system with apt")
    cache = cache_directory()
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = _unpacked(cache)
        if found is None:
            _download(cache)
            found = _unpacked(cache)
    if found is None:
        raise AssertionError(f"no server in {cache} after downloading one")
    return found


def pgtap_script(installation: Installation, major: int) -> Path:
    """The script that creates pgTAP's functions in the current schema."""
    return installation.base / f"usr/share/postgresql/{major}/extension/pgtap.sql"


def _unpacked(cache: Path) -> tuple[int, Installation] | None:
    for tree in sorted(cache.glob("postgresql-*"), reverse=True):
        major = tree.name.removeprefix("postgresql-")
        if not major.isdigit():
            continue
        multiarch = f"{platform.machine()}-linux-gnu"
        return int(major), Installation(
            tree,
            bindir=f"usr/lib/postgresql/{major}/bin",
            parts=("usr/lib", "lib", f"usr/share/postgresql/{major}"),
            library_paths=(f"usr/lib/{multiarch}", f"lib/{multiarch}"),
        )
    return None


def _download(cache: Path) -> None:
    try:
        _unpack(cache, [])
    except (Unavailable, subprocess.CalledProcessError):
        # No package lists on this system, or old ones: read new ones, for ourselves alone.
        lists = cache / "apt-lists"
        (lists / "partial").mkdir(parents=True, exist_ok=True)
        options = ["-o", f"Dir::State::lists={lists}", "-o", f"Dir::Cache={cache}"]
        try:
            _output("apt-get", *options, "update", "-qq")
            _unpack(cache, options)
        except subprocess.CalledProcessError as error:
            raise Unavailable(f"{error.cmd[0]} failed: {error.stderr.strip()}") from error


def _unpack(cache: Path, options: list[str]) -> None:
    major = _available_major(options)
    server = f"postgresql-{major}"
    extensions = [f"{server}-pgtap", f"{server}-plpgsql-check"]
    wanted = [server, f"postgresql-client-{major}", *extensions]
    # What an installation would add, of which the libraries are needed here. LLVM is for the
    # just-in-time compiler, which is off.
    install = ("install", "--simulate", "--no-install-recommends", "-o", "Debug::NoLocking=1")
    plan = _output("apt-get", *options, *install, *wanted)
    libraries = [
        name
        for name in re.findall(r"^Inst (lib\S+)", plan, re.MULTILINE)
        if not name.startswith("libllvm")
    ]
    with tempfile.TemporaryDirectory(dir=cache) as work:
        _output("apt-get", *options, "download", "-qq", *wanted, *libraries, directory=work)
        tree = Path(work) / "tree"
        for package in Path(work).glob("*.deb"):
            _output("dpkg-deb", "--extract", str(package), str(tree))
        (tree / "lib").mkdir(exist_ok=True)
        tree.rename(cache / server)


def _available_major(options: list[str]) -> int:
    names = set(_output("apt-cache", *options, "pkgnames", "postgresql-").split())
    majors = {
        int(match[1])
        for name in names
        if (match := re.fullmatch(r"postgresql-(\d+)-plpgsql-check", name))
        and {f"postgresql-{match[1]}", f"postgresql-{match[1]}-pgtap"} <= names
    }
    if not majors:
        raise Unavailable("the system's packages have no Postgres with pgTAP and plpgsql_check")
    return PREFERRED_MAJOR if PREFERRED_MAJOR in majors else max(majors)


def _output(*command: str, directory: str | None = None) -> str:
    return subprocess.run(command, cwd=directory, check=True, capture_output=True, text=True).stdout
