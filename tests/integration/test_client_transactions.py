"""`connection=`: enqueueing, signalling and cancelling in the caller's own transaction."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row, namedtuple_row

from currant import Client, OptionError, database, send_signal, send_signal_sync, task, workflow
from currant.errors import DatabaseError, PayloadTooLarge


@task(name="transactions.f", queue="q")
def f(n: int = 0) -> int:
    return n


@workflow(name="transactions.flow", queue="q")
async def flow() -> None: ...


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        yield connection


@pytest.fixture
def sync_connection(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database_url) as connection:
        yield connection


@pytest.fixture
def seen(database_url: str) -> Iterator[Any]:
    """Counts what others can see."""
    with psycopg.connect(database_url, autocommit=True) as observer:

        def count() -> int:
            row = observer.execute("select count(*) from currant.execution_status").fetchone()
            assert row is not None
            return int(row[0])

        yield count


async def test_what_is_rolled_back_never_happened(
    connection: psycopg.AsyncConnection[Any], seen: Any
) -> None:
    chosen = f.options(connection=connection)
    await chosen.queue(1)
    await chosen.queue_many([{"n": n} for n in range(1200)])
    assert seen() == 0

    await connection.rollback()

    assert seen() == 0


async def test_what_is_committed_is_there(
    connection: psycopg.AsyncConnection[Any], seen: Any, database_url: str
) -> None:
    handle = await f.options(connection=connection).queue(1)
    assert seen() == 0

    await connection.commit()

    assert seen() == 1
    async with Client(database_url):
        assert await handle.status() == "pending"


def test_the_same_without_an_event_loop(
    sync_connection: psycopg.Connection[Any], seen: Any
) -> None:
    chosen = f.options(connection=sync_connection)
    chosen.queue_sync(1)
    sync_connection.rollback()
    chosen.queue_many_sync([{"n": 1}, {"n": 2}])
    assert seen() == 0

    sync_connection.commit()

    assert seen() == 2


async def test_async_code_may_use_a_sync_connection(
    sync_connection: psycopg.Connection[Any], seen: Any
) -> None:
    await f.options(connection=sync_connection).queue(1)
    assert seen() == 0

    sync_connection.commit()

    assert seen() == 1


def test_an_async_connection_cannot_be_used_without_an_event_loop(database_url: str) -> None:
    import asyncio

    async def open_one() -> psycopg.AsyncConnection[Any]:
        return await psycopg.AsyncConnection.connect(database_url)

    with asyncio.Runner() as runner:
        connection = runner.run(open_one())

        with pytest.raises(OptionError, match="await it"):
            f.options(connection=connection).queue_sync(1)

        runner.run(connection.close())


@pytest.mark.parametrize(
    "settings",
    [
        {"row_factory": dict_row},
        {"row_factory": namedtuple_row},
        {"cursor_factory": psycopg.RawCursor},
        {"cursor_factory": psycopg.ClientCursor},
        {"autocommit": True},
        {"prepare_threshold": None},
    ],
    ids=["dict rows", "named tuples", "raw cursor", "client cursor", "autocommit", "unprepared"],
)
def test_the_callers_connection_may_be_set_up_as_he_likes(
    settings: dict[str, Any], database_url: str, seen: Any
) -> None:
    with psycopg.connect(database_url, **settings) as connection:
        handle = f.options(connection=connection).queue_sync(1)
        state = database.run_sync(connection, database.status(handle))

    assert state.args == '{"n": 1}'
    assert seen() == 1


async def test_an_error_is_raised_as_everywhere_and_the_transaction_is_the_callers(
    connection: psycopg.AsyncConnection[Any], seen: Any
) -> None:
    @task(name="transactions.large", queue="q")
    def large(text: str) -> None: ...

    async with connection.transaction():
        await f.options(connection=connection).queue(1)
        with pytest.raises(PayloadTooLarge):
            async with connection.transaction():
                await large.options(connection=connection).queue("x" * 2_000_000)
        assert seen() == 0

    await connection.commit()
    assert seen() == 1


async def test_signals_and_cancels_are_part_of_it_too(
    connection: psycopg.AsyncConnection[Any],
    sync_connection: psycopg.Connection[Any],
    database_url: str,
) -> None:
    async with Client(database_url) as client:
        handle = await flow.queue()
        await send_signal(handle, "a", connection=connection)
        send_signal_sync(handle, "b", connection=sync_connection)
        assert await client.perform(database.signals(handle)) == []

        await connection.commit()
        sync_connection.rollback()

        assert [each.name for each in await client.perform(database.signals(handle))] == ["a"]
        await client.cancel(handle, connection=connection)
        await connection.rollback()
        assert await handle.status() == "pending"


async def test_nobody_can_wait_for_what_he_has_yet_to_commit(
    connection: psycopg.AsyncConnection[Any], seen: Any
) -> None:
    with pytest.raises(OptionError, match="yet to commit"):
        await f.options(connection=connection).run(1)
    with pytest.raises(OptionError, match="yet to commit"):
        f.options(connection=connection).run_sync(1)


@pytest.mark.parametrize("thing", [object(), 3, "postgresql://x"])
def test_what_is_no_connection_is_refused(thing: object) -> None:
    with pytest.raises(OptionError, match="option connection is no connection"):
        f.options(connection=thing).queue_sync(1)


class DjangoLike:
    """A wrapper around a driver's connection that has a cursor of its own, as Django's is."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def cursor(self) -> psycopg.Cursor[Any]:
        return self._connection.cursor()


async def test_a_wrapped_connection_is_used_through_its_cursor(
    sync_connection: psycopg.Connection[Any], seen: Any
) -> None:
    chosen = f.options(connection=DjangoLike(sync_connection))
    chosen.queue_sync(1)
    await chosen.queue_many([{"n": 1}, {"n": 2}])
    assert seen() == 0

    sync_connection.commit()

    assert seen() == 3


async def test_sqlalchemy_sessions_and_connections_work(database_url: str, seen: Any) -> None:
    sqlalchemy = pytest.importorskip("sqlalchemy")
    from sqlalchemy.ext import asyncio as extension
    from sqlalchemy.orm import Session

    url = database_url.replace("postgresql://", "postgresql+psycopg://")
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.pool.NullPool)
    aengine = extension.create_async_engine(url, poolclass=sqlalchemy.pool.NullPool)
    with engine.begin() as connection:
        f.options(connection=connection).queue_sync(1)
        assert seen() == 0
    assert seen() == 1
    with Session(engine) as session:
        f.options(connection=session).queue_many_sync([{"n": 1}, {"n": 2}])
        session.rollback()
        f.options(connection=session).queue_sync(1)
        session.commit()
    assert seen() == 2
    async with aengine.begin() as connection:
        await f.options(connection=connection).queue(1)
        assert seen() == 2
    async with extension.AsyncSession(aengine) as session:
        await f.options(connection=session).queue(1)
        await session.rollback()
        await f.options(connection=session).queue_many([{"n": 1}])
        await session.commit()
    assert seen() == 4
    with Session(engine) as session, pytest.raises(DatabaseError):
        f.options(connection=session, headers={"x": "y" * 10}).queue_many_sync(
            [{"n": 1}], keys=[""]
        )


async def test_asyncpg_connections_work(database_url: str, seen: Any) -> None:
    asyncpg = pytest.importorskip("asyncpg")
    connection = await asyncpg.connect(database_url)
    transaction = connection.transaction()
    await transaction.start()
    await f.options(connection=connection).queue(1)
    await f.options(connection=connection).queue_many([{"n": 1}, {"n": 2}])
    assert seen() == 0

    await transaction.commit()
    await connection.close()

    assert seen() == 3
