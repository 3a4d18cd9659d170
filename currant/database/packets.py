"""Statements that travel in one packet each way, and are one transaction.

psycopg's own pipelines do the same with a packet, and a look for answers, for every statement. At
the rate of a busy worker that is a third of what an exchange costs it. Further statements may be
sent before the answers to the first have come: the server goes on with them at once.
"""

import itertools
from collections.abc import Generator, Sequence
from typing import Any, Final, NamedTuple

import psycopg
from psycopg import abc, errors, pq
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
        self.unanswered = 0
        self.is_sending = False  # what has been begun to be sent is not all sent


# Kept with the connection, which it refers to itself: they go together.
_ATTRIBUTE: Final = "_currant_session"


def _session_of(connection: _Connection) -> _Session:
    session: _Session | None = getattr(connection, _ATTRIBUTE, None)
    if session is None:
        session = _Session(connection)
        setattr(connection, _ATTRIBUTE, session)
    return session


class Sent:
    """Calls that are on their way, or about to be.

    Attributes:
        is_answered: whether the answer has come, as a whole.

    Raises:
        psycopg.DataError: a parameter is no text that the server would take.
    """

    def __init__(self, connection: _Connection, calls: Sequence[Call[Any]]) -> None:
        self.session = _session_of(connection)
        self.calls = calls
        self.params = [
            [_dumped(value, self.session.encoding) for value in call.params] for call in calls
        ]
        # What answers are expected for: the preparation of a statement (True), or its execution.
        self.statements: list[tuple[_Statement, bool]] = []
        self.is_answered = False

    @property
    def size(self) -> int:
        """Bytes of their parameters."""
        return sum(map(_size, self.params))


def _size(values: Sequence[bytes | None]) -> int:
    return sum(map(len, filter(None, values)))


def talk(connection: _Connection, sent: Sent) -> Generator[Wait, Ready | int, list[Any]]:
    """For `connection.wait()`: send the calls, and get what each of them reads.

    The connection is outside of a transaction, before and after. If this does not come to its end,
    nobody can use it any more.

    Raises:
        psycopg.Error: of the first call that failed; then none has had an effect.
    """
    yield from _send(connection, sent)
    return (yield from answers(connection, sent))


def send_behind(connection: _Connection, sent: Sent) -> None:
    """Send calls while others have not been answered; `answers` does the rest.

    They have to be few bytes: whoever waits for the answer before would not notice that the server
    has become able to take more.
    """
    for _ in _send(connection, sent):
        raise AssertionError("this is more than goes at once")


def _send(connection: _Connection, sent: Sent) -> Generator[Wait, Ready | int, None]:
    pgconn, session = connection.pgconn, sent.session
    if not session.unanswered:
        pgconn.enter_pipeline_mode()
    session.unanswered += 1
    session.is_sending = True
    new: dict[str, _Statement] = {}
    unsent = 0
    for call, values in zip(sent.calls, sent.params, strict=True):
        statement = session.prepared.get(call.sql) or new.get(call.sql)
        if statement is None:
            name = f"currant_{next(session.numbers)}".encode()
            statement = new[call.sql] = _Statement(call.sql, name, Transformer(connection))
            pgconn.send_prepare(name, _numbered(call.sql).encode(session.encoding))
            sent.statements.append((statement, True))
        pgconn.send_query_prepared(statement.name, values)
        sent.statements.append((statement, False))
        unsent += _size(values)
        if unsent > _ENOUGH_BYTES:
            while pgconn.flush():
                if (yield Wait.RW) & Ready.R:
                    pgconn.consume_input()
            unsent = 0
    pgconn.pipeline_sync()
    session.is_sending = False
    pgconn.flush()


def answers(connection: _Connection, sent: Sent) -> Generator[Wait, Ready | int, list[Any]]:
    """For `connection.wait()`: what each call reads. What was sent first has to be asked first.

    It sends what is left to be sent, and ends and raises as `talk`.
    """
    session = sent.session
    results: list[pq.abc.PGresult] = []
    while True:
        result = yield from _fetch(connection.pgconn)
        if result is None:
            # Behind the results of every statement there is nothing.
            result = yield from _fetch(connection.pgconn)
            if result is None:
                raise psycopg.OperationalError("the server has stopped answering")
        if result.status == pq.ExecStatus.PIPELINE_SYNC:
            break
        results.append(result)
    sent.is_answered = True
    session.unanswered -= 1
    if not session.unanswered:
        connection.pgconn.exit_pipeline_mode()

    rows: list[list[Row]] = []
    for (statement, is_preparation), result in zip(sent.statements, results, strict=False):
        _check(result, session)
        if is_preparation:
            session.prepared[statement.sql] = statement
        else:
            rows.append(_rows(statement.transformer, result))
    # There is one more if the commit failed.
    _check(results[-1], session)
    return [call.read(some) for call, some in zip(sent.calls, rows, strict=True)]


def _fetch(pgconn: pq.abc.PGconn) -> Generator[Wait, Ready | int, pq.abc.PGresult | None]:
    # Not psycopg's: what is sent behind meanwhile may have read what that would wait for.
    while True:
        is_unsent = pgconn.flush()
        if not pgconn.is_busy():
            break
        yield Wait.RW if is_unsent else Wait.R
        pgconn.consume_input()
    while (notify := pgconn.notifies()) is not None:
        if pgconn.notify_handler is not None:
            pgconn.notify_handler(notify)
    return pgconn.get_result()


def _check(result: pq.abc.PGresult, session: _Session) -> None:
    if result.status == pq.ExecStatus.FATAL_ERROR:
        raise errors.error_from_result(result, session.encoding)


def forget(connection: _Connection) -> None:
    """It has prepared nothing that could be relied on."""
    _session_of(connection).prepared.clear()


def can_send_behind(connection: _Connection) -> bool:
    """Whether something has been sent as a whole and has not been answered."""
    return is_pending(connection) and not _session_of(connection).is_sending


def is_pending(connection: _Connection) -> bool:
    """Whether something that was sent has not been answered."""
    return _session_of(connection).unanswered > 0


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
