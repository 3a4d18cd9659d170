"""Statements that travel in one packet each way, and are one transaction.

psycopg's own pipelines do the same with a packet, and a look for answers, for every statement. At
the rate of a busy worker that is a third of what an exchange costs it.
"""

import itertools
from collections.abc import Generator, Sequence
from typing import Any, Final, NamedTuple

import psycopg
from psycopg import abc, errors, generators, pq
from psycopg.adapt import Transformer
from psycopg.waiting import Ready, Wait

from currant.database.values import Call, Row

_Connection = psycopg.AsyncConnection[Any] | psycopg.Connection[Any]


# The server may begin with what is sent so far, and it need not all be kept here.
_ENOUGH_BYTES: Final = 1 << 18


class _Statement(NamedTuple):
    sql: str
    name: bytes
    transformer: abc.Transformer  # knows how to read its columns


class _Session:
    """What a connection has prepared."""

    def __init__(self, connection: _Connection) -> None:
        self.encoding: Final = connection.info.encoding
        self.prepared: dict[str, _Statement] = {}
        self.numbers = itertools.count(1)


# Kept with the connection, which it refers to itself: they go together.
_ATTRIBUTE: Final = "_currant_session"


def talk(
    connection: _Connection, calls: Sequence[Call[Any]]
) -> Generator[Wait, Ready | int, list[Any]]:
    """For `connection.wait()`: what each call reads.

    The connection is outside of a transaction, before and after. If this does not come to its end,
    it stays in pipeline mode, and nobody can use it any more.

    Raises:
        psycopg.Error: of the first call that failed; then none has had an effect.
    """
    pgconn = connection.pgconn
    session: _Session | None = getattr(connection, _ATTRIBUTE, None)
    if session is None:
        session = _Session(connection)
        setattr(connection, _ATTRIBUTE, session)
    params = [[_dumped(value, session.encoding) for value in call.params] for call in calls]

    pgconn.enter_pipeline_mode()
    # What answers are expected for: the preparation of a statement (True), or its execution.
    sent: list[tuple[_Statement, bool]] = []
    new: dict[str, _Statement] = {}
    unsent = 0
    for call, values in zip(calls, params, strict=True):
        statement = session.prepared.get(call.sql) or new.get(call.sql)
        if statement is None:
            name = f"currant_{next(session.numbers)}".encode()
            statement = new[call.sql] = _Statement(call.sql, name, Transformer(connection))
            pgconn.send_prepare(name, _numbered(call.sql).encode(session.encoding))
            sent.append((statement, True))
        pgconn.send_query_prepared(statement.name, values)
        sent.append((statement, False))
        unsent += sum(map(len, filter(None, values)))
        if unsent > _ENOUGH_BYTES:
            yield from _flush(pgconn)
            unsent = 0
    pgconn.pipeline_sync()
    yield from _flush(pgconn)
    results: list[pq.abc.PGresult] = []
    while True:
        found = yield from generators.fetch_many(pgconn)
        if not found:
            raise psycopg.OperationalError("the server has stopped answering")
        if found[-1].status == pq.ExecStatus.PIPELINE_SYNC:
            break
        results += found
    pgconn.exit_pipeline_mode()

    rows: list[list[Row]] = []
    for (statement, is_preparation), result in zip(sent, results, strict=False):
        _check(result, session)
        if is_preparation:
            session.prepared[statement.sql] = statement
        else:
            rows.append(_rows(statement.transformer, result))
    # There is one more if the commit failed.
    _check(results[-1], session)
    return [call.read(some) for call, some in zip(calls, rows, strict=True)]


def _flush(pgconn: pq.abc.PGconn) -> Generator[Wait, Ready | int, None]:
    while pgconn.flush():
        if (yield Wait.RW) & Ready.R:
            pgconn.consume_input()


def _check(result: pq.abc.PGresult, session: _Session) -> None:
    if result.status == pq.ExecStatus.FATAL_ERROR:
        raise errors.error_from_result(result, session.encoding)


def forget(connection: _Connection) -> None:
    """It has prepared nothing that could be relied on."""
    setattr(connection, _ATTRIBUTE, None)


def _rows(transformer: abc.Transformer, result: pq.abc.PGresult) -> list[Row]:
    if not result.nfields:
        return []
    transformer.set_pgresult(result)
    return transformer.load_rows(0, result.ntuples, tuple)


def _dumped(value: object, encoding: str) -> bytes | None:
    if value is None:
        return None
    data = str(value).encode(encoding)
    if b"\0" in data:
        # It would end there, without a word.
        raise psycopg.DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes")
    return data


def _numbered(sql: str) -> str:
    parts = sql.split("%s")
    numbered = "".join(f"{part}${number}" for number, part in enumerate(parts[:-1], 1)) + parts[-1]
    return numbered.replace("%%", "%")
