"""Where a client's connections come from and go to: loops, forks, lost and refused ones."""

import asyncio
import contextlib
import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

import currant
from currant import Client, DatabaseUnavailable, SettingsError, migrations, task
from currant.defaults import current
from currant.errors import DatabaseError, SchemaMissing, SchemaNewer, SchemaOlder
from currant.settings import Settings
from tests.support.fixtures import DurableServer


@task(name="connections.f", queue="q")
def f(n: int = 0) -> int:
    return n


@pytest.fixture
def by_default(monkeypatch: pytest.MonkeyPatch, database_url: str) -> Iterator[str]:
    """The test's database is the one the environment names."""
    monkeypatch.setenv("CURRANT_DATABASE_URL", database_url)
    yield database_url
    currant.defaults._defaults.close()


def connected(url: str) -> int:
    """How many connections of clients the server has."""
    query = """
        select count(*) from pg_stat_activity
        where datname = current_database() and application_name = 'currant'
    """
    with psycopg.connect(url) as connection:
        row = connection.execute(query).fetchone()
    assert row is not None
    return int(row[0])


def wait_until_connected(url: str, expected: int) -> None:
    deadline = time.monotonic() + 10
    while connected(url) != expected:
        assert time.monotonic() < deadline


def executions(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute("select count(*) from currant.execution_status").fetchone()
    assert row is not None
    return int(row[0])


# --- Event loops


def test_event_loops_in_a_row_each_get_their_own_connections(by_default: str) -> None:
    async def main() -> None:
        handle = await f.queue(1)
        with pytest.raises(TimeoutError):
            await handle.result(timeout=0.05)

    for _ in range(3):
        asyncio.run(main())

    wait_until_connected(by_default, 0)
    assert executions(by_default) == 3


def test_a_loop_that_is_closed_without_a_word_leaves_nothing_open(by_default: str) -> None:
    for _ in range(2):
        loop = asyncio.new_event_loop()
        loop.run_until_complete(f.queue(1))
        loop.close()

    asyncio.run(f.queue(1))

    currant.defaults.current_sync()
    wait_until_connected(by_default, 0)


def test_one_client_serves_many_loops_and_threads(database_url: str) -> None:
    client = Client(database_url)
    chosen = f.options(client=client)

    asyncio.run(chosen.queue(1))
    asyncio.run(chosen.queue(2))
    chosen.queue_sync(3)
    client.close_sync()

    wait_until_connected(database_url, 0)
    assert executions(database_url) == 3


async def test_a_few_connections_carry_many_calls(database_url: str) -> None:
    async with Client(database_url):
        handles = await asyncio.gather(*(f.queue(n) for n in range(200)))

        assert len(set(handles)) == 200
        assert connected(database_url) <= 4

    wait_until_connected(database_url, 0)


async def test_the_client_named_nearest_is_used(by_default: str) -> None:
    outer, inner = Client(by_default), Client(by_default)

    assert current().settings.database_url == by_default
    async with outer:
        assert current() is outer
        async with inner:
            assert current() is inner
        assert current() is outer
    assert current() not in (outer, inner)


async def test_a_configured_database_comes_before_the_environment(
    monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    monkeypatch.setenv("CURRANT_DATABASE_URL", "postgresql://nowhere.invalid/x")
    currant.configure(database_url)
    try:
        await f.queue(1)
        await current().close()
    finally:
        currant.configure()

    assert executions(database_url) == 1


def test_configuring_another_database_closes_the_connections_to_the_first(
    by_default: str,
) -> None:
    currant.configure(by_default)
    f.queue_sync(1)
    assert connected(by_default) == 1

    currant.configure()

    wait_until_connected(by_default, 0)


def test_threads_that_begin_together_share_the_connections(by_default: str) -> None:
    together = threading.Barrier(16)

    def enqueue() -> None:
        together.wait(10)
        f.queue_sync(1)

    threads = [threading.Thread(target=enqueue) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert executions(by_default) == 16
    currant.defaults.current_sync().close_sync()
    wait_until_connected(by_default, 0)


# --- Processes


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_process_opens_its_own_connections(by_default: str) -> None:
    async def use_both() -> None:
        await f.queue(1)
        f.queue_sync(2)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                f.queue_sync(3)
                threading.Thread(target=lambda: asyncio.run(f.queue(4))).start()
                code = 0
            finally:
                for thread in threading.enumerate():
                    if thread is not threading.current_thread():
                        thread.join(10)
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0  # noqa: ASYNC222  (the child must not see our loop)
        await f.queue(5)
        f.queue_sync(6)

    asyncio.run(use_both())

    assert executions(by_default) == 6


# --- Lost connections


def _terminate(url: str) -> None:
    query = """
        select pg_terminate_backend(pid, 5000) from pg_stat_activity
        where datname = current_database() and application_name = 'currant'
    """
    with psycopg.connect(url) as connection:
        assert connection.execute(query).fetchall()


async def test_connections_that_were_lost_are_replaced(database_url: str) -> None:
    async with Client(database_url):
        await asyncio.gather(*(f.queue(n) for n in range(10)))

        _terminate(database_url)

        await asyncio.gather(*(f.queue(n) for n in range(10)))
    assert executions(database_url) == 20


def test_connections_of_threads_that_were_lost_are_replaced(database_url: str) -> None:
    with Client(database_url):
        f.queue_sync(1)

        _terminate(database_url)

        f.queue_sync(2)
    assert executions(database_url) == 2


class AnswerEater:
    """Stands between client and server, and once lets a commit happen and its answer get lost."""

    def __init__(self, url: str, directory: Path) -> None:
        parameters = conninfo_to_dict(url)
        port = parameters.get("port") or 5432
        self._target = f"{parameters['host']}/.s.PGSQL.{port}"
        self.url = make_conninfo(**{**parameters, "host": str(directory)})
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(f"{directory}/.s.PGSQL.{port}")
        self._listener.listen()
        self._sockets = [self._listener]
        self.eat_after: bytes | None = None
        self.eaten = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._target)
            self._sockets += [client, server]
            is_hungry = threading.Event()
            for work in (self._ask, self._answer):
                arguments = (client, server, is_hungry)
                threading.Thread(target=work, args=arguments, daemon=True).start()

    def _ask(self, client: socket.socket, server: socket.socket, hungry: threading.Event) -> None:
        while asked := self._receive(client):
            if self.eat_after is not None and self.eat_after in asked:
                self.eat_after = None
                hungry.set()
            server.sendall(asked)
        self._end(server)

    def _answer(
        self, client: socket.socket, server: socket.socket, hungry: threading.Event
    ) -> None:
        while answer := self._receive(server):
            if not hungry.is_set():
                client.sendall(answer)
            elif answer.endswith(b"Z\x00\x00\x00\x05I"):
                # "Ready for query, idle": the commit is done.
                self.eaten += 1
                self._end(server)
        self._end(client)

    def _receive(self, source: socket.socket) -> bytes:
        try:
            return source.recv(65536)
        except OSError:
            return b""

    def _end(self, one: socket.socket) -> None:
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        for each in self._sockets:
            self._end(each)
            each.close()


@pytest.fixture
def eater(database_url: str, server_directory: Path) -> Iterator[AnswerEater]:
    directory = server_directory / "eater"
    directory.mkdir()
    eater = AnswerEater(database_url, directory)
    yield eater
    eater.close()
    shutil.rmtree(directory)


async def test_an_enqueue_whose_answer_was_lost_is_repeated_without_a_second_effect(
    database_url: str, eater: AnswerEater
) -> None:
    async with Client(eater.url):
        await f.queue(1)
        eater.eat_after = b'"marked"'

        handle = await f.options(headers={"marked": 1}).queue(2)

        assert eater.eaten == 1
        assert (await handle.state()).headers == '{"marked": 1}'
    assert executions(database_url) == 2


def test_an_enqueue_of_a_thread_whose_answer_was_lost_is_repeated_too(
    database_url: str, eater: AnswerEater
) -> None:
    with Client(eater.url):
        eater.eat_after = b'"marked"'

        f.options(headers={"marked": 1}).queue_sync(2)

    assert eater.eaten == 1
    assert executions(database_url) == 1


async def test_a_wait_outlives_a_restart_of_the_server(durable_server: DurableServer) -> None:
    async with Client(durable_server.database_url) as client:
        handle = await f.queue(1)
        waiting = asyncio.create_task(handle.result(timeout=60))
        async with client._pools.of_loop().ends.waiting_for("x"):
            pass

        await asyncio.to_thread(durable_server.restart)
        await handle.cancel("enough")

        with pytest.raises(currant.Cancelled, match="enough"):
            await waiting


# --- Databases that are not there, or not right


@pytest.mark.parametrize("is_async", [True, False])
def test_a_database_that_never_was_there_is_reported_after_a_short_patience(
    is_async: bool, tmp_path: Path
) -> None:
    client = Client(f"postgresql://nobody@/x?host={tmp_path}", patience=0.3)

    with pytest.raises(DatabaseUnavailable, match="CURRANT_DATABASE_URL"):
        asyncio.run(f.options(client=client).queue(1)) if is_async else f.options(
            client=client
        ).queue_sync(1)


@pytest.mark.parametrize("is_async", [True, False])
def test_a_server_that_refuses_is_not_asked_for_long(is_async: bool, database_url: str) -> None:
    wrong = make_conninfo(database_url, dbname="no_such_database")
    client = Client(wrong, patience=600)
    started = time.monotonic()

    with pytest.raises(DatabaseUnavailable, match='database "no_such_database" does not exist'):
        asyncio.run(f.options(client=client).queue(1)) if is_async else f.options(
            client=client
        ).queue_sync(1)

    assert time.monotonic() - started < 30


def test_a_url_that_cannot_be_read_is_refused_at_once() -> None:
    wrong = "postgresql://x?colour=red"

    with pytest.raises(SettingsError, match="the database URL cannot be read"):
        Client(wrong)
    with pytest.raises(SettingsError, match=r"URL \(CURRANT_DATABASE_URL\) cannot be read"):
        Client(settings=Settings(database_url=wrong))


def test_a_client_takes_a_url_or_settings() -> None:
    with pytest.raises(TypeError, match="not both"):
        Client("postgresql://x", settings=Settings())


@pytest.mark.parametrize("is_async", [True, False])
def test_a_database_without_the_schema_says_what_to_run(
    is_async: bool, empty_database_url: str
) -> None:
    client = Client(empty_database_url)
    chosen = f.options(client=client)

    with pytest.raises(SchemaMissing, match="currant migrate"):
        asyncio.run(chosen.queue(1)) if is_async else chosen.queue_sync(1)

    wait_until_connected(empty_database_url, 0)


@pytest.mark.parametrize(("version", "error"), [("9.0.0", SchemaOlder), ("0.0.1", SchemaNewer)])
async def test_a_schema_of_another_version_is_refused(
    version: str,
    error: type[Exception],
    monkeypatch: pytest.MonkeyPatch,
    database_url: str,
) -> None:
    monkeypatch.setattr(migrations, "SCHEMA_VERSION", version)

    async with Client(database_url):
        with pytest.raises(error):
            await f.queue(1)


async def test_a_role_without_the_right_to_it_is_told_what_to_grant(database_url: str) -> None:
    async with Client(make_conninfo(database_url, options="-c role=pg_monitor")):
        with pytest.raises(DatabaseError, match="grant it currant_client"):
            await f.queue(1)


async def test_an_installation_with_another_default_isolation_works(database_url: str) -> None:
    options = "-c default_transaction_isolation=serializable"

    async with Client(make_conninfo(database_url, options=options)) as client:
        level: Any = currant.database.Call(
            "show transaction_isolation", (), lambda rows: rows[0][0]
        )

        assert await client.perform(level) == "read committed"
