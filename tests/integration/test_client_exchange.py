"""Several calls at once: one transaction, one round trip, and a connection that survives errors."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg
import pytest

from currant import database
from currant.database import Call
from currant.settings import Settings


def ask(sql: str, *params: object) -> Call[Any]:
    return Call(sql, params, lambda rows: rows[0][0] if rows else None)


@pytest.fixture(params=[True, False], ids=["prepared", "pooled"])
def settings(request: pytest.FixtureRequest) -> Settings:
    return Settings(database_prepare=request.param)


@pytest.fixture
async def connection(
    settings: Settings, empty_database_url: str
) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    connection = await database.connect(
        empty_database_url, settings=settings, application_name="test"
    )
    async with connection:
        await database.run(connection, ask("create table seen (id int primary key)"))
        yield connection


@pytest.fixture
def sync_connection(
    settings: Settings, empty_database_url: str
) -> Iterator[psycopg.Connection[Any]]:
    with database.connect_sync(
        empty_database_url, settings=settings, application_name="test"
    ) as connection:
        database.run_sync(connection, ask("create table seen (id int primary key)"))
        yield connection


TRANSACTION = "select pg_current_xact_id()::text"
ADD = "insert into seen values (%s::int) returning id"
COUNT = "select count(*) from seen"


async def test_all_calls_are_in_one_transaction(connection: psycopg.AsyncConnection[Any]) -> None:
    for _ in range(3):
        found = await database.exchange(connection, [ask(TRANSACTION)] * 3)
        assert len(set(found)) == 1

    assert await database.exchange(connection, []) == []
    assert await database.exchange(connection, [ask("select 7")]) == [7]


async def test_the_level_is_read_committed_even_if_the_database_says_otherwise(
    settings: Settings, empty_database_url: str
) -> None:
    with psycopg.connect(empty_database_url, autocommit=True) as owner:
        owner.execute(
            "do $$ begin execute format('alter database %I set default_transaction_isolation"
            " to serializable', current_database()); end $$"
        )
    connection = await database.connect(
        empty_database_url, settings=settings, application_name="test"
    )
    async with connection:
        level = ask("select current_setting('transaction_isolation')")

        assert await database.exchange(connection, [level] * 2) == ["read committed"] * 2


async def test_an_error_undoes_all_and_leaves_the_connection_usable(
    connection: psycopg.AsyncConnection[Any],
) -> None:
    for _ in range(7):
        with pytest.raises(psycopg.errors.DivisionByZero):
            await database.exchange(
                connection, [ask(ADD, 1), ask("select 1 / %s::int", 0), ask(ADD, 2)]
            )

        assert await database.exchange(connection, [ask(COUNT), ask("select 1")]) == [0, 1]
    assert await database.exchange(connection, [ask(ADD, 1), ask(ADD, 2)]) == [1, 2]


async def test_an_error_at_the_very_end_undoes_all(
    connection: psycopg.AsyncConnection[Any],
) -> None:
    await database.run(
        connection,
        ask("create table late (id int unique deferrable initially deferred)"),
    )
    add = ask("insert into late values (1)")

    # psycopg loses the error itself if it comes together with the end of the pipeline.
    with pytest.raises((psycopg.errors.UniqueViolation, psycopg.OperationalError)):
        await database.exchange(connection, [add, add])

    if not connection.closed:
        assert await database.run(connection, ask("select count(*) from late")) == 0


async def test_an_exchange_that_is_cancelled_leaves_nothing_behind(
    connection: psycopg.AsyncConnection[Any], empty_database_url: str
) -> None:
    running = asyncio.create_task(
        database.exchange(connection, [ask(ADD, 1), ask("select pg_sleep(600)")])
    )
    query = "select 1 from pg_stat_activity where wait_event = 'PgSleep'"
    async with await psycopg.AsyncConnection.connect(
        empty_database_url, autocommit=True
    ) as observer:
        while not await (await observer.execute(query)).fetchone():  # noqa: ASYNC110
            await asyncio.sleep(0)

        running.cancel()

        with pytest.raises(asyncio.CancelledError):
            await running
        assert await (await observer.execute(COUNT)).fetchone() == (0,)
    assert await database.run(connection, ask(COUNT)) == 0


async def test_an_exchange_whose_connection_is_lost_did_not_happen(
    connection: psycopg.AsyncConnection[Any], empty_database_url: str
) -> None:
    own = ask("select pg_terminate_backend(pg_backend_pid())")

    with pytest.raises(psycopg.OperationalError) as caught:
        await database.exchange(connection, [ask(ADD, 1), own, ask(ADD, 2)])

    assert database.is_connection_lost(caught.value)
    assert connection.closed
    async with await psycopg.AsyncConnection.connect(empty_database_url) as observer:
        assert await (await observer.execute(COUNT)).fetchone() == (0,)


def test_the_same_holds_without_an_event_loop(sync_connection: psycopg.Connection[Any]) -> None:
    assert len(set(database.exchange_sync(sync_connection, [ask(TRANSACTION)] * 3))) == 1
    for _ in range(7):
        with pytest.raises(psycopg.errors.DivisionByZero):
            database.exchange_sync(sync_connection, [ask(ADD, 1), ask("select 1 / 0")])

        assert database.exchange_sync(sync_connection, [ask(COUNT), ask("select 1")]) == [0, 1]
    assert database.exchange_sync(sync_connection, [ask(ADD, 1), ask(ADD, 2)]) == [1, 2]


async def test_large_batches_do_not_block(connection: psycopg.AsyncConnection[Any]) -> None:
    large = "x" * 1_000_000
    call = ask("select %s::text || repeat('y', 1000000)", large)

    found = await database.exchange(connection, [call] * 20)

    assert [len(each) for each in found] == [2_000_000] * 20


async def test_json_is_read_as_text_only_on_our_connections(
    connection: psycopg.AsyncConnection[Any], empty_database_url: str
) -> None:
    query = ask("""select '{"a": 1}'::jsonb""")

    assert await database.run(connection, query) == '{"a": 1}'
    async with await psycopg.AsyncConnection.connect(empty_database_url) as other:
        assert await database.run(other, query) == '{"a": 1}'
        assert await (await other.execute(query.sql)).fetchone() == ({"a": 1},)


async def test_what_a_session_has_forgotten_is_prepared_again(
    connection: psycopg.AsyncConnection[Any],
) -> None:
    calls = [ask("select 1"), ask("select 2")]
    assert await database.exchange(connection, calls) == [1, 2]
    await database.run(connection, ask("deallocate all"))

    assert await database.exchange(connection, calls) == [1, 2]


async def test_a_text_with_a_nul_is_refused_and_never_cut_off(
    connection: psycopg.AsyncConnection[Any],
) -> None:
    with pytest.raises(psycopg.DataError):
        await database.exchange(connection, [ask("select %s::text", "a\0b"), ask("select 1")])

    assert await database.exchange(connection, [ask("select %s::text", "é%")] * 2) == ["é%"] * 2


async def test_answers_larger_than_a_packet_arrive_whole(
    connection: psycopg.AsyncConnection[Any],
) -> None:
    text = "x" * 10_000_000
    call = ask("select %s::text", text)

    assert await database.exchange(connection, [call, call]) == [text, text]
