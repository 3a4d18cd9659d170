"""Sessions that call the SQL functions: what tests of two sessions at once are written with.

A call that has to wait for nobody is made with a lock timeout, so that a wait is an error. A call
that has to wait is started, and seen waiting in pg_stat_activity. Nothing here sleeps.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import psycopg
from psycopg.rows import namedtuple_row
from psycopg.types.json import Jsonb

NOT_WAITING_MS = 100
_OPTIONS = "-c statement_timeout=5s -c deadlock_timeout=100ms -c timezone=UTC"


class Session:
    """A connection, and a thread in which one of its calls can wait."""

    def __init__(self, url: str) -> None:
        self.connection = psycopg.connect(
            url, autocommit=True, options=_OPTIONS, row_factory=namedtuple_row
        )
        self.pid = self.connection.info.backend_pid
        self._thread = ThreadPoolExecutor(1)

    def execute(self, statement: str, *arguments: object) -> list[Any]:
        """Run a statement; its rows."""
        cursor = self.connection.execute(statement.encode(), arguments or None)
        return cursor.fetchall() if cursor.description else []

    def value(self, statement: str, *arguments: object) -> Any:
        """Run a statement; the first column of its first row."""
        return self.execute(statement, *arguments)[0][0]

    def call(self, function: str, *arguments: object) -> Any:
        """Call a function of the engine; its value."""
        return self.value(f"select currant.{function}({_marks(arguments)})", *arguments)

    def rows(self, function: str, *arguments: object) -> list[Any]:
        """Call a function of the engine; its rows."""
        return self.execute(f"select * from currant.{function}({_marks(arguments)})", *arguments)

    def begin(self) -> None:
        """Open a transaction, and sit in it."""
        self.execute("begin")

    def commit(self) -> None:
        """End the transaction."""
        self.execute("commit")

    def rollback(self) -> None:
        """Undo the transaction."""
        self.execute("rollback")

    def refuse_to_wait(self) -> None:
        """From now on, a statement that has to wait for a lock is an error."""
        self.execute(f"set lock_timeout = {NOT_WAITING_MS}")

    def start(self, call: Callable[..., Any], *arguments: object) -> Future[Any]:
        """Begin a call of this session that may have to wait."""
        return self._thread.submit(call, *arguments)

    def close(self) -> None:
        """Close the connection, whatever it is doing."""
        self.connection.cancel_safe()
        self._thread.shutdown()
        self.connection.close()


class Observer(Session):
    """A session that looks at the others."""

    def wait_until_blocked(self, session: Session, running: Future[Any]) -> None:
        """Return when the session's call waits for a lock; fail if it ends without."""
        while not self.value(
            "select wait_event_type = 'Lock' from pg_stat_activity where pid = %s", session.pid
        ):
            assert not running.done(), f"it did not wait: {running.result()}"

    def count(self, table: str, execution: uuid.UUID | None = None) -> int:
        """How many rows a table has, or has of one execution."""
        column = "workflow_id" if table in ("inbox", "history_entries") else "execution_id"
        found: int = self.value(
            f"select count(*) from currant.{table} where %s::uuid is null or {column} = %s",
            execution,
            execution,
        )
        return found

    def status(self, execution: uuid.UUID) -> str:
        """The status of an execution."""
        found: str = self.value("select status from currant.status(%s)", execution)
        return found


class Lease(NamedTuple):
    """What names a lease."""

    execution_id: uuid.UUID
    token: int


class Worker:
    """A registered worker and its session."""

    def __init__(self, session: Session, queues: Sequence[str], **options: object) -> None:
        self.session = session
        self.queues = list(queues)
        self.id: uuid.UUID = session.call(
            "register_worker", Jsonb({"queues": self.queues, **options})
        )

    def claim(self, tasks: int = 10, workflows: int = 10, hints: object = None) -> list[Any]:
        """Claim from its queues; the rows of the answer."""
        return self.session.rows(
            "claim", self.id, self.queues, tasks, workflows, Jsonb(hints) if hints else None
        )

    def complete(self, lease: Any, result: object = None) -> str:
        """Complete a task."""
        return self._word("complete", lease, Jsonb(result))

    def fail(self, lease: Any, **error: object) -> str:
        """Fail a task."""
        return self._word("fail", lease, Jsonb({"type": "E", "message": "e", **error}))

    def release(self, lease: Any, reason: str | None = None) -> str:
        """Give a lease back."""
        return self._word("release", lease, reason)

    def advance(self, lease: Any, *commands: dict[str, Any], **options: object) -> str:
        """Commit an activation that applies the whole inbox of the claim."""
        return self._word(
            "advance",
            lease,
            lease.last_event,
            [event["arrival"] for event in lease.inbox],
            Jsonb([{"event": self._last_event(lease), **c} for c in commands]),
            Jsonb({"started": {}, **options}),
        )

    def end(self, lease: Any, result: object = None) -> str:
        """Commit an activation that completes the workflow, if it has an event to do so at."""
        if self._last_event(lease) == lease.last_event:
            return self.advance(lease)
        return self.advance(lease, {"kind": "complete", "payload": {"result": result}})

    @staticmethod
    def _last_event(lease: Any) -> int:
        begins = lease.last_event < lease.first_event
        last: int = lease.last_event + begins + len(lease.inbox)
        return last

    def heartbeat(self, *leases: Any) -> list[Any]:
        """Say that it is alive; what needs attention."""
        return self.session.rows(
            "heartbeat",
            self.id,
            [lease.execution_id for lease in leases],
            [lease.token for lease in leases],
        )

    def _word(self, function: str, lease: Any, *arguments: object) -> str:
        word: str = self.session.call(
            function, self.id, lease.execution_id, lease.token, *arguments
        )
        return word


def task(number: int, **options: object) -> dict[str, Any]:
    """The command that starts a task."""
    payload = {"id": str(uuid.uuid4()), "args": {}, "options": {"queue": "tasks", **options}}
    return {"kind": "task", "number": number, "name": "child", "payload": payload}


def child(number: int, **options: object) -> dict[str, Any]:
    """The command that starts a child workflow."""
    payload = {"id": str(uuid.uuid4()), "args": {}, "options": {"queue": "flows", **options}}
    return {"kind": "child", "number": number, "name": "child flow", "payload": payload}


def attach(number: int, execution: uuid.UUID) -> dict[str, Any]:
    """The command that waits for the end of another execution."""
    return {"kind": "attach", "number": number, "payload": {"execution": str(execution)}}


def anew(*signals: str) -> dict[str, Any]:
    """The command that continues as new, with the names of signals that were not read."""
    carried = [{"name": name, "payload": None} for name in signals]
    return {"kind": "continue_as_new", "payload": {"args": {}, "signals": carried}}


def timer(number: int, seconds: float) -> dict[str, Any]:
    """The command that starts a timer."""
    return {"kind": "timer", "number": number, "payload": {"seconds": seconds}}


def cancel(number: int) -> dict[str, Any]:
    """The command that cancels the task or timer of that number."""
    return {"kind": "cancel", "number": number}


def child_id(command: dict[str, Any]) -> uuid.UUID:
    """The execution that a task command starts."""
    return uuid.UUID(command["payload"]["id"])


def enqueue(session: Session, queue: str = "tasks", **options: object) -> uuid.UUID:
    """Ask for a task."""
    execution: uuid.UUID = session.call(
        "enqueue", "f", Jsonb({}), Jsonb({"queue": queue, **options})
    )
    return execution


def enqueue_workflow(session: Session, queue: str = "flows", **options: object) -> uuid.UUID:
    """Ask for a workflow."""
    return enqueue(session, queue, kind="workflow", **options)


def enqueue_and_signal(session: Session, key: str, **options: object) -> uuid.UUID:
    """Signal the workflow that holds a key; start it first if there is none."""
    given = {"queue": "flows", "kind": "workflow", "key": key, **options}
    execution: uuid.UUID = session.call(
        "enqueue_and_signal", "f", Jsonb({}), "s", Jsonb(1), Jsonb(given)
    )
    return execution


def force(session: Session, execution: uuid.UUID) -> str:
    """End an execution and what is under it by force; its status."""
    status: str = session.call("cancel", execution, "by force", Jsonb({"force": True}))
    return status


def stop_the_clock(session: Session) -> None:
    """From now on time passes only by `pass_time`, in this database."""
    session.execute(
        """
        create table public.clock as select clock_timestamp() as at;
        create or replace function currant._now() returns timestamptz language sql volatile
        begin atomic select c.at from public.clock as c; end
        """
    )


def pass_time(session: Session, seconds: float) -> None:
    """Move the stopped clock."""
    session.execute("update public.clock set at = at + make_interval(secs => %s)", seconds)


def claim_soon(session: Session, worker: Worker) -> list[Any]:
    """Claim after what a claim had to leave locked has come back."""
    pass_time(session, 1)
    session.call("tick")
    return worker.claim()


def _marks(arguments: Sequence[object]) -> str:
    return ", ".join(["%s"] * len(arguments))
