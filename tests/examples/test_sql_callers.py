"""Those who enqueue: plain SQL, callers with a transaction of their own, and clients that die."""

import asyncio
import shutil
import signal
from uuid import uuid4

import psycopg

from currant import Client, embedded
from tests.examples.shell import Shell
from tests.examples.silence import silent_server

_COUNT = "select count(*) from currant.execution_status"
_ENQUEUE = "select currant.enqueue('send_email', '{\"to\": \"sql@example.com\"}', %s)"


def test_psql_has_a_python_task_done(shell: Shell) -> None:
    shell.add("quickstart/app.py")
    psql = shutil.which("psql") or embedded.installation().program("psql")
    worker = shell.worker("-q", "emails")
    shell.until("select exists (select from currant.worker_heartbeats)")
    shell.directory.joinpath("enqueue.sql").write_text(
        "select currant.enqueue('send_email',"
        """ '{"to": "sql@example.com", "subject": "Hello", "body": "from psql"}')"""
    )

    printed = shell.run(f'{psql} "$CURRANT_DATABASE_URL" -XqAt --file enqueue.sql')

    assert shell.ended(printed.strip()) == "completed"
    assert "Sending email to sql@example.com" in worker.output


def test_rolled_back_transaction_enqueues_nothing(shell: Shell, url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(_ENQUEUE, ['{"queue": "emails"}'])
        connection.rollback()

    assert shell.one(_COUNT) == 0


async def test_rolled_back_transaction_of_the_caller_enqueues_nothing(
    shell: Shell, client: Client, url: str
) -> None:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        await client.enqueue("send_email", {}, {"queue": "emails"}, connection=connection)
        await connection.rollback()
        await client.enqueue("send_email", {}, {"queue": "others"}, connection=connection)
        await connection.commit()

    assert shell.one("select string_agg(queue, ',') from currant.execution_status") == "others"


async def test_client_killed_before_the_answer_repeats_without_a_second_execution(
    shell: Shell, url: str
) -> None:
    execution = uuid4()
    shell.directory.joinpath("enqueue.py").write_text(
        "import sys\n"
        "from currant import Client\n"
        "client = Client(sys.argv[1])\n"
        "options = {'id': sys.argv[2], 'queue': 'emails'}\n"
        "print(client.enqueue_sync('send_email', {}, options))\n"
    )

    async def kill() -> None:
        process.send(signal.SIGKILL)
        await asyncio.to_thread(process.wait)

    async with silent_server(shell, url, kill) as (silent_url, is_done):
        process = shell.start("python", "enqueue.py", silent_url, str(execution))
        await asyncio.wait_for(is_done.wait(), 20)
    assert process.output == ""
    assert shell.one(_COUNT) == 1

    again = await asyncio.to_thread(shell.run, f"python enqueue.py '{url}' {execution}")

    assert again.strip() == str(execution)
    assert shell.one(_COUNT) == 1


async def test_client_that_loses_the_answer_repeats_by_itself(shell: Shell, url: str) -> None:
    async def nothing() -> None:
        return None

    async with (
        silent_server(shell, url, nothing) as (silent_url, is_done),
        Client(silent_url) as client,
    ):
        execution = await client.enqueue("send_email", {}, {"queue": "emails"})

    assert is_done.is_set()
    assert shell.one("select array_agg(id::text) from currant.execution_status") == [execution]
