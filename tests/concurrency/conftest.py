"""Sessions for every test here: two applications, two workers and one that looks on; a lease."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.concurrency.support import Observer, Session, Worker, enqueue_workflow, stop_the_clock


@pytest.fixture
def open_session(database_url: str) -> Iterator[Callable[[], Session]]:
    """Opens another session."""
    opened: list[Session] = []

    def open_one() -> Session:
        opened.append(Session(database_url))
        return opened[-1]

    yield open_one
    for session in opened:
        session.close()


@pytest.fixture
def app(open_session: Callable[[], Session]) -> Session:
    """An application, which may sit in its transaction."""
    return open_session()


@pytest.fixture
def other_app(open_session: Callable[[], Session]) -> Session:
    """Another application, which waits for nobody."""
    session = open_session()
    session.refuse_to_wait()
    return session


@pytest.fixture
def worker(open_session: Callable[[], Session]) -> Worker:
    """A worker, which waits for nobody."""
    worker = Worker(open_session(), ["tasks", "flows"])
    worker.session.refuse_to_wait()
    return worker


@pytest.fixture
def other_worker(open_session: Callable[[], Session]) -> Worker:
    """Another worker, which waits for nobody."""
    worker = Worker(open_session(), ["tasks", "flows"])
    worker.session.refuse_to_wait()
    return worker


@pytest.fixture
def observer(database_url: str) -> Iterator[Observer]:
    """Looks at the others, and at what is committed."""
    session = Observer(database_url)
    yield session
    session.close()


@pytest.fixture
def lease(observer: Observer, app: Session, worker: Worker) -> Any:
    """A workflow that has begun, leased to the worker for its second activation."""
    stop_the_clock(observer)
    workflow = enqueue_workflow(app)
    worker.advance(worker.claim()[0])
    app.call("signal", workflow, "first")
    return worker.claim()[0]
