"""Fixtures for every test that needs a database.

server: a running server; every version of it in turn for tests marked `both_versions`
database_url: a database of the test's own with the schema in it
empty_database_url: the same without the schema
durable_server: a server of the test's own with fsync on, to be killed and restarted
"""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from currant import migrations
from tests.support import debian, servers
from tests.support.servers import Server

DEPLOYED = "currant_deployed"
DEPLOYED_WITH_PGTAP = "currant_deployed_with_pgtap"
CONSTRAINTS = Path(__file__).with_name("constraints.sql")


class DurableServer(Server):
    """A server with fsync on, for one test alone; `kill`, `stop`, `start` and `restart` it."""

    @property
    def database_url(self) -> str:
        """A database with the schema in it."""
        return self.url(DEPLOYED)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a `both_versions` test once per server version."""
    wanted = metafunc.definition.get_closest_marker("both_versions")
    if wanted and "server" in metafunc.fixturenames:
        versions = versions_or_reason()[0]
        metafunc.parametrize("server", versions, indirect=True, ids=lambda v: f"pg{v}")


@functools.cache
def versions_or_reason() -> tuple[list[int], str | None]:
    """The versions to test, and why there are not more of them."""
    try:
        return servers.all_versions(), None
    except debian.Unavailable as reason:
        if os.environ.get("CI"):
            raise
        return [servers.newest_version()], str(reason)


def pytest_report_header() -> list[str]:
    """Say which servers the run uses."""
    versions, reason = versions_or_reason()
    line = f"postgres: {', '.join(map(str, versions))}"
    return [line if reason is None else f"{line} alone ({reason})"]


@pytest.fixture(autouse=True)
def _own_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """No test sees the developer's settings, or touches their embedded server."""
    for name in os.environ:
        if name.startswith(("CURRANT_", "PG", "SQITCH_")) and name != "CURRANT_TEST_CACHE":
            monkeypatch.delenv(name)
    monkeypatch.setenv("CURRANT_HOME", str(tmp_path_factory.getbasetemp() / "no-embedded-server"))


@pytest.fixture(scope="session")
def server_directory() -> Iterator[Path]:
    """Where the suite's servers live."""
    base = servers.base_directory()
    yield base
    shutil.rmtree(base, ignore_errors=True)


@pytest.fixture(scope="session")
def start_server(server_directory: Path) -> Iterator[Callable[[int], Server]]:
    """Gives the one shared server of a version, started and deployed to by the first call."""
    running: dict[int, Server] = {}

    def start(version: int) -> Server:
        if version not in running:
            server = Server(version, server_directory / f"pg{version}", servers.FAST)
            server.start()
            running[version] = server
            _make_templates(server)
        return running[version]

    yield start
    for server in running.values():
        server.stop()


@pytest.fixture
def server(request: pytest.FixtureRequest, start_server: Callable[[int], Server]) -> Server:
    """A running server, shared with other tests."""
    return start_server(getattr(request, "param", servers.newest_version()))


@pytest.fixture
def database_url(server: Server) -> Iterator[str]:
    """A database of the test's own, with Currant's schema."""
    name = server.create_database(template=DEPLOYED)
    yield server.url(name)
    server.drop_database(name)


@pytest.fixture
def empty_database_url(server: Server) -> Iterator[str]:
    """A database of the test's own, with nothing in it."""
    name = server.create_database()
    yield server.url(name)
    server.drop_database(name)


@pytest.fixture(scope="session")
def durable_seed(server_directory: Path) -> Path:
    """A stopped cluster with the schema deployed, to be copied."""
    seed = DurableServer(servers.newest_version(), server_directory / "durable-seed", {})
    seed.start()
    seed.create_database(name=DEPLOYED)
    with psycopg.connect(seed.database_url, autocommit=True) as connection:
        connection.execute(migrations.schema_script().encode())
        connection.execute(CONSTRAINTS.read_bytes())
    seed.stop()
    return seed.cluster.directory


@pytest.fixture
def durable_server(server_directory: Path, durable_seed: Path) -> Iterator[DurableServer]:
    """A running server that keeps what it confirmed through a crash."""
    directory = server_directory / "durable"
    shutil.copytree(durable_seed, directory, ignore=shutil.ignore_patterns(".s.PGSQL*"))
    server = DurableServer(servers.newest_version(), directory, {})
    server.start()
    yield server
    server.kill()
    shutil.rmtree(directory)


def _make_templates(server: Server) -> None:
    # From the script, which a test compares with what Sqitch makes: Sqitch takes seconds.
    server.create_database(name=DEPLOYED)
    with psycopg.connect(server.url(DEPLOYED), autocommit=True) as connection:
        connection.execute(migrations.schema_script().encode())
    migrations.deploy(server.url(DEPLOYED))
    with psycopg.connect(server.url(DEPLOYED), autocommit=True) as connection:
        connection.execute(CONSTRAINTS.read_bytes())
    if versions_or_reason()[1] is not None:
        return
    server.create_database(template=DEPLOYED, name=DEPLOYED_WITH_PGTAP)
    major, installation = debian.debian_installation()
    script = debian.pgtap_script(installation, major).read_text()
    options = "-c search_path=tap -c client_min_messages=warning"
    with psycopg.connect(server.url(DEPLOYED_WITH_PGTAP), options=options) as connection:
        connection.execute("create schema tap")
        connection.execute("grant usage on schema tap to public")
        connection.execute(script.encode())
