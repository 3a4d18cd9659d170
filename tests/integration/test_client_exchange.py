"""Several calls at once: one transaction, one round trip, and a connection that survives errors."""

import asyncio
import select
from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg
import pytest

from currant import database
from currant.database import Call, packets, sessions
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


# --- Calls that are sent behind others


Behind = tuple[asyncio.Task[list[Any]], database.Sent | None]


async def both(
    connection: psycopg.AsyncConnection[Any], first: list[Call[Any]], second: list[Call[Any]]
) -> Behind:
    """An exchange, and calls that are sent while it is under way."""
    exchange = asyncio.create_task(database.exchange(connection, first))
    await asyncio.sleep(0)
    return exchange, database.send_behind(connection, second)


@pytest.fixture
async def prepared(empty_database_url: str) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    connection = await database.connect(
        empty_database_url, settings=Settings(), application_name="test"
    )
    async with connection:
        await database.run(connection, ask("create table seen (id int primary key)"))
        yield connection


async def test_what_is_sent_behind_is_a_transaction_of_its_own(
    prepared: psycopg.AsyncConnection[Any],
) -> None:
    for _ in range(3):
        exchange, sent = await both(prepared, [ask(TRANSACTION)] * 2, [ask(TRANSACTION)] * 2)
        assert sent is not None

        first, second = await exchange, await database.receive(prepared, sent)

        assert len({*first, *second}) == 2
        assert first[0] == first[1]
        assert second[0] == second[1]
        assert await database.run(prepared, ask("select 7")) == 7


async def test_more_can_be_sent_behind_what_was_sent_behind(
    prepared: psycopg.AsyncConnection[Any],
) -> None:
    exchange, sent = await both(prepared, [ask(ADD, 1)], [ask(ADD, 2)])
    assert await exchange == [1]
    for number in range(3, 9):
        assert sent is not None
        following = database.send_behind(prepared, [ask(ADD, number)])
        assert await database.receive(prepared, sent) == [number - 1]
        sent = following
    assert sent is not None
    assert await database.receive(prepared, sent) == [8]

    assert await database.exchange(prepared, [ask(COUNT)]) == [8]


@pytest.mark.parametrize("bad", [1, 2], ids=["first", "second"])
async def test_an_error_of_one_is_none_of_the_other(
    prepared: psycopg.AsyncConnection[Any], bad: int
) -> None:
    for number in range(5):
        calls = [
            [ask(ADD, 10 * number + n), ask("select 1 / %s::int", int(bad != n))] for n in (1, 2)
        ]
        exchange, sent = await both(prepared, *calls)
        assert sent is not None

        answers = await asyncio.gather(
            exchange, database.receive(prepared, sent), return_exceptions=True
        )

        assert isinstance(answers[bad - 1], psycopg.errors.DivisionByZero)
        assert answers[2 - bad] == [10 * number + 3 - bad, 1]
        assert await database.exchange(prepared, [ask(COUNT)]) == [number + 1]


async def test_a_connection_that_is_lost_is_lost_for_both(
    prepared: psycopg.AsyncConnection[Any],
) -> None:
    own = ask("select pg_terminate_backend(pg_backend_pid())")
    exchange, sent = await both(prepared, [own], [ask(ADD, 1)])
    assert sent is not None

    with pytest.raises(psycopg.OperationalError):
        await exchange
    with pytest.raises(psycopg.OperationalError):
        await database.receive(prepared, sent)

    assert prepared.closed


async def test_neither_side_waits_for_the_other_to_read(
    prepared: psycopg.AsyncConnection[Any],
) -> None:
    large = ask("select repeat('x', 20000000)")
    some = ask("select repeat(%s::text, 1000)", "y" * 30_000)
    exchange, sent = await both(prepared, [large] * 3, [some] * 2)
    assert sent is not None

    async with asyncio.timeout(60):
        assert await exchange == ["x" * 20_000_000] * 3
        assert await database.receive(prepared, sent) == ["y" * 30_000_000] * 2


async def test_nothing_gets_between_what_is_being_sent(
    prepared: psycopg.AsyncConnection[Any],
) -> None:
    text = "x" * 20_000_000

    exchange, sent = await both(prepared, [ask("select %s::text", text)], [ask(ADD, 1)])

    assert sent is None
    assert await exchange == [text]


async def test_an_answer_that_came_while_more_was_sent_is_not_waited_for(
    prepared: psycopg.AsyncConnection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sending may read, and then nothing is left on the socket that would wake who waits for it."""
    monkeypatch.setattr(sessions, "_MOST_BEHIND", 1 << 30)
    monkeypatch.setattr(packets, "_ENOUGH_BYTES", 1 << 30)
    exchange = asyncio.create_task(database.exchange(prepared, [ask(TRANSACTION)]))
    await asyncio.sleep(0)
    # The event loop is busy until the answer is there.
    select.select([prepared.fileno()], [], [], 60)
    text = "x" * 200_000
    sent = database.send_behind(prepared, [ask("select %s::text", text)] * 20)
    assert sent is not None

    async with asyncio.timeout(60):
        await exchange
        assert await database.receive(prepared, sent) == [text] * 20


async def test_only_a_little_is_sent_behind(prepared: psycopg.AsyncConnection[Any]) -> None:
    exchange, sent = await both(prepared, [ask(TRANSACTION)], [ask("select %s", "x" * 100_000)])

    assert sent is None
    await exchange
    assert await database.run(prepared, ask("select 7")) == 7


async def test_nobody_can_use_the_connection_if_the_exchange_before_is_cancelled(
    prepared: psycopg.AsyncConnection[Any],
) -> None:
    """The answers to what is behind it would be taken for those to something else."""
    exchange, sent = await both(prepared, [ask("select pg_sleep(600)")], [ask(ADD, 1)])
    assert sent is not None

    exchange.cancel()
    with pytest.raises(asyncio.CancelledError):
        await exchange

    assert prepared.closed
    with pytest.raises(psycopg.OperationalError):
        await database.receive(prepared, sent)


async def test_both_come_through_when_the_session_has_forgotten_its_statements(
    prepared: psycopg.AsyncConnection[Any],
) -> None:
    assert await database.exchange(prepared, [ask("select 1")]) == [1]
    await prepared.execute("deallocate all")
    exchange, sent = await both(prepared, [ask("select 1")], [ask("select 1")])
    assert sent is not None

    answers = await asyncio.gather(
        exchange, database.receive(prepared, sent), return_exceptions=True
    )

    assert [type(answer) for answer in answers] == [psycopg.errors.InvalidSqlStatementName] * 2
    assert await database.exchange(prepared, [ask("select 1")]) == [1]


async def test_nothing_is_sent_behind_where_that_is_not_possible(
    connection: psycopg.AsyncConnection[Any], settings: Settings
) -> None:
    assert database.send_behind(connection, [ask(ADD, 1)]) is None

    exchange, sent = await both(connection, [ask("select 1")] * 2, [ask(ADD, 1)])
    assert (sent is None) == (not settings.database_prepare)
    assert await exchange == [1, 1]
    if sent is not None:
        assert await database.receive(connection, sent) == [1]

    # Parameters that are no text are the caller's to find, with an exchange of their own.
    exchange, sent = await both(connection, [ask("select 1")] * 2, [ask("select %s", "a\0b")])
    assert sent is None
    assert await exchange == [1, 1]
    assert await database.run(connection, ask("select 7")) == 7
