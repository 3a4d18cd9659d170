"""What Currant needs, for the other versions of Python on this machine, in a cache directory."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tomllib

from tests.support.debian import ROOT, cache_directory
from tests.support.pythons import Python


def environment(python: Python) -> dict[str, str]:
    """The environment in which that Python can run the command line.

    Raises:
        subprocess.CalledProcessError: what it needs could not be had; there may be no network.
    """
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    minor = python.version.rpartition(".")[0]
    mark = hashlib.sha256(str(wanted).encode()).hexdigest()[:8]
    target = cache_directory() / "pythons" / f"{minor}-currant-{mark}"
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.is_dir():
            unfinished = target.with_suffix(".unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            # Our own pip, which can choose the wheels of other versions: those may have no pip.
            options = ["--python-version", minor, "--only-binary", ":all:", "--quiet"]
            pip = [sys.executable, "-m", "pip", "install", *options, "--target", str(unfinished)]
            subprocess.run([*pip, *wanted], capture_output=True, check=True)
            unfinished.rename(target)
    return {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{target}"}
