"""kill -9 of a worker at every boundary of a task's life."""

from __future__ import annotations

from typing import Any

import pytest

from tests.crash.conftest import MakeGate, StartProcess
from tests.support.worker_database import Database

ENDED = "select count(*) = (select count(*) from currant.executions) from currant.outcomes"


def act(database: Database, name: str = "it", gate: int = 0, **options: object) -> Any:
    return database.value(
        "select currant.enqueue('act', jsonb_build_object('name', %s::text, 'gate', %s::int),"
        " jsonb_build_object('queue', 'work', 'retry_delay', 0, 'priority', %s::int))",
        name,
        gate,
        options.get("priority", 0),
    )


def result(database: Database, execution: object) -> object:
    return database.value("select currant.result(%s)", execution)


def effects(database: Database) -> list[tuple[str, int]]:
    return [tuple(row) for row in database.rows("select name, attempt from effects order by 2, 1")]


def lost_attempts(database: Database) -> list[str]:
    return [row[0] for row in database.rows("select error ->> 'type' from currant.attempts")]


@pytest.mark.parametrize("is_committed", [False, True], ids=["rolled back", "committed"])
def test_while_it_claims(
    database: Database, gate: MakeGate, start: StartProcess, is_committed: bool
) -> None:
    """The claim commits, or not, but its answer reaches nobody."""
    at_claim = gate()
    at_claim.at_insert("leases", at_commit=True)
    worker = start()
    at_claim.close()
    execution = act(database)
    at_claim.wait_for_somebody()

    worker.kill()
    if is_committed:
        at_claim.open()
        database.until("select true from currant.leases")
    else:
        at_claim.break_off()
    start()

    database.until(ENDED)
    attempt = 2 if is_committed else 1
    assert result(database, execution) == f"it done at attempt {attempt}"
    assert effects(database) == [("it begins", attempt), ("it ends", attempt)]
    assert lost_attempts(database) == ["WorkerLost"] * is_committed


def test_while_it_runs(database: Database, gate: MakeGate, start: StartProcess) -> None:
    in_task = gate()
    in_task.close()
    worker = start()
    execution = act(database, gate=in_task.key)
    in_task.wait_for_somebody()

    worker.kill()
    in_task.open()
    start()

    database.until(ENDED)
    assert result(database, execution) == "it done at attempt 2"
    assert effects(database) == [("it begins", 1), ("it begins", 2), ("it ends", 2)]


def test_after_it_has_run_before_its_completion_is_sent(
    database: Database, gate: MakeGate, start: StartProcess
) -> None:
    in_task, at_claim = gate(), gate()
    at_claim.at_insert("leases")
    in_task.close()
    worker = start()
    execution = act(database, gate=in_task.key)
    in_task.wait_for_somebody()
    # The worker's connection is busy with another claim, so the completion has to wait.
    at_claim.close()
    act(database, "other")
    at_claim.wait_for_somebody()
    in_task.open()
    database.until("select true from effects where name = 'it ends'")

    worker.kill()
    at_claim.break_off()
    start()

    database.until(ENDED)
    assert result(database, execution) == "it done at attempt 2"
    assert lost_attempts(database) == ["WorkerLost"]
    assert effects(database) == [
        ("it begins", 1),
        ("it ends", 1),
        ("other begins", 1),
        ("other ends", 1),
        ("it begins", 2),
        ("it ends", 2),
    ]


@pytest.mark.parametrize("is_committed", [False, True], ids=["rolled back", "committed"])
@pytest.mark.parametrize("at_commit", [False, True], ids=["writing", "committing"])
def test_while_its_completion_commits(
    database: Database, gate: MakeGate, start: StartProcess, at_commit: bool, is_committed: bool
) -> None:
    at_outcome = gate()
    at_outcome.at_insert("outcomes", at_commit=at_commit)
    worker = start()
    at_outcome.close()
    execution = act(database)
    at_outcome.wait_for_somebody()

    worker.kill()
    if is_committed:
        at_outcome.open()
    else:
        at_outcome.break_off()
    start()

    database.until(ENDED)
    attempt = 1 if is_committed else 2
    assert result(database, execution) == f"it done at attempt {attempt}"
    assert len(effects(database)) == 2 * attempt


def test_before_it_hears_that_its_completion_is_stored(
    database: Database, gate: MakeGate, start: StartProcess
) -> None:
    at_outcome = gate()
    at_outcome.at_insert("outcomes")
    worker = start()
    at_outcome.close()
    execution = act(database)
    at_outcome.wait_for_somebody()

    worker.freeze()
    at_outcome.open()
    database.until(ENDED)
    worker.kill()
    start()

    other = act(database, "other")
    database.until(ENDED)
    assert result(database, execution) == "it done at attempt 1"
    assert result(database, other) == "other done at attempt 1"
    assert len(effects(database)) == 4


@pytest.mark.parametrize("is_committed", [False, True], ids=["rolled back", "committed"])
def test_a_transactional_task_has_its_effect_once(
    database: Database, gate: MakeGate, start: StartProcess, is_committed: bool
) -> None:
    # Before its end such a transaction is undone with its connection.
    at_outcome = gate()
    at_outcome.at_insert("outcomes", at_commit=is_committed)
    worker = start()
    at_outcome.close()
    execution = database.value("""select currant.enqueue('act_once', '{"name": "it"}')""")
    at_outcome.wait_for_somebody()

    worker.kill()
    if is_committed:
        at_outcome.open()
    else:
        at_outcome.break_off()
    start()

    database.until(ENDED)
    assert result(database, execution) == "it"
    assert effects(database) == [("it", 1 if is_committed else 2)]


def test_a_task_that_kills_its_workers_is_given_up(
    database: Database, gate: MakeGate, start: StartProcess
) -> None:
    in_task = gate()
    in_task.close()
    execution = database.value(
        "select currant.enqueue('act', jsonb_build_object('name', 'it', 'gate', %s::int),"
        """ '{"queue": "work", "retries": 1, "retry_delay": 0}')""",
        in_task.key,
    )
    for _ in range(2):
        worker = start()
        in_task.wait_for_somebody()
        worker.kill()
        in_task.break_off()
        in_task.close()
    start()

    database.until(ENDED)
    state = database.rows("select status, attempt, error_message from currant.execution_status")[0]
    assert state[:2] == ("failed", 2)
    assert state.error_message.startswith(f"WorkerLost: worker {worker.id}")
    assert database.value("select count(*) from currant.attempts") == 2
    assert execution
