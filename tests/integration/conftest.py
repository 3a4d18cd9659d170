"""Fixtures for tests with workers in the test's own process.

work: starts a worker on the test's event loop; it is stopped at the end
client: the client of the test's database, chosen for everything the test calls
database: a look at that database from outside
endless: a task that runs until it is stopped
cache: how many workflows the workers are to keep; who uses it runs also with a replay at every step
The functions that a test defines are forgotten at its end.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from currant import Client, definitions
from tests.integration.flows import Endless
from tests.support.worker_database import Database
from tests.support.worker_inline import InlineWorker

StartWorker = Callable[..., InlineWorker]


@pytest.fixture
def functions() -> Iterator[None]:
    """What is registered meanwhile is forgotten."""
    before = {one.name: one for one in definitions.registry.all()}
    yield
    for one in definitions.registry.all():
        if before.get(one.name) is not one:
            definitions.registry.remove(one.name)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A look at the test's database from outside."""
    found = Database(database_url)
    yield found
    found.close()


@pytest.fixture
async def app(database_url: str, functions: None) -> AsyncIterator[Client]:
    """The client of the test's database; what the test calls uses it."""
    async with Client(database_url) as client:
        yield client


@pytest.fixture
async def work(database_url: str, app: Client) -> AsyncIterator[StartWorker]:
    """Starts workers on the test's event loop."""
    workers: list[InlineWorker] = []

    def start(*queues: str, **settings: Any) -> InlineWorker:
        workers.append(InlineWorker(database_url, *queues, **settings))
        return workers[-1]

    yield start
    for worker in workers:
        await worker.finish()


@pytest.fixture
def endless(functions: None) -> Endless:
    """A task that runs until it is stopped."""
    return Endless()


@pytest.fixture(params=[1000, 0], ids=["cache", "replay"])
def cache(request: pytest.FixtureRequest) -> int:
    """How many workflows the workers keep in memory."""
    size: int = request.param
    return size
