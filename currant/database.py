"""All the SQL that Python speaks: one function per function of the schema, each giving a Call.

A Call is a statement with its parameters and the way to read its rows; who runs it, on which
kind of connection, is another matter (`run`, `run_sync`, `exchange`). Parameters are plain texts
and numbers with explicit casts, so that any driver can carry them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Generic, TypeVar
from uuid import UUID

import msgspec
import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import tuple_row
from psycopg.types.string import TextLoader

from currant import errors, models
from currant.settings import Settings

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
S = TypeVar("S", bound=msgspec.Struct)
Row = tuple[Any, ...]
Identifier = UUID | str

ENDED_CHANNEL: Final = "currant_ended"
READY_CHANNEL: Final = "currant_ready"
CANCEL_CHANNEL: Final = "currant_cancel"

# A peer that vanished without a word (power, cable, failover) is noticed within a minute instead
# of the two hours that TCP takes by itself.
_CONNECTION_DEFAULTS: Final = {
    "connect_timeout": 10,
    "keepalives_idle": 20,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 40_000,
}


@dataclass(frozen=True, slots=True)
class Call(Generic[T_co]):
    """A statement, its parameters, and how to read what it returns."""

    sql: str
    params: Sequence[object]
    read: Callable[[list[Row]], T_co]


# --- Connections ------------------------------------------------------------------------------


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


def check_url(url: str) -> None:
    """Raise SettingsError if no driver could read this URL."""
    try:
        conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        # libpq's own words would show the URL, and the password in it.
        raise errors.SettingsError(
            "the database URL cannot be read",
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


# --- Running calls ----------------------------------------------------------------------------


async def run(connection: psycopg.AsyncConnection[Any], call: Call[T]) -> T:
    """Run the call as it is: no retry, no commit, errors as psycopg raises them."""
    async with _async_cursor(connection) as cursor:
        await cursor.execute(call.sql, call.params)
        return call.read(await cursor.fetchall() if cursor.description else [])


def run_sync(connection: psycopg.Connection[Any], call: Call[T]) -> T:
    """`run` for code without an event loop."""
    with _sync_cursor(connection) as cursor:
        cursor.execute(call.sql, call.params)
        return call.read(cursor.fetchall() if cursor.description else [])


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
    if len(todo) == 1:
        return [await run(connection, todo[0])]
    cursors: list[psycopg.AsyncCursor[Row]] = []
    try:
        async with connection.pipeline():
            if _is_pooled(connection):
                await connection.execute(_BEGIN)
            for call in todo:
                cursor = _async_cursor(connection)
                cursors.append(cursor)
                await cursor.execute(call.sql, call.params)
            if _is_pooled(connection):
                await connection.execute("commit")
    except BaseException as error:
        if not connection.closed:
            try:
                await connection.execute(_ROLLBACK)
            except psycopg.Error:
                await connection.close()
        raise _refusal(error) from error.__cause__
    return [
        call.read(await cursor.fetchall() if cursor.description else [])
        for call, cursor in zip(todo, cursors, strict=True)
    ]


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
        call.read(cursor.fetchall() if cursor.description else [])
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


def _read_json_as_text(connection: Any, cursor: Any) -> None:
    # Only a caller's own connection lacks the loaders; registering costs a copy of its adapters.
    if connection.adapters.get_loader(_JSONB_OID, psycopg.pq.Format.TEXT) is not TextLoader:
        cursor.adapters.register_loader("jsonb", TextLoader)
        cursor.adapters.register_loader("json", TextLoader)


_JSONB_OID: Final = 3802


# --- Errors -----------------------------------------------------------------------------------

_BY_SQLSTATE: Final[Mapping[str, type[errors.DatabaseError]]] = {
    "KR001": errors.UnknownFunction,
    "KR002": errors.UnknownWorker,
    "KR003": errors.AlreadyEnded,
    "KR004": errors.ExecutionNotFound,
    "KR005": errors.PayloadTooLarge,
    "KR006": errors.NotEnded,
    "KR007": errors.NoResult,
    "KR008": errors.IsolationRefused,
    "22023": errors.InvalidArgument,
    "22004": errors.InvalidArgument,
    "3F000": errors.SchemaMissing,
    "42883": errors.SchemaMissing,
    "42P01": errors.SchemaMissing,
    "42704": errors.SchemaMissing,
}
_MIGRATE: Final = 'run "currant migrate"'


def translate(error: psycopg.Error) -> errors.CurrantError:
    """Currant's error for one of the driver's, chosen by SQLSTATE."""
    kind = _BY_SQLSTATE.get(error.sqlstate or "")
    made: errors.DatabaseError
    if kind is errors.SchemaMissing:
        made = kind(
            "the database has no schema currant, or an incomplete one",
            detail=error.diag.message_primary,
            hint=_MIGRATE,
        )
    elif kind is not None:
        made = kind(
            error.diag.message_primary or _one_line(error),
            detail=error.diag.message_detail,
            hint=error.diag.message_hint,
        )
    elif is_connection_lost(error):
        made = errors.DatabaseUnavailable(
            "the database cannot be reached",
            detail=_one_line(error),
            hint="is the server up, and is CURRANT_DATABASE_URL right?",
        )
    elif error.sqlstate == "42501":
        made = errors.DatabaseError(
            "the database role may not do this",
            detail=error.diag.message_primary,
            hint="grant it currant_client, currant_worker, currant_observer or currant_admin",
        )
    else:
        made = errors.DatabaseError(
            error.diag.message_primary or _one_line(error),
            detail=error.diag.message_detail,
            hint=error.diag.message_hint,
        )
    made.sqlstate = error.sqlstate
    return made


def is_connection_lost(error: BaseException) -> bool:
    """Whether the server went away, or refuses everybody for the moment."""
    if isinstance(error, psycopg.InterfaceError):
        return True
    if not isinstance(error, psycopg.OperationalError):
        return False
    state = error.sqlstate
    return state is None or state[:2] in {"08", "53"} or state[:4] == "57P0" or state == "25006"


def is_transient(error: BaseException) -> bool:
    """Whether the same call may succeed if it is simply made again."""
    if is_connection_lost(error):
        return True
    return isinstance(error, psycopg.Error) and error.sqlstate in {"40001", "40P01"}


def server_answers(url: str) -> bool:
    """Whether a server listens there, whatever it thinks of the user or the database. Blocks."""
    parameters: dict[str, Any] = {"connect_timeout": 3, **conninfo_to_dict(url)}
    answer = psycopg.pq.PGconn.ping(make_conninfo(**parameters).encode())
    return answer == psycopg.pq.Ping.OK


def _one_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines()]
    return "; ".join(line for line in lines if line) or type(error).__name__


# --- Reading and writing values ---------------------------------------------------------------


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def plain_json(text: str | None) -> Any:
    """What JSON text of the database itself says: errors, attempts, headers. Not for payloads."""
    return None if text is None else msgspec.json.decode(text)


def _id(value: Identifier) -> str:
    if isinstance(value, UUID):
        return value.hex
    try:
        return UUID(value).hex
    except (ValueError, AttributeError, TypeError):
        raise errors.InvalidArgument(
            f"{str(value)!r} is not an id", hint="ids are UUIDs, as enqueueing returns them"
        ) from None


# Array literals are written here: psycopg's own list adaptation takes ten times as long.
def _plain_array(values: Iterable[str]) -> str:
    return "{" + ",".join(values) + "}"


def _text_array(values: Iterable[str | None]) -> str:
    return _plain_array(
        [
            "NULL" if value is None else '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
            for value in values
        ]
    )


def _seconds(value: timedelta | None) -> str | None:
    return None if value is None else f"{value.total_seconds():.6f} seconds"


def _columns(record: type[msgspec.Struct], alias: str = "r") -> str:
    return ", ".join(f"{alias}.{name}" for name in record.__struct_fields__)


def _one(rows: list[Row]) -> Any:
    return rows[0][0] if rows else None


def _first_column(rows: list[Row]) -> list[Any]:
    return [row[0] for row in rows]


def _as_list(rows: list[Row]) -> list[Any]:
    return list(rows[0][0] or ()) if rows else []


def _nothing(rows: list[Row]) -> None:
    return None


def _uuid(value: Any) -> UUID:
    # A caller's own connection may give texts.
    return value if isinstance(value, UUID) else UUID(str(value))


def _one_uuid(rows: list[Row]) -> UUID:
    return _uuid(rows[0][0])


def _uuids(rows: list[Row]) -> list[UUID]:
    return [_uuid(row[0]) for row in rows]


def _record(kind: type[S]) -> Callable[[list[Row]], S]:
    return lambda rows: kind(*rows[0])


def _records(kind: type[S]) -> Callable[[list[Row]], list[S]]:
    return lambda rows: [kind(*row) for row in rows]


def _with_status(kind: type[S]) -> Callable[[list[Row]], list[S]]:
    place = kind.__struct_fields__.index("status")

    def read(rows: list[Row]) -> list[S]:
        return [kind(*row[:place], models.Status(row[place]), *row[place + 1 :]) for row in rows]

    return read


# --- Calls of clients -------------------------------------------------------------------------


def enqueue(function: str, args: str, options: Mapping[str, object]) -> Call[UUID]:
    """Ask for an execution; the id that counts comes back. `args` is JSON text."""
    return Call(
        "select currant.enqueue(%s::text, %s::jsonb, %s::jsonb)",
        (function, args, _json(options)),
        _one_uuid,
    )


def enqueue_many(
    function: str,
    args: Sequence[str],
    options: Mapping[str, object],
    ids: Sequence[UUID] | None = None,
) -> Call[list[UUID]]:
    """Ask for many executions of one function; the ids that count come back in order."""
    return Call(
        "select currant.enqueue_many(%s::text, %s::text::jsonb[], %s::jsonb, %s::text::uuid[])",
        (
            function,
            _text_array(args),
            _json(options),
            None if ids is None else _plain_array([value.hex for value in ids]),
        ),
        _uuids,
    )


def signal(
    execution: Identifier, name: str, payload: str = "null", options: Mapping[str, object] = {}
) -> Call[int]:
    """Send a signal; its arrival number comes back. `payload` is JSON text."""
    return Call(
        "select currant.signal(%s::text::uuid, %s::text, %s::jsonb, %s::jsonb)",
        (_id(execution), name, payload, _json(options)),
        _one,
    )


def cancel(execution: Identifier, reason: str | None = None) -> Call[models.Status]:
    """Ask for cancellation; where the execution then stands comes back."""
    return Call(
        "select currant.cancel(%s::text::uuid, %s::text)",
        (_id(execution), reason),
        lambda rows: models.Status(rows[0][0]),
    )


def retry(execution: Identifier, options: Mapping[str, object] = {}) -> Call[UUID]:
    """Run an ended execution again as a new one, whose id comes back."""
    return Call(
        "select currant.retry(%s::text::uuid, %s::jsonb)",
        (_id(execution), _json(options)),
        _one_uuid,
    )


def status(execution: Identifier) -> Call[models.ExecutionState]:
    """Everything about an execution."""
    return Call(
        f"select {_columns(models.ExecutionState)} from currant.status(%s::text::uuid) as r",
        (_id(execution),),
        lambda rows: _with_status(models.ExecutionState)(rows)[0],
    )


def result(execution: Identifier) -> Call[str | None]:
    """The result of a completed execution, as JSON text."""
    return Call("select currant.result(%s::text::uuid)", (_id(execution),), _one)


def watch(
    execution: Identifier, watch_for: timedelta = timedelta(minutes=1)
) -> Call[models.Status]:
    """Where the execution stands; if it has not ended, its end will be notified."""
    return Call(
        "select currant.watch(%s::text::uuid, %s::text::interval)",
        (_id(execution), _seconds(watch_for)),
        lambda rows: models.Status(rows[0][0]),
    )


def version() -> Call[str]:
    """The version of the deployed schema."""
    return Call("select currant.version()", (), _one)


def settings() -> Call[models.Configuration]:
    """The settings of the installation."""
    return Call(
        f"select {_columns(models.Configuration)} from currant.settings() as r",
        (),
        _record(models.Configuration),
    )


def history(execution: Identifier, after_event: int = 0) -> Call[list[models.HistoryEntry]]:
    """A workflow's history past an event, in order."""
    return Call(
        f"select {_columns(models.HistoryEntry)}"
        " from currant.history(%s::text::uuid, %s::int) as r",
        (_id(execution), after_event),
        _records(models.HistoryEntry),
    )


def listen(channel: str) -> Call[None]:
    """Have the connection receive a channel's notifications."""
    if channel not in {ENDED_CHANNEL, READY_CHANNEL, CANCEL_CHANNEL}:
        raise ValueError(channel)
    return Call(f"listen {channel}", (), _nothing)


# --- Calls of workers -------------------------------------------------------------------------


def register_functions(functions: Sequence[Mapping[str, object]]) -> Call[int]:
    """Store declarations, so that plain SQL callers get their defaults."""
    return Call("select currant.register_functions(%s::jsonb)", (_json(functions),), _one)


def register_worker(options: Mapping[str, object]) -> Call[UUID]:
    """Make a worker known; its id comes back."""
    return Call("select currant.register_worker(%s::jsonb)", (_json(options),), _one_uuid)


def deregister_worker(worker: UUID) -> Call[int]:
    """The worker is going; what it still holds is given back."""
    return Call("select currant.deregister_worker(%s::text::uuid)", (worker.hex,), _one)


_CLAIMED: Final = _columns(models.Claimed)
_read_claimed: Final = _records(models.Claimed)


def claim(
    worker: UUID,
    queues: Sequence[str],
    tasks: int,
    workflows: int = 0,
    hints: Mapping[str, object] | None = None,
) -> Call[list[models.Claimed]]:
    """Take leases on as many tasks and workflows as there are free slots of each kind."""
    return Call(
        f"select {_CLAIMED} from currant.claim("
        "%s::text::uuid, %s::text::text[], %s::int, %s::int, %s::jsonb) as r",
        (worker.hex, _text_array(queues), tasks, workflows, _json(hints) if hints else None),
        _read_claimed,
    )


def resume(worker: UUID) -> Call[list[models.Claimed]]:
    """Every lease the worker holds, whether or not it ever saw the answer that gave it."""
    return Call(
        f"select {_CLAIMED} from currant.resume(%s::text::uuid) as r",
        (worker.hex,),
        _read_claimed,
    )


def complete(worker: UUID, execution: UUID, token: int, result: str) -> Call[str]:
    """A task is done; `result` is JSON text."""
    return Call(
        "select currant.complete(%s::text::uuid, %s::text::uuid, %s::bigint, %s::jsonb)",
        (worker.hex, execution.hex, token, result),
        _one,
    )


def fail(
    worker: UUID,
    execution: UUID,
    token: int,
    error: str,
    retry_after: timedelta | None = None,
) -> Call[str]:
    """An attempt failed; `error` is JSON text."""
    return Call(
        "select currant.fail(%s::text::uuid, %s::text::uuid, %s::bigint, %s::jsonb,"
        " %s::text::interval)",
        (worker.hex, execution.hex, token, error, _seconds(retry_after)),
        _one,
    )


def release(worker: UUID, execution: UUID, token: int, reason: str | None = None) -> Call[str]:
    """Give a lease back: the attempt does not count."""
    return Call(
        "select currant.release(%s::text::uuid, %s::text::uuid, %s::bigint, %s::text)",
        (worker.hex, execution.hex, token, reason),
        _one,
    )


_Leased = models.Completion | models.Failure | models.Release | models.Beat


def _leases(worker: UUID, items: Sequence[_Leased]) -> tuple[str, str, str]:
    return (
        worker.hex,
        _plain_array([item.execution_id.hex for item in items]),
        _plain_array([str(item.token) for item in items]),
    )


def complete_many(worker: UUID, items: Sequence[models.Completion]) -> Call[list[str]]:
    """Tasks are done; a word for each comes back in order."""
    return Call(
        "select currant.complete_many("
        "%s::text::uuid, %s::text::uuid[], %s::text::bigint[], %s::text::jsonb[])",
        (*_leases(worker, items), _text_array([item.result for item in items])),
        _as_list,
    )


def fail_many(worker: UUID, items: Sequence[models.Failure]) -> Call[list[str]]:
    """Attempts failed; a word for each comes back in order."""
    return Call(
        "select currant.fail_many(%s::text::uuid, %s::text::uuid[], %s::text::bigint[],"
        " %s::text::jsonb[], %s::text::interval[])",
        (
            *_leases(worker, items),
            _text_array([item.error for item in items]),
            _text_array([_seconds(item.retry_after) for item in items]),
        ),
        _as_list,
    )


def release_many(worker: UUID, items: Sequence[models.Release]) -> Call[list[str]]:
    """Leases are given back; a word for each comes back in order."""
    return Call(
        "select currant.release_many("
        "%s::text::uuid, %s::text::uuid[], %s::text::bigint[], %s::text::text[])",
        (*_leases(worker, items), _text_array([item.reason for item in items])),
        _as_list,
    )


def advance(worker: UUID, activation: models.Activation) -> Call[str]:
    """Commit one activation of a workflow; `commands` and `options` are JSON text."""
    return Call(
        "select currant.advance(%s::text::uuid, %s::text::uuid, %s::bigint, %s::int,"
        " %s::text::bigint[], %s::jsonb, %s::jsonb)",
        (
            worker.hex,
            activation.execution_id.hex,
            activation.token,
            activation.last_event,
            _plain_array(map(str, activation.arrivals)),
            activation.commands,
            activation.options,
        ),
        _one,
    )


def advance_many(worker: UUID, activations: Sequence[models.Activation]) -> Call[list[str]]:
    """Commit several activations; a word for each comes back in order."""
    return Call(
        "select currant.advance_many(%s::text::uuid, %s::text::jsonb[])",
        (worker.hex, _text_array([_activation_json(item) for item in activations])),
        _as_list,
    )


def _activation_json(activation: models.Activation) -> str:
    # Commands are JSON already and may be large: spliced in, not decoded and encoded again.
    return (
        f'{{"execution":"{activation.execution_id}","token":{activation.token},'
        f'"last_event":{activation.last_event},"arrivals":{list(activation.arrivals)},'
        f'"commands":{activation.commands},"options":{activation.options}}}'
    )


def heartbeat(worker: UUID, beats: Sequence[models.Beat]) -> Call[list[models.HeartbeatAnswer]]:
    """The worker is alive; leases that are lost or asked to stop come back."""
    return Call(
        f"select {_columns(models.HeartbeatAnswer)} from currant.heartbeat(%s::text::uuid,"
        " %s::text::uuid[], %s::text::bigint[], %s::text::jsonb[]) as r",
        (*_leases(worker, beats), _text_array([beat.details for beat in beats])),
        _records(models.HeartbeatAnswer),
    )


def tick(duty: str | None = None) -> Call[models.TickResult]:
    """One bounded round of maintenance: "due", "recover", or both."""
    return Call(
        f"select {_columns(models.TickResult)} from currant.tick(%s::text) as r",
        (duty,),
        _record(models.TickResult),
    )


# --- Reading for people -----------------------------------------------------------------------


def list_executions(
    *,
    queue: str | None = None,
    status: str | None = None,
    function: str | None = None,
    since: datetime | None = None,
    limit: int = 50,
) -> Call[list[models.ExecutionSummary]]:
    """The newest executions that fit, newest first."""
    conditions = [
        ("r.queue = %s::text", queue),
        ("r.status = %s::text", status),
        ("r.function = %s::text", function),
        ("r.created_at >= %s::text::timestamptz", None if since is None else since.isoformat()),
    ]
    given = [(text, value) for text, value in conditions if value is not None]
    where = " where " + " and ".join(text for text, _ in given) if given else ""
    return Call(
        f"select {_columns(models.ExecutionSummary)} from currant.execution_status as r{where}"
        " order by r.id desc limit %s::int",
        (*(value for _, value in given), limit),
        _with_status(models.ExecutionSummary),
    )


def queue_stats() -> Call[list[models.QueueStats]]:
    """Every queue and what is in it."""
    return Call(
        f"select {_columns(models.QueueStats)} from currant.queue_stats as r order by r.queue",
        (),
        _records(models.QueueStats),
    )


def workers() -> Call[list[models.WorkerState]]:
    """Every worker that is known, living ones first."""
    return Call(
        f"select {_columns(models.WorkerState)} from currant.worker_heartbeats as r"
        " order by r.is_alive desc, r.started_at, r.worker_id",
        (),
        _records(models.WorkerState),
    )


def signals(execution: Identifier) -> Call[list[models.SignalState]]:
    """The signals that a workflow has been sent, in order."""
    return Call(
        f"select {_columns(models.SignalState)} from currant.workflow_signals as r"
        " where r.execution_id = %s::text::uuid order by r.arrived_at",
        (_id(execution),),
        _records(models.SignalState),
    )
