"""The worker in bash: it lives by the SQL functions alone, so these are enough for any language."""

import os
import signal
from pathlib import Path

import pytest

from currant import Client, Handle
from tests.examples.shell import ROOT, Process, Shell, wait_until


@pytest.fixture
def worker(shell: Shell) -> Process:
    """A running worker."""
    process = shell.start(
        ROOT / "examples/worker.sh",
        CURRANT_WORKER_POLL_INTERVAL="0.1",
        CURRANT_WORKER_HEARTBEAT_INTERVAL="0.2",
    )
    shell.until("select exists (select from currant.worker_heartbeats)")
    return process


async def checksum(client: Client, path: Path) -> Handle[str]:
    """Ask for a checksum."""
    return await client.enqueue("checksum", {"path": str(path)})


async def test_task_is_completed(worker: Process, client: Client, tmp_path: Path) -> None:
    path = tmp_path / "it's a \\ name"
    path.write_text("abc")

    result = await (await checksum(client, path)).result(timeout=10)

    assert result.startswith("ba7816bf8f01cfea414140de5dae2223")


async def test_failed_attempt_is_tried_again(
    worker: Process, client: Client, shell: Shell, tmp_path: Path
) -> None:
    path = tmp_path / "not there yet"

    execution = await checksum(client, path)
    shell.until("select jsonb_array_length(attempts) > 0 from currant.status(%s)", execution)
    path.write_text("abc")
    await execution.result(timeout=10)

    error = shell.one("select attempts -> 0 -> 'error' from currant.status(%s)", execution)
    assert error["type"] == "ShellError"
    assert "No such file" in error["message"]
    assert (await execution.state()).attempt > 1


async def test_lost_lease_stops_the_task(
    worker: Process, client: Client, shell: Shell, tmp_path: Path
) -> None:
    pipe = tmp_path / "pipe"  # reading it takes until somebody writes
    os.mkfifo(pipe)

    execution = await checksum(client, pipe)
    shell.until("select exists (select from currant.leases where execution_id = %s)", execution)
    # Somebody gives the lease back; the worker hears of it with its next heartbeat.
    shell.one(
        "select currant.release(worker_id, execution_id, token) from currant.leases"
        " where execution_id = %s",
        execution,
    )
    wait_until(lambda: f"lost {execution}" in worker.output, "the worker to hear of it")
    pipe.unlink()
    pipe.write_text("abc")

    assert (await execution.result(timeout=10)).startswith("ba7816bf")


async def test_cancelled_task_is_stopped(
    worker: Process, client: Client, shell: Shell, tmp_path: Path
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    execution = await checksum(client, pipe)
    shell.until("select exists (select from currant.leases where execution_id = %s)", execution)
    await execution.cancel()

    assert shell.ended(execution) == "cancelled"


async def test_worker_goes_in_order(worker: Process, shell: Shell) -> None:
    worker.send(signal.SIGTERM)

    assert worker.wait() == 0
    assert shell.one("select count(*) from currant.worker_heartbeats where is_alive") == 0


async def test_worker_that_was_declared_dead_ends(
    worker: Process, client: Client, shell: Shell
) -> None:
    worker.send(signal.SIGSTOP)
    shell.sql.execute("update currant.workers set died_at = now()")
    worker.send(signal.SIGCONT)

    assert worker.wait() != 0
    assert "declared dead" in worker.output
