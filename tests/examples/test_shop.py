"""The tests that the shop comes with, run as a user runs them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.examples.shell import ROOT
from tests.support import servers
from tests.support.servers import Server


def test_tests_of_the_shop_pass(start_server: Callable[[int], Server], tmp_path: Path) -> None:
    url = start_server(servers.newest_version()).url()
    examples = tmp_path / "examples"
    examples.mkdir()
    for name in ("__init__.py", "shop.py", "shop.sql", "test_shop.py"):
        (examples / name).write_bytes((ROOT / "examples" / name).read_bytes())

    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "examples"],
        cwd=tmp_path,
        env={**os.environ, "CURRANT_TEST_DATABASE_URL": url},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
        check=False,
    )

    assert " 6 passed in " in ran.stdout, ran.stdout
