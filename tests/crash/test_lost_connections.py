"""The database goes away under a running worker: one connection, all of them, the whole server."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.concurrency.invariants import ALWAYS
from tests.crash.conftest import MakeGate, StartProcess
from tests.support.fixtures import DurableServer
from tests.support.worker_database import Database, until
from tests.support.worker_gates import Gate
from tests.support.worker_process import WorkerProcess
from tests.support.worker_proxy import Proxy

ENDED = "select count(*) = (select count(*) from currant.executions) from currant.outcomes"
ACT = (
    "select currant.enqueue('act', jsonb_build_object('name', %s::text, 'gate', %s::int),"
    """ '{"queue": "work", "retry_delay": 0}')"""
)
PARKED = "select true from currant.execution_status where waits_for like '%%signal go%%'"
OF_WORKER = """
    select pid, query from pg_stat_activity
    where application_name = 'currant worker' and datname = current_database()
"""


def cut(database: Database, pid: int) -> None:
    database.rows("select pg_terminate_backend(%s, 10000)", pid)


def test_each_connection_of_a_worker_is_made_again(
    database: Database, gate: MakeGate, start: StartProcess
) -> None:
    in_task = gate()
    in_task.close()
    worker = start(CURRANT_WORKER_HEARTBEAT_TIMEOUT="10")
    held = database.value(ACT, "held", in_task.key)
    in_task.wait_for_somebody()

    connections = database.until(
        f"select array_agg(pid) from ({OF_WORKER}) as o having count(*) >= 3"
    )
    for pid in connections:
        cut(database, pid)
        database.until(
            f"select count(*) >= 3 and not %s = any (array_agg(pid)) from ({OF_WORKER}) as o", pid
        )
        other = database.value(ACT, f"after {pid}", 0)
        database.until("select true from currant.outcomes where execution_id = %s", other)
    in_task.open()

    database.until(ENDED)
    assert database.value("select currant.result(%s)", held) == "held done at attempt 1"
    assert database.rows("select * from currant.attempts") == []
    assert database.value("select count(*) from currant.workers") == 1
    assert worker.lines("database connection lost")


@pytest.fixture
def proxy(database_url: str, tmp_path: Path) -> Iterator[Proxy]:
    """A way to the test's database that can be cut."""
    with tempfile.TemporaryDirectory() as directory:  # a socket's path has to be short
        proxy = Proxy(database_url, Path(directory))
        yield proxy
        proxy.close()


@pytest.mark.parametrize("is_committed", [False, True], ids=["rolled back", "committed"])
@pytest.mark.parametrize("table", ["leases", "outcomes"])
def test_a_connection_lost_within_a_commit_loses_and_repeats_nothing(
    database: Database,
    gate: MakeGate,
    start: StartProcess,
    proxy: Proxy,
    table: str,
    is_committed: bool,
) -> None:
    """The worker cannot know whether its claim or its completion was stored."""
    way = gate()
    way.at_insert(table, at_commit=True)
    worker = start(CURRANT_WORKER_HEARTBEAT_TIMEOUT="10", CURRANT_DATABASE_URL=proxy.url)
    way.close()
    execution = database.value(ACT, "it", 0)
    way.wait_for_somebody()

    if is_committed:
        proxy.cut()
        until(lambda: worker.lines("database connection lost"))
        way.open()
    else:
        way.break_off()

    database.until(ENDED)
    assert database.value("select currant.result(%s)", execution) == "it done at attempt 1"
    assert database.value("select count(*) from effects") == 2
    assert database.rows("select * from currant.attempts") == []
    until(lambda: worker.lines("completed act"))
    assert len(worker.lines("completed act")) == 1


def test_a_connection_lost_within_an_activations_commit(
    database: Database, gate: MakeGate, start: StartProcess
) -> None:
    at_event = gate()
    at_event.at_insert("history_entries", "new.event in (1, 3) and new.position = 0")
    start(CURRANT_WORKER_HEARTBEAT_TIMEOUT="10")
    at_event.close()
    workflow = database.value("""select currant.enqueue('sum_up', '{"numbers": [1, 2, 3]}')""")
    for event in (1, 3):
        at_event.wait_for_somebody()
        at_event.break_off()
        if event == 1:
            at_event.close()

    database.until(ENDED)
    assert database.value("select currant.result(%s)", workflow) == 6
    assert database.value("select count(*) from effects") == 3
    assert database.rows("select * from currant.attempts") == []


@pytest.mark.parametrize("is_committed", [False, True], ids=["rolled back", "committed"])
@pytest.mark.parametrize("event", [2, 4], ids=["middle", "last"])
def test_a_connection_lost_within_a_step_taken_ahead(
    database: Database,
    gate: MakeGate,
    start: StartProcess,
    proxy: Proxy,
    event: int,
    is_committed: bool,
) -> None:
    """The worker cannot know whether its completion, and the task that it leased, were stored."""
    at_event = gate()
    at_event.at_insert(
        "history_entries", f"new.event = {event} and new.position = 0", at_commit=True
    )
    worker = start(CURRANT_WORKER_HEARTBEAT_TIMEOUT="10", CURRANT_DATABASE_URL=proxy.url)
    at_event.close()
    workflow = database.value("""select currant.enqueue('sum_up', '{"numbers": [1, 2, 3]}')""")
    at_event.wait_for_somebody()
    # Its own event is on no other way.
    assert database.value("select count(*) from currant.leases where is_workflow") == 0

    if is_committed:
        proxy.cut()
        until(lambda: worker.lines("database connection lost"))
        at_event.open()
    else:
        at_event.break_off()

    database.until(ENDED)
    assert database.value("select currant.result(%s)", workflow) == 6
    assert database.value("select count(*) from effects") == 3
    assert database.rows("select * from currant.attempts") == []
    until(lambda: len(worker.lines("completed add")) >= 3)
    assert len(worker.lines("completed add")) == 3


# --- The server


@pytest.fixture
def durable(durable_server: DurableServer) -> Iterator[Database]:
    """The database of a server that can be killed."""
    database = Database(durable_server.database_url)
    database.rows("create table effects (name text, attempt integer)")
    yield database
    with contextlib.suppress(psycopg.Error):
        database.close()


@pytest.mark.parametrize("how", ["restarted", "killed"])
def test_a_server_that_goes_down_and_comes_back(
    durable_server: DurableServer, durable: Database, tmp_path: Path, how: str
) -> None:
    gate = Gate(durable)
    gate.close()
    log = tmp_path / "worker.log"
    worker = WorkerProcess(durable, log, "tests.apps.effects", "-q", "work")
    try:
        # Some have ended, one is in the middle, one is delayed, one workflow is parked.
        done = durable.value(ACT, "done", 0)
        durable.until("select true from currant.outcomes where execution_id = %s", done)
        held = durable.value(ACT, "held", gate.key)
        gate.wait_for_somebody()
        workflow = durable.value("""select currant.enqueue('wait_and_act', '{"name": "flow"}')""")
        durable.until(
            "select true from currant.execution_status where waits_for like '%%signal go%%'"
        )

        if how == "killed":
            durable_server.kill()
        else:
            durable_server.stop()
        until(lambda: worker.lines("database connection lost"))
        durable_server.start()

        database = Database(durable_server.database_url)
        database.rows("""select currant.signal(%s, 'go', '"on"')""", workflow)
        late = database.value(ACT, "late", 0)
        database.until(ENDED)
        for execution, name in [(done, "done"), (late, "late")]:
            assert database.value("select currant.result(%s)", execution).startswith(name)
        # Its own connection to the database broke, so it failed and was tried again.
        assert database.value("select currant.result(%s)", held) == "held done at attempt 2"
        assert database.value("select currant.result(%s)", workflow) == [
            "flow before",
            "flow on",
        ]
        assert database.value("select count(*) from effects where name like 'flow %%'") == 2
        for sentence, contradiction in ALWAYS.items():
            assert database.rows(contradiction) == [], sentence
        worker.terminate()
        assert worker.wait() == 0
        assert database.value("select count(*) from currant.workers") == 0
        database.close()
    finally:
        gate.remove()
        worker.clean_up()
        print(worker.log())


def test_what_ends_while_the_server_is_away_is_reported_afterwards(
    durable_server: DurableServer, durable: Database, tmp_path: Path
) -> None:
    files = [tmp_path / f"file-{number}" for number in range(5)]
    worker = WorkerProcess(durable, tmp_path / "worker.log", "tests.apps.files", "-q", "work")
    try:
        executions = [
            durable.value(
                "select currant.enqueue('until_file', jsonb_build_object('path', %s::text))",
                str(file),
            )
            for file in files
        ]
        until(lambda: len(list(tmp_path.glob("*.begun.1"))) == 5)

        durable_server.stop()
        for file in files:
            file.touch()
        until(lambda: len(list(tmp_path.glob("*.ended.1"))) == 5)
        durable_server.start()

        database = Database(durable_server.database_url)
        database.until(ENDED)
        for execution in executions:
            assert database.value("select currant.result(%s)", execution) == 1
        assert database.rows("select * from currant.attempts") == []
        database.close()
    finally:
        worker.clean_up()
        print(worker.log())
