"""kill -9 of a worker at every boundary of a workflow's life."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.crash.conftest import MakeGate, StartProcess
from tests.support.worker_database import Database, until

ENDED = "select count(*) = (select count(*) from currant.executions) from currant.outcomes"
SUM = """select currant.enqueue('sum_up', '{"numbers": [1, 2, 3]}', '{"queue": "work"}')"""
WAIT = """select currant.enqueue('wait_and_act', '{"name": "it"}', '{"queue": "work"}')"""


@pytest.fixture(autouse=True)
def _known(database: Database) -> None:
    # What a worker would register, so that plain SQL can enqueue before one is there.
    database.rows(
        """
        select currant.register_functions('[
            {"name": "sum_up", "kind": "workflow", "queue": "work"},
            {"name": "wait_and_act", "kind": "workflow", "queue": "work"}
        ]')
        """
    )


def events(database: Database, workflow: object) -> list[str]:
    rows = database.rows("select kind, position from currant.history(%s)", workflow)
    return [row.kind for row in rows if row.position == 0]


def effects(database: Database) -> list[Any]:
    return [row.name for row in database.rows("select name from effects order by name")]


SUMMED = ["started", "task_completed", "task_completed", "task_completed"]


@pytest.mark.parametrize("step", [1, 2, 4], ids=["first", "middle", "last"])
@pytest.mark.parametrize("is_committed", [False, True], ids=["rolled back", "committed"])
def test_while_an_activation_commits(
    database: Database, gate: MakeGate, start: StartProcess, step: int, is_committed: bool
) -> None:
    at_event = gate()
    at_event.at_insert("history_entries", f"new.event = {step} and new.position = 0")
    worker = start()
    at_event.close()
    workflow = database.value(SUM)
    at_event.wait_for_somebody()

    worker.kill()
    if is_committed:
        at_event.open()
    else:
        at_event.break_off()
    start()

    database.until(ENDED)
    assert database.value("select currant.result(%s)", workflow) == 6
    assert events(database, workflow) == SUMMED
    assert effects(database) == ["add 1", "add 2", "add 3"]


def test_while_it_is_claimed_for_an_activation(
    database: Database, gate: MakeGate, start: StartProcess
) -> None:
    at_lease = gate()
    at_lease.at_insert("leases", "new.is_workflow", at_commit=True)
    worker = start()
    at_lease.close()
    workflow = database.value(SUM)
    at_lease.wait_for_somebody()

    worker.kill()
    at_lease.open()
    start()

    database.until(ENDED)
    assert database.value("select currant.result(%s)", workflow) == 6
    assert events(database, workflow) == SUMMED
    errors = database.rows("select execution_id, error ->> 'type' from currant.attempts")
    assert errors == [(workflow, "WorkerLost")]


@pytest.mark.parametrize("is_committed", [False, True], ids=["rolled back", "committed"])
def test_while_a_step_of_it_completes(
    database: Database, gate: MakeGate, start: StartProcess, is_committed: bool
) -> None:
    """The step's outcome, the parent's event and its wake-up come together or not at all."""
    at_inbox = gate()
    at_inbox.at_insert("inbox")
    worker = start()
    at_inbox.close()
    workflow = database.value(SUM)
    at_inbox.wait_for_somebody()

    worker.kill()
    if is_committed:
        at_inbox.open()
    else:
        at_inbox.break_off()
    start()

    database.until(ENDED)
    assert database.value("select currant.result(%s)", workflow) == 6
    assert events(database, workflow) == SUMMED
    assert effects(database) == ["add 1"] * (not is_committed) + ["add 1", "add 2", "add 3"]


def test_before_it_hears_that_the_activation_is_stored(
    database: Database, gate: MakeGate, start: StartProcess
) -> None:
    at_event = gate()
    at_event.at_insert("history_entries", "new.event = 2 and new.position = 0")
    worker = start()
    at_event.close()
    workflow = database.value(SUM)
    at_event.wait_for_somebody()

    worker.freeze()
    at_event.open()
    database.until("select true from currant.history_entries where event = 2")
    worker.kill()
    start()

    database.until(ENDED)
    assert database.value("select currant.result(%s)", workflow) == 6
    assert events(database, workflow) == SUMMED


@pytest.mark.parametrize("cache", ["1000", "0"])
def test_between_activations(database: Database, start: StartProcess, cache: str) -> None:
    """Parked, it needs no worker at all; the signal arrives while there is none."""
    worker = start(CURRANT_WORKER_WORKFLOW_CACHE=cache)
    workflow = database.value(WAIT)
    database.until(
        "select true from currant.execution_status"
        " where id = %s and waits_for like '%%signal go%%'",
        workflow,
    )

    worker.kill()
    database.rows("""select currant.signal(%s, 'go', '"on"')""", workflow)
    start(CURRANT_WORKER_WORKFLOW_CACHE=cache)

    database.until(ENDED)
    assert database.value("select currant.result(%s)", workflow) == ["it before", "it on"]
    assert events(database, workflow) == [
        "started",
        "task_completed",
        "signal_received",
        "timer_fired",
        "task_completed",
    ]
    assert effects(database) == ["it before", "it on"]
    assert database.rows("select * from currant.attempts") == []


def test_while_its_workflow_code_runs(database: Database, start: StartProcess) -> None:
    """Code that takes its worker down with it is set aside instead of taking down every worker."""
    database.rows("update currant.configuration set max_lost_activations = 2")
    database.rows(
        "select currant.register_functions("
        """'[{"name": "deadly", "kind": "workflow", "queue": "work"}]')"""
    )
    workflow = database.value("select currant.enqueue('deadly')")
    for _ in range(2):
        assert start(app="tests.apps.deadly").wait() == -9

    healthy = start(app="tests.apps.deadly")
    database.until(
        "select true from currant.execution_status where id = %s and status = 'blocked'", workflow
    )
    assert healthy.process.poll() is None
    waits_for = database.value("select waits_for from currant.execution_status")
    assert waits_for.startswith("blocked: 2 activations in a row were lost: worker ")


def test_others_go_on_beside_a_workflow_that_kills_its_workers(
    database: Database, start: StartProcess
) -> None:
    database.rows("update currant.configuration set max_lost_activations = 3")
    database.rows(
        "select currant.register_functions("
        """'[{"name": "deadly", "kind": "workflow", "queue": "work"}]')"""
    )
    poison = database.value("select currant.enqueue('deadly')")
    others = [database.value(SUM) for _ in range(20)]
    workers = [start(app="tests.apps.deadly")]

    def supervised(question: str, about: object) -> Callable[[], bool]:
        def ask() -> bool:
            if workers[-1].process.poll() is not None:
                workers.append(start(app="tests.apps.deadly"))
            return bool(database.value(question, about))

        return ask

    ended = "select count(*) = 20 from currant.outcomes where execution_id = any (%s)"
    until(supervised(ended, others), "the end of the others", patience=60)
    assert [database.value("select currant.result(%s)", other) for other in others] == [6] * 20
    blocked = "select status = 'blocked' from currant.execution_status where id = %s"
    until(supervised(blocked, poison), "the poison set aside", patience=60)
    database.value("select currant.cancel(%s)", poison)
    assert database.value("select status from currant.status(%s)", poison) == "cancelled"
