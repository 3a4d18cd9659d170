"""Of two workers one dies or falls asleep; the other does everything, and nothing twice."""

from __future__ import annotations

import time

from tests.crash.conftest import MakeGate, StartProcess
from tests.support.worker_database import Database
from tests.support.worker_process import HEARTBEAT_TIMEOUT

ENDED = "select count(*) = (select count(*) from currant.executions) from currant.outcomes"


def test_kill_9_under_a_hundred_tasks_and_thirty_workflows(
    database: Database, start: StartProcess
) -> None:
    victim, survivor = start(), start()
    database.rows(
        "select currant.enqueue_many('act_once', array("
        "    select jsonb_build_object('name', 'task ' || n) from generate_series(1, 100) as n))"
    )
    workflows = [
        row[0]
        for row in database.rows(
            "select currant.enqueue_many('three_steps', array("
            "    select jsonb_build_object('name', 'flow ' || n) from generate_series(1, 30) as n))"
        )
    ]
    database.until(
        "select count(*) > 20 and exists (select from currant.leases where worker_id = %s)"
        " from currant.outcomes",
        victim.id,
    )

    victim.kill()
    killed_at = time.monotonic()
    assert not database.value(ENDED)
    database.until(ENDED)

    assert time.monotonic() - killed_at < HEARTBEAT_TIMEOUT + 5
    statuses = database.rows("select status, count(*) from currant.outcomes group by 1")
    # 100 tasks, 30 workflows and their 90 steps.
    assert statuses == [("completed", 220)]
    names = [f"task {n}" for n in range(1, 101)]
    names += [f"flow {n}/{step}" for n in range(1, 31) for step in (1, 2, 3)]
    assert sorted(row.name for row in database.rows("select name from effects")) == sorted(names)
    for workflow in workflows:
        assert database.value("select jsonb_array_length(currant.result(%s))", workflow) == 3
    assert survivor.process.poll() is None


def test_a_worker_that_slept_through_its_heartbeats_begins_anew(
    database: Database, gate: MakeGate, start: StartProcess
) -> None:
    in_task = gate()
    in_task.close()
    sleeper = start()
    execution = database.value(
        "select currant.enqueue('act', jsonb_build_object('name', 'it', 'gate', %s::int))",
        in_task.key,
    )
    in_task.wait_for_somebody()

    sleeper.freeze()
    start("-q", "nothing of it")
    database.until("select true from currant.workers where died_at is not null")
    database.until("select true from currant.attempts")
    assert not database.value("select true from currant.outcomes")
    sleeper.thaw()
    anew = database.until(
        "select id from currant.workers where pid = %s and died_at is null", sleeper.pid
    )
    in_task.open()

    database.until(ENDED)
    assert anew != sleeper.id
    assert database.value("select currant.result(%s)", execution) == "it done at attempt 2"
    assert database.value("select worker_id from currant.outcomes") == anew
    assert sleeper.lines(f"worker {sleeper.id} was declared dead")
    sleeper.terminate()
    assert sleeper.wait() == 0


def test_a_late_completion_is_refused(
    database: Database, gate: MakeGate, start: StartProcess
) -> None:
    """It has the completion in its hands when it falls asleep; another has run the task since."""
    at_outcome = gate()
    in_task = gate()
    in_task.close()
    sleeper = start()
    execution = database.value(
        "select currant.enqueue('act', jsonb_build_object('name', 'it', 'gate', %s::int))",
        in_task.key,
    )
    in_task.wait_for_somebody()
    at_outcome.at_insert("outcomes")
    at_outcome.close()
    in_task.open()
    at_outcome.wait_for_somebody()
    sleeper.freeze()
    # As if it had never arrived: the worker will send it again when it wakes.
    at_outcome.break_off()

    start()
    database.until(ENDED)
    assert database.value("select currant.result(%s)", execution) == "it done at attempt 2"
    sleeper.thaw()

    database.until(
        "select true from currant.workers where pid = %s and died_at is null", sleeper.pid
    )
    database.until("select count(*) = 2 from currant.worker_heartbeats where is_alive")
    assert database.value("select currant.result(%s)", execution) == "it done at attempt 2"
    assert database.value("select count(*) from currant.outcomes") == 1
    assert sleeper.process.poll() is None
    assert not sleeper.lines("completed act")
