"""A clock that stands still until it is moved: for tests, in a database of their own.

`install` puts it in the place of the schema's own clock, `remove` undoes that. Every function of
the schema then reads it, so that timers, retries, timeouts and deadlines follow it.
"""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from currant import models
from currant.database.values import Call, columns, nothing, one, record, records, with_status


class Moment(msgspec.Struct, frozen=True, gc=False):
    """What could go on in the database at a moment of the clock.

    Attributes:
        queues: those with work that can be claimed.
        running: the executions that are leased.
        housekeeping_at: when something is looked at again that is a matter of real moments.
        due_at: when something is due by itself, if nothing else happens before.
        retry_at: when a worker tries again what none could run so far.
        deadline_at: when the database ends the first of what is running.
        has_blocked: whether a workflow waits for other code.
    """

    now: datetime
    queues: list[str]
    running: list[UUID]
    housekeeping_at: datetime | None
    due_at: datetime | None
    retry_at: datetime | None
    deadline_at: datetime | None
    has_blocked: bool


class Progress(msgspec.Struct, frozen=True, gc=False):
    """How far a workflow has come."""

    execution_id: UUID
    function: str
    last_event: int
    has_ended: bool


class RecordedEntry(models.HistoryEntry, frozen=True, gc=False):
    """A line of a workflow's history, with the arguments of what it asks for."""

    args: str | None


# Held by the session that has the clock, so that a clock left behind is known as such.
_LOCK: Final = "hashtextextended('currant.testing', 0)"


def prepare() -> Call[None]:
    """Have the session plan for small tables, which those of a test are."""
    return Call("set jit = off", (), nothing)


def lock() -> Call[bool]:
    """Claim the database's clock for this session; false if another has it."""
    return Call(f"select pg_try_advisory_lock({_LOCK})", (), one)


def unlock() -> Call[bool]:
    """Give the claim up."""
    return Call(f"select pg_advisory_unlock({_LOCK})", (), one)


def is_fit() -> Call[bool]:
    """Whether the database may have its clock stopped: its name says test, or nothing ever ran."""
    return Call(
        "select current_database() like '%%test%%' or not exists (select from currant.executions)",
        (),
        one,
    )


def is_installed() -> Call[bool]:
    """Whether the clock is there."""
    return Call("select to_regclass('currant_testing.clock') is not null", (), one)


def install(start: datetime | None) -> list[Call[None]]:
    """Stop the clock at `start`, or now. All in one transaction."""
    statements = (
        "create schema currant_testing",
        "create table currant_testing.clock ("
        " is_only boolean primary key default true check (is_only),"
        " stands_at timestamptz not null,"
        " original text not null)",
    )
    started = Call(
        "insert into currant_testing.clock (stands_at, original) select"
        " coalesce(%s::text::timestamptz, date_trunc('second', clock_timestamp())),"
        " pg_get_functiondef('currant._now()'::regprocedure)",
        (None if start is None else start.isoformat(),),
        nothing,
    )
    replaced = Call(
        "create or replace function currant._now() returns timestamptz language sql volatile"
        " begin atomic select c.stands_at from currant_testing.clock as c; end",
        (),
        nothing,
    )
    # No gap in the ticks, after which deadlines would be left alone for a while.
    steady = Call(
        "update currant.ticker set ticked_at = c.stands_at,"
        " steady_since = c.stands_at - interval '1 day', swept_at = '-infinity',"
        " swept_to = '-infinity', enforced_at = '-infinity' from currant_testing.clock as c",
        (),
        nothing,
    )
    return [*(Call(each, (), nothing) for each in statements), started, replaced, steady]


def remove() -> Call[None]:
    """Have the schema's own clock back."""
    return Call(
        "do $$ begin execute (select c.original from currant_testing.clock as c);"
        " drop schema currant_testing cascade; end $$",
        (),
        nothing,
    )


def look() -> Call[Moment]:
    """What could go on now, and when something else could."""
    # The database waits some seconds for a worker's own answer before it enforces a deadline.
    return Call(
        "select c.stands_at,"
        " array(select distinct r.queue from currant.ready as r),"
        " array(select l.execution_id from currant.leases as l),"
        " (select min(d.due_at) from currant.delayed as d where d.kind in ('wake', 'force')),"
        " (select min(d.due_at) from currant.delayed as d"
        " where d.kind not in ('wake', 'force', 'release', 'blocked')),"
        " (select min(d.due_at) from currant.delayed as d where d.kind in ('release', 'blocked')),"
        " (select min(l.deadline_at) from currant.leases as l) + interval '5001 milliseconds',"
        " exists (select from currant.workflows as w where w.blocked_reason is not null)"
        " from currant_testing.clock as c",
        (),
        record(Moment),
    )


def move(to: datetime) -> list[Call[Any]]:
    """Move the clock to a moment that is not behind it, in one transaction.

    Whoever is alive stays so, and whoever waits to be told goes on waiting.
    """
    # Claims and ticks under way have read the clock: what they then do would count as having taken
    # all the time in between.
    claims = Call(
        "select pg_advisory_xact_lock(hashtextextended(w.id::text, 0)) from"
        " (select x.id from currant.workers as x where x.died_at is null order by x.id) as w",
        (),
        nothing,
    )
    ticks = Call("select pg_advisory_xact_lock(hashtextextended('currant.tick', 0))", (), nothing)
    moved = Call(
        "with step as ("
        " update currant_testing.clock as c set stands_at = greatest(b.stands_at, %s::timestamptz)"
        " from (select x.stands_at from currant_testing.clock as x for update) as b"
        " returning c.stands_at, c.stands_at - b.stands_at as size"
        "), beat as ("
        " update currant.workers as w set heartbeat_at = w.heartbeat_at + s.size,"
        " waiting_until = w.waiting_until + s.size from step as s where w.died_at is null"
        "), watched as ("
        " update currant.watchers as w set watching_until = w.watching_until + s.size"
        " from step as s"
        "), ticked as ("
        " update currant.ticker as t set ticked_at = t.ticked_at + s.size from step as s"
        ") select from step",
        (to.isoformat(),),
        nothing,
    )
    return [claims, ticks, moved]


def ended(execution: UUID) -> Call[bool]:
    """Whether an execution has ended; it need not exist."""
    return Call(
        "select exists (select from currant.outcomes as o where o.execution_id = %s::text::uuid)",
        (execution.hex,),
        one,
    )


def begun() -> Call[list[Progress]]:
    """Every workflow that has begun, oldest first."""
    return Call(
        "select e.id, e.function, h.last_event, exists ("
        " select from currant.outcomes as o where o.execution_id = e.id)"
        " from (select x.workflow_id, max(x.event) as last_event"
        " from currant.history_entries as x group by x.workflow_id) as h"
        " join currant.executions as e on e.id = h.workflow_id order by e.id",
        (),
        records(Progress),
    )


def history(execution: UUID, after_event: int = 0) -> Call[list[RecordedEntry]]:
    """A workflow's history past an event, with all that a strict replay compares."""
    return Call(
        f"select {columns(models.HistoryEntry)}, e.args"
        " from currant.history(%s::text::uuid, %s::int) as r left join currant.executions as e"
        " on r.kind in ('task', 'child', 'queue') and e.id = r.execution_id"
        " order by r.event, r.position",
        (execution.hex, after_event),
        records(RecordedEntry),
    )


def unfinished() -> Call[list[models.ExecutionSummary]]:
    """Everything that has not ended, oldest first."""
    return Call(
        f"select {columns(models.ExecutionSummary)} from currant.open_executions as r"
        " order by r.id limit 1000",
        (),
        with_status(models.ExecutionSummary),
    )
