"""The benchmark still runs: every workload with Currant alone, tiny, on a server in memory.

No figure is looked at, but a run checks for itself that everything ran once and ended well.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import results, workloads
from benchmarks.__main__ import execute
from benchmarks.campaign import Plan
from benchmarks.server import Server
from currant import embedded
from tests.support import servers


@pytest.fixture(scope="module")
def benchmark_server(server_directory: Path) -> Iterator[Server]:
    """The benchmark's own kind of server, with the settings of the suite's."""
    settings = servers.SETTINGS | servers.FAST
    server = Server(embedded.installation(), settings, server_directory)
    server.start()
    yield server
    server.remove()


@pytest.mark.parametrize("name", workloads.NAMES)
def test_workload_has_figures_in_its_report(
    name: str, benchmark_server: Server, tmp_path: Path
) -> None:
    plan = Plan(workloads=[name], systems=["currant"], size="smoke", rounds=1)

    execute(plan, benchmark_server, tmp_path)

    found = results.load(tmp_path / "results.json")
    assert [record.failure for record in found.records if record.failure] == []
    assert {record.case for record in found.records} == set(found.workloads[name].cases)
    metrics = found.workloads[name].metrics
    for record in found.records:
        assert any(record.figures.get(metric) for metric in metrics), record
    report = (tmp_path / "results.md").read_text()
    assert found.workloads[name].title in report
    assert "Currant 0." in report


def test_system_that_is_not_installed_is_no_end_of_the_rest(
    benchmark_server: Server, tmp_path: Path
) -> None:
    plan = Plan(workloads=["pickup"], systems=["currant", "absurd"], size="smoke", rounds=1)

    found = execute(plan, benchmark_server, tmp_path)

    assert found.unusable.keys() == {"absurd"}
    assert all(record.failure is None for record in found.records)
    assert "absurd could not be used" in (tmp_path / "results.md").read_text()
