"""Makes pytest run t/**/*.sql: each file on every server version, in a database of its own.

The same files run under `pg_prove` on any database that has Currant and pgTAP.
"""

from __future__ import annotations

import os
import re
import subprocess
import types
from pathlib import Path

import pytest

from currant import embedded
from tests.support.fixtures import DEPLOYED_WITH_PGTAP, versions_or_reason
from tests.support.servers import Server

_TIMEOUT_SECONDS = 100


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect the pgTAP files."""
    if file_path.suffix == ".sql" and file_path.is_relative_to(parent.config.rootpath / "t"):
        return TapFile.from_parent(parent, path=file_path)
    return None


class TapFile(pytest.Module):
    """A test module of one test, which runs the file."""

    def _getobj(self) -> types.ModuleType:
        path = self.path
        reason = versions_or_reason()[1]

        @pytest.mark.skipif(reason is not None, reason=f"no pgTAP: {reason}")
        @pytest.mark.both_versions
        def test_as_planned(server: Server) -> None:
            database = server.create_database(template=DEPLOYED_WITH_PGTAP)
            try:
                check_tap(*run_file(path, server.url(database)))
            finally:
                server.drop_database(database)

        module = types.ModuleType(path.stem)
        module.test_as_planned = test_as_planned  # type: ignore[attr-defined]
        return module


def run_file(path: Path, url: str) -> tuple[str, str, int]:
    """Run a file as pg_prove does; its output, its error output and psql's exit code."""
    settings = ("--no-align", "--tuples-only", "--quiet", "--set=ON_ERROR_STOP=1")
    psql = subprocess.run(
        [embedded.installation().program("psql"), "--no-psqlrc", *settings, "--file", path, url],
        check=False,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_SECONDS,
        env=os.environ | {"PGOPTIONS": "-c search_path=public,tap"},
    )
    return psql.stdout, psql.stderr, psql.returncode


def check_tap(output: str, errors: str, exit_code: int) -> None:
    """Pass, skip or fail the running test as the TAP output says."""
    plan = re.search(r"^1\.\.(\d+)(?:\s+# SKIP\b\s*(.*))?", output, re.MULTILINE | re.IGNORECASE)
    planned = int(plan[1]) if plan else None
    results = re.findall(r"^(not ok|ok)\b(.*)", output, re.MULTILINE)
    todo = re.compile(r"# TODO\b", re.IGNORECASE)
    failed = [rest for word, rest in results if word == "not ok" and not todo.search(rest)]
    problems = [f"not ok{rest}" for rest in failed]
    if planned is None:
        problems.append("no plan")
    elif planned != len(results):
        problems.append(f"planned {planned} tests, ran {len(results)}")
    if exit_code != 0:
        problems.append(f"psql ended with {exit_code}")
    if problems:
        diagnostics = re.findall(r"^#.*", output, re.MULTILINE)
        pytest.fail("\n".join([*problems, *diagnostics, errors.strip()]), pytrace=False)
    if planned == 0:
        pytest.skip(plan[2] or "skipped by the file")  # type: ignore[index]
