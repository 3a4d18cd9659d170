"""Connections, and running calls on them: one by one, or several in one transaction."""

from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import tuple_row
from psycopg.types.string import TextLoader

from currant import errors
from currant.database import packets
from currant.database.values import Call, Row
from currant.settings import Settings

T = TypeVar("T")

# A peer that vanished without a word (power, cable, failover) is noticed within a minute instead
# of the two hours that TCP takes by itself.
_CONNECTION_DEFAULTS: Final = {
    "connect_timeout": 10,
    "keepalives_idle": 20,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 40_000,
}


async def connect(
    url: str, *, settings: Settings, application_name: str
) -> psycopg.AsyncConnection[Row]:
    """An autocommit READ COMMITTED connection that reads JSON as text.

    Raises:
        SettingsError: the URL cannot be read.
        psycopg.OperationalError: the database cannot be reached.
    """
    connection = await psycopg.AsyncConnection.connect(
        _conninfo(url, application_name, settings),
        autocommit=True,
        prepare_threshold=1 if settings.database_prepare else None,
        row_factory=tuple_row,
    )
    _prepare_adapters(connection)
    return connection


def connect_sync(url: str, *, settings: Settings, application_name: str) -> psycopg.Connection[Row]:
    """`connect` for code without an event loop."""
    connection = psycopg.Connection.connect(
        _conninfo(url, application_name, settings),
        autocommit=True,
        prepare_threshold=1 if settings.database_prepare else None,
        row_factory=tuple_row,
    )
    _prepare_adapters(connection)
    return connection


def check_url(url: str, *, what: str = "the database URL") -> None:
    """Raise SettingsError if no driver could read this URL."""
    try:
        conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        # libpq's own words would show the URL, and the password in it.
        raise errors.SettingsError(
            f"{what} cannot be read",
            hint="a URL looks like postgresql://user@host:5432/name",
        ) from None


def _conninfo(url: str, application_name: str, settings: Settings) -> str:
    check_url(url)
    given = conninfo_to_dict(url)
    defaults: dict[str, Any] = {**_CONNECTION_DEFAULTS, "application_name": application_name}
    if settings.database_prepare:
        # Worker functions refuse other levels, and an installation may have set another default.
        # A transaction pooler takes no start-up options; `exchange` names the level itself.
        level = r"-c default_transaction_isolation=read\ committed"
        defaults["options"] = f"{given.pop('options', '')} {level}".strip()
    return make_conninfo(**{**defaults, **given})


def _prepare_adapters(
    connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any],
) -> None:
    connection.adapters.register_loader("jsonb", TextLoader)
    connection.adapters.register_loader("json", TextLoader)


# --- Running calls


async def run(connection: psycopg.AsyncConnection[Any], call: Call[T]) -> T:
    """Run the call as it is: no retry, no commit, errors as psycopg raises them."""
    async with _async_cursor(connection) as cursor:
        await cursor.execute(call.sql, call.params)
        return call.read(await cursor.fetchall() if _has_rows(cursor) else [])


def run_sync(connection: psycopg.Connection[Any], call: Call[T]) -> T:
    """`run` for code without an event loop."""
    with _sync_cursor(connection) as cursor:
        cursor.execute(call.sql, call.params)
        return call.read(cursor.fetchall() if _has_rows(cursor) else [])


# What a pipeline sends before its one Sync is one transaction by itself, at the level that
# `connect` has set. Through a transaction pooler nobody can set it beforehand, so it is named.
_BEGIN: Final = "begin isolation level read committed"


def _is_pooled(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> bool:
    return connection.prepare_threshold is None


async def exchange(
    connection: psycopg.AsyncConnection[Any], calls: Iterable[Call[Any]]
) -> list[Any]:
    """Run the calls in one transaction and one round trip; all take effect or none.

    Errors are as psycopg raises them; the connection is then free of any transaction, or closed.
    """
    todo = list(calls)
    if not todo:
        return []
    if not _is_pooled(connection):
        return await _in_packets(connection, todo)
    if len(todo) == 1:
        return [await run(connection, todo[0])]
    cursors: list[psycopg.AsyncCursor[Row]] = []
    try:
        async with connection.pipeline():
            await connection.execute(_BEGIN)
            for call in todo:
                cursor = _async_cursor(connection)
                cursors.append(cursor)
                await cursor.execute(call.sql, call.params)
            await connection.execute("commit")
    except BaseException as error:
        if not connection.closed:
            try:
                await connection.execute(_ROLLBACK)
            except psycopg.Error:
                await connection.close()
        raise _refusal(error) from error.__cause__
    return [
        call.read(await cursor.fetchall() if _has_rows(cursor) else [])
        for call, cursor in zip(todo, cursors, strict=True)
    ]


async def _in_packets(connection: psycopg.AsyncConnection[Any], todo: list[Call[Any]]) -> list[Any]:
    async with connection.lock:
        sent = packets.Sent(connection, todo)
        try:
            return await _answers(connection, sent, packets.talk(connection, sent))
        except psycopg.errors.InvalidSqlStatementName:
            # Somebody has had the session forget what it had prepared.
            packets.forget(connection)
            if packets.is_pending(connection):
                raise
        sent = packets.Sent(connection, todo)
        return await _answers(connection, sent, packets.talk(connection, sent))


async def _answers(
    connection: psycopg.AsyncConnection[Any], sent: packets.Sent, talk: PQGen[list[Any]]
) -> list[Any]:
    is_cut_short = True
    try:
        answers = await connection.wait(talk)
        is_cut_short = False
    except psycopg.Error:
        is_cut_short = False
        raise
    finally:
        # Nobody will ask for what was sent behind, either, if this is not to go on.
        is_broken = not sent.is_answered or (is_cut_short and packets.is_pending(connection))
        if is_broken and not connection.closed:
            await connection.close()
    return answers


# Bytes that a socket takes at once, even if the server reads nothing for a while.
_MOST_BEHIND: Final = 1 << 16


def can_send_behind(connection: psycopg.AsyncConnection[Any]) -> bool:
    """Whether an `exchange` is under way that calls can be sent behind.

    Through a transaction pooler they never can.
    """
    return not connection.closed and packets.can_send_behind(connection)


def send_behind(
    connection: psycopg.AsyncConnection[Any], calls: Sequence[Call[Any]]
) -> packets.Sent | None:
    """Send the calls while an `exchange` on this connection has not been answered.

    The server goes on with them at once when it has done that, without a look at how it went.

    Returns:
        For `receive`, after that exchange; until then nothing else can be done with the connection.
        None: nothing has been sent, since it is not possible, or these are more than a few bytes.
    """
    if not can_send_behind(connection):
        return None
    try:
        sent = packets.Sent(connection, calls)
    except psycopg.DataError:
        # An exchange of their own will say so.
        return None
    if sent.size > _MOST_BEHIND:
        return None
    try:
        packets.send_behind(connection, sent)
    except psycopg.Error:
        # It is lost, as the exchange under way is about to find out.
        connection.pgconn.finish()
        return None
    return sent


async def receive(connection: psycopg.AsyncConnection[Any], sent: packets.Sent) -> list[Any]:
    """What `exchange` would have returned, or raised, for calls that were sent behind another."""
    async with connection.lock:
        try:
            return await _answers(connection, sent, packets.answers(connection, sent))
        except psycopg.errors.InvalidSqlStatementName:
            packets.forget(connection)
            raise


def exchange_sync(connection: psycopg.Connection[Any], calls: Iterable[Call[Any]]) -> list[Any]:
    """`exchange` for code without an event loop."""
    todo = list(calls)
    if len(todo) == 1:
        return [run_sync(connection, todo[0])]
    cursors: list[psycopg.Cursor[Row]] = []
    try:
        with connection.pipeline():
            if _is_pooled(connection):
                connection.execute(_BEGIN)
            for call in todo:
                cursor = _sync_cursor(connection)
                cursors.append(cursor)
                cursor.execute(call.sql, call.params)
            if _is_pooled(connection):
                connection.execute("commit")
    except BaseException as error:
        if not connection.closed:
            try:
                connection.execute(_ROLLBACK)
            except psycopg.Error:
                connection.close()
        raise _refusal(error) from error.__cause__
    return [
        call.read(cursor.fetchall() if _has_rows(cursor) else [])
        for call, cursor in zip(todo, cursors, strict=True)
    ]


# Ends the transaction if there is one. Sent as a statement, and not by connection.rollback(),
# since psycopg then forgets what it has prepared: statements behind the error were never parsed,
# although it counts them as prepared.
_ROLLBACK: Final = "rollback"


def _refusal(error: BaseException) -> BaseException:
    # An error of the implicit commit breaks psycopg's pipeline, and hides behind that.
    earlier = error.__context__
    is_blank = isinstance(error, psycopg.Error) and error.sqlstate is None
    if is_blank and isinstance(earlier, psycopg.Error) and earlier.sqlstate is not None:
        return earlier
    if isinstance(error, IndexError):
        # If everything came at once, psycopg meets one result more than it has asked for, and
        # forgets what it said.
        return psycopg.OperationalError("the transaction was refused when it was to be committed")
    return error


def _async_cursor(connection: psycopg.AsyncConnection[Any]) -> psycopg.AsyncCursor[Row]:
    # Not connection.cursor(): a caller's connection may have another cursor class or row factory.
    cursor = psycopg.AsyncCursor(connection, row_factory=tuple_row)
    _read_json_as_text(connection, cursor)
    return cursor


def _sync_cursor(connection: psycopg.Connection[Any]) -> psycopg.Cursor[Row]:
    cursor = psycopg.Cursor(connection, row_factory=tuple_row)
    _read_json_as_text(connection, cursor)
    return cursor


def _has_rows(cursor: Any) -> bool:
    # Not its description, which is an object for every column, made anew each time.
    return cursor.pgresult is not None and cursor.pgresult.nfields > 0


def _read_json_as_text(connection: Any, cursor: Any) -> None:
    # Only a caller's own connection lacks the loaders; registering costs a copy of its adapters.
    loader = connection.adapters.get_loader(_JSONB_OID, psycopg.pq.Format.TEXT)
    if loader not in _TEXT_LOADERS:
        cursor.adapters.register_loader("jsonb", TextLoader)
        cursor.adapters.register_loader("json", TextLoader)


_JSONB_OID: Final = 3802
_TEXT_OID: Final = 25
# psycopg puts its loader in C, where there is one, in the place of that in Python.
_TEXT_LOADERS: Final = (
    TextLoader,
    psycopg.adapters.get_loader(_TEXT_OID, psycopg.pq.Format.TEXT),
)
