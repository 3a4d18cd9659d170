"""A worker is killed with its hands full: the other one finishes everything, and nothing twice."""

import signal
import time

from currant import Client
from tests.examples.shell import Shell

_HEARTBEAT_TIMEOUT = 2.0
_STARTS = "create table starts (execution_id uuid, attempt integer, pid integer)"
# What a start should be: one for each attempt.
_STARTED_TWICE = "select count(*) - count(distinct (execution_id, attempt)) from starts"
_HELD = """
    select count(*) from currant.execution_status
    where status = 'running'
    and worker_id = (select worker_id from currant.worker_heartbeats where pid = %s)
"""


async def test_killed_worker_costs_a_heartbeat_timeout_and_nothing_else(
    shell: Shell, client: Client
) -> None:
    shell.add("failover.py")
    shell.sql.execute(_STARTS)
    shell.environment |= {
        "CURRANT_APP": "failover",
        "CURRANT_WORKER_HEARTBEAT_INTERVAL": "0.5",
        "CURRANT_WORKER_HEARTBEAT_TIMEOUT": str(_HEARTBEAT_TIMEOUT),
    }
    first, second = shell.worker(), shell.worker()
    shell.until("select count(*) = 2 from currant.worker_heartbeats")
    tasks = [await client.enqueue("work", {"n": n}) for n in range(100)]
    workflows = [await client.enqueue("three_steps", {"n": n}) for n in range(30)]

    while True:
        shell.until(_HELD.replace("count(*)", "count(*) >= 5"), first.pid)
        # Stopped, so that it cannot finish anything between the look and the kill.
        first.send(signal.SIGSTOP)
        if shell.one(_HELD, first.pid) >= 5:
            break
        first.send(signal.SIGCONT)
    first.send(signal.SIGKILL)
    killed_at = time.monotonic()
    results = [await one.result(timeout=30) for one in [*tasks, *workflows]]
    took = time.monotonic() - killed_at

    assert results == [*range(100), *(f"{n}abc" for n in range(30))]
    assert took < _HEARTBEAT_TIMEOUT + 5
    lost = shell.one("select count(*) from currant.attempts where error ->> 'type' = 'WorkerLost'")
    assert lost > 0
    assert shell.one("select count(*) from currant.outcomes") == 100 + 30 + 90
    assert shell.one(_STARTED_TWICE) == 0
    # What the first worker had completed was not begun again by the second.
    begun_again = shell.one(
        "select count(distinct s.execution_id) from starts as s where s.attempt > 1"
        " and s.execution_id not in (select a.execution_id from currant.attempts as a)"
    )
    assert begun_again == 0
    assert second.stop() == 0
