"""Old and new code side by side, in processes of their own: what has begun goes on."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg.types.json import Jsonb

from tests.crash.conftest import StartProcess
from tests.support.worker_database import Database
from tests.support.worker_process import WorkerProcess

OLD, NEW, BOLD = "tests.apps.parcel_old", "tests.apps.parcel_new", "tests.apps.parcel_bold"


def enqueue(database: Database, function: str, *args: object) -> Any:
    names = {"tour": ["stops"], "rounds": ["left", "done"], "do": ["what"]}.get(function, ["name"])
    arguments = dict(zip(names, args, strict=True))
    return database.value("select currant.enqueue(%s, %s)", function, Jsonb(arguments))


def signal(database: Database, workflow: object, name: str) -> None:
    database.value("select currant.signal(%s, %s)", workflow, name)


def until_it_waits_for(database: Database, workflow: object, what: str) -> None:
    database.until(
        "select true from currant.execution_status where id = %s and waits_for like %s",
        workflow,
        f"%{what}%",
    )


def until_it_has_ended(database: Database, workflow: object) -> Any:
    database.until("select true from currant.outcomes where execution_id = %s", workflow)
    return database.value("select currant.result(%s)", workflow)


def markers(database: Database, workflow: object) -> dict[str, int]:
    rows = database.rows(
        "select name, payload from currant.history(%s) where kind = 'version'", workflow
    )
    return {row.name: row.payload["version"] for row in rows}


def lost_attempts(database: Database) -> Any:
    """Attempts that went wrong, and activations that count as lost."""
    return database.value(
        "select (select count(*) from currant.attempts)"
        " + (select coalesce(sum(lost_activations), 0) from currant.workflows)"
    )


def leave(worker: WorkerProcess) -> None:
    """Have it end in order."""
    worker.terminate()
    assert worker.wait() == 0


@pytest.fixture(params=["1000", "0"], ids=["cache", "replay"])
def cache(request: pytest.FixtureRequest) -> dict[str, str]:
    return {"CURRANT_WORKER_WORKFLOW_CACHE": request.param}


def test_new_code_carries_on_what_old_code_began(
    database: Database, start: StartProcess, cache: dict[str, str]
) -> None:
    old = start(app=OLD, **cache)
    begun = enqueue(database, "parcel", "a")
    until_it_waits_for(database, begun, "signal paid")
    start(app=NEW, **cache)
    leave(old)
    fresh = enqueue(database, "parcel", "b")
    until_it_waits_for(database, fresh, "signal paid")

    signal(database, begun, "paid")
    signal(database, fresh, "paid")

    # Past the first change when that was deployed, and not yet at the second.
    assert until_it_has_ended(database, begun) == ["pack a", "insure a", "send a"]
    assert markers(database, begun) == {"weigh": 1, "insure": 2}
    assert until_it_has_ended(database, fresh) == ["weigh b", "pack b", "insure b", "send b"]
    assert markers(database, fresh) == {"weigh": 2, "insure": 2}
    assert lost_attempts(database) == 0


def test_what_new_code_has_touched_is_left_alone_by_old_code(
    database: Database, start: StartProcess, cache: dict[str, str]
) -> None:
    old = start(app=OLD, **cache)
    touched = enqueue(database, "parcel", "touched")
    untouched = enqueue(database, "parcel", "untouched")
    until_it_waits_for(database, touched, "signal paid")
    until_it_waits_for(database, untouched, "signal paid")
    old.freeze()
    new = start(app=NEW, **cache)
    signal(database, touched, "hello")
    database.until("select true from currant.workflows where version = 2")
    leave(new)
    old.thaw()

    signal(database, touched, "paid")
    signal(database, untouched, "paid")

    assert until_it_has_ended(database, untouched) == ["pack untouched", "send untouched"]
    until_it_waits_for(database, touched, "a worker that has version 2 of parcel")
    assert lost_attempts(database) == 0
    start(app=NEW, **cache)
    assert until_it_has_ended(database, touched) == [
        *("pack touched", "insure touched", "send touched")
    ]
    assert markers(database, touched) == {"weigh": 1, "insure": 2}
    assert (
        database.value("select attempt from currant.outcomes where execution_id = %s", touched) == 1
    )


def test_what_old_code_took_from_new_code_comes_back_soon(
    database: Database, start: StartProcess, cache: dict[str, str]
) -> None:
    # Not declared dead while it is frozen: registering anew would free them all.
    new = start(app=NEW, CURRANT_WORKER_HEARTBEAT_TIMEOUT="60", **cache)
    runs = [enqueue(database, "parcel", f"{n}") for n in range(20)]
    for run in runs:
        until_it_waits_for(database, run, "signal paid")
    new.freeze()
    old = start(app=OLD, **cache)
    database.rows("update currant.workflows set last_at = last_at - interval '1 day'")
    for run in runs:
        signal(database, run, "paid")
    database.until("select count(*) > 0 from currant.delayed where kind = 'release'")
    # Whoever has the right code is only slow: nobody has to be told.
    assert not database.value(
        "select count(*) from currant.workflows where blocked_reason is not null"
    )

    new.thaw()
    leave(old)

    for run in runs:
        assert len(until_it_has_ended(database, run)) == 4
    assert lost_attempts(database) == 0


def test_a_function_that_only_new_code_has_waits_for_it(
    database: Database, start: StartProcess
) -> None:
    old = start(app=OLD)
    database.rows(
        """
        select currant.register_functions('[
            {"name": "refund", "kind": "workflow", "queue": "work"},
            {"name": "insure", "kind": "task", "queue": "work"}
        ]')
        """
    )
    workflow, task = enqueue(database, "refund", "a"), enqueue(database, "insure", "b")
    until_it_waits_for(database, workflow, "a worker that knows the workflow refund")
    until_it_waits_for(database, task, "a worker that knows the task insure")
    known = enqueue(database, "do", "it")

    assert old.process.poll() is None
    start(app=NEW)

    assert until_it_has_ended(database, workflow) == "insure a"
    assert until_it_has_ended(database, task) == "insure b"
    assert database.rows("select distinct attempt from currant.outcomes") == [(1,)]
    assert until_it_has_ended(database, known) == "it"


def test_a_run_that_the_code_cannot_follow_waits_for_code_that_can(
    database: Database, start: StartProcess, cache: dict[str, str]
) -> None:
    old = start(app=OLD, **cache)
    unmarked, marked = enqueue(database, "parcel", "a"), enqueue(database, "parcel", "b")
    until_it_waits_for(database, unmarked, "signal paid")
    until_it_waits_for(database, marked, "signal paid")
    leave(old)
    new = start(app=NEW, **cache)
    signal(database, marked, "hello")
    database.until("select true from currant.history_entries where kind = 'version'")
    fresh = enqueue(database, "parcel", "c")
    until_it_waits_for(database, fresh, "signal paid")
    leave(new)

    bold = start(app=BOLD, **cache)
    for run in (unmarked, marked, fresh):
        signal(database, run, "paid")

    until_it_waits_for(database, unmarked, "does not follow its history at event 2")
    until_it_waits_for(database, marked, "this run follows version 1 of the change")
    assert until_it_has_ended(database, fresh) == ["weigh c", "pack c", "insure c", "send c boldly"]
    assert markers(database, fresh) == {"weigh": 2, "insure": 3}
    leave(bold)
    start(app=NEW, **cache)
    assert until_it_has_ended(database, unmarked) == ["pack a", "insure a", "send a"]
    assert until_it_has_ended(database, marked) == ["pack b", "insure b", "send b"]
    assert lost_attempts(database) == 0


def test_children_are_run_by_the_code_that_is_there_when_they_begin(
    database: Database, start: StartProcess, cache: dict[str, str]
) -> None:
    old = start(app=OLD, **cache)
    parent = enqueue(database, "tour", ["x", "y"])
    signal(database, parent, "next")
    first = child(database, parent)
    until_it_waits_for(database, first, "signal printed")
    start(app=NEW, **cache)
    leave(old)

    signal(database, first, "printed")
    until_it_waits_for(database, parent, "signal next")
    signal(database, parent, "next")
    second = child(database, parent, first)
    signal(database, second, "printed")

    assert until_it_has_ended(database, parent) == ["label x by the old", "label y by the new"]
    assert markers(database, first) == {"print": 1}
    assert markers(database, second) == {"print": 2}
    assert lost_attempts(database) == 0


def test_a_run_that_continues_as_new_begins_without_markers(
    database: Database, start: StartProcess, cache: dict[str, str]
) -> None:
    old = start(app=OLD, **cache)
    run = enqueue(database, "rounds", 3, [])
    until_it_waits_for(database, run, "signal round")
    signal(database, run, "round")
    database.until("select true from currant.workflows where first_event > 1")
    until_it_waits_for(database, run, "signal round")
    start(app=NEW, **cache)
    leave(old)

    signal(database, run, "round")
    signal(database, run, "round")

    assert until_it_has_ended(database, run) == ["old round", "old round", "new round"]
    assert markers(database, run) == {"round": 2}
    assert lost_attempts(database) == 0


def child(database: Database, parent: object, *known: object) -> Any:
    """The one open child of a run, once it is there."""
    return database.until(
        "select id from currant.open_executions"
        " where parent_id = %s and kind = 'workflow' and id <> all (%s::uuid[])",
        parent,
        list(known),
    )
