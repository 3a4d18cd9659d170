"""The pytest plugin: databases and environments as fixtures."""

from collections.abc import Iterator

import pytest

from currant.testing.databases import Databases, using
from currant.testing.environment import Environment


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of the plugin."""
    group = parser.getgroup("currant")
    group.addoption(
        "--currant-database-url",
        metavar="URL",
        help="server for the databases of tests (default: CURRANT_TEST_DATABASE_URL, else the "
        "embedded server); any database on it, they are made beside it",
    )
    parser.addini(
        "currant_database_url", "the same for every run; the option comes first", default=None
    )


def pytest_configure(config: pytest.Config) -> None:
    """The marker of the plugin."""
    config.addinivalue_line(
        "markers",
        "currant(start=None, replay=True, patience=30): arguments of the environment that the "
        "fixture currant_worker opens",
    )


@pytest.fixture(scope="session")
def currant_server(request: pytest.FixtureRequest) -> str | None:
    """The URL of the server for the databases of tests; None: whichever the environment has.

    Define a fixture of this name to start one.
    """
    named = request.config.getoption("--currant-database-url")
    return named or request.config.getini("currant_database_url") or None


@pytest.fixture(scope="session")
def _currant_databases(currant_server: str | None) -> Iterator[Databases]:
    with Databases(currant_server) as databases:
        yield databases


@pytest.fixture
def currant_db(_currant_databases: Databases) -> Iterator[str]:
    """The URL of a new database with Currant's schema, used by default while the test runs."""
    with _currant_databases.database() as url, using(url):
        yield url


@pytest.fixture
def currant_worker(request: pytest.FixtureRequest, currant_db: str) -> Iterator[Environment]:
    """A worker on that database, with a clock that the test moves."""
    with _environment(request, currant_db) as environment:
        yield environment


def _environment(request: pytest.FixtureRequest, url: str) -> Environment:
    marker = request.node.get_closest_marker("currant")
    if marker is None:
        return Environment(url)
    try:
        return Environment(url, *marker.args, **marker.kwargs)
    except TypeError as error:
        reason = str(error).removeprefix("Environment.__init__() ")
        raise pytest.UsageError(
            f"{request.node.nodeid}: @pytest.mark.currant: {reason}"
            " (it takes start=, replay= and patience=)"
        ) from None
