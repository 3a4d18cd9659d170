"""The quick start, word for word: users' files, users' commands."""

import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.examples.shell import Shell


@pytest.fixture
def empty_shell(tmp_path: Path, empty_database_url: str) -> Iterator[Shell]:
    """A shell on a database to which nothing is deployed."""
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        shell = Shell(tmp_path, empty_database_url, connection)
        yield shell
        shell.stop_all()


def test_quick_start_runs_as_it_stands(empty_shell: Shell) -> None:
    shell = empty_shell
    shell.add("quickstart/app.py", "quickstart/client.py")

    shell.run("currant migrate")
    printed = shell.run("python client.py")
    task = re.search(r"Task enqueued: (\S+)", printed)
    workflow = re.search(r"Workflow enqueued: (\S+)", printed)
    assert task is not None
    assert workflow is not None
    pending = shell.run("currant list --queue emails --status pending")
    emails = shell.worker("-q", "emails")
    orders = shell.worker("-q", "orders")
    ends = [shell.ended(task[1]), shell.ended(workflow[1])]

    assert task[1] in pending
    assert workflow[1] not in pending
    assert ends == ["completed", "completed"]
    assert "Sending email to user@example.com" in emails.output
    assert "Charging $5000" in orders.output
    assert "Sending receipt for $5000 to customer@example.com" in orders.output
    assert "transaction_id" in shell.run(f"currant status {workflow[1]}")
    assert shell.run("currant list").count("completed") == 4
    assert shell.run("currant list --limit 50").count("completed") == 4
    assert (emails.stop(), orders.stop()) == (0, 0)


def test_one_worker_serves_several_queues(shell: Shell) -> None:
    shell.add("quickstart/app.py", "quickstart/client.py")

    shell.worker("-q", "emails", "-q", "orders")
    printed = shell.run("python client.py")

    ids = re.findall(r"enqueued: (\S+)", printed)
    assert [shell.ended(one) for one in ids] == ["completed", "completed"]


def test_what_was_cancelled_never_runs(shell: Shell) -> None:
    shell.add("quickstart/app.py", "quickstart/client.py")
    task, workflow = re.findall(r"enqueued: (\S+)", shell.run("python client.py"))

    shell.run(f"currant cancel {task}")
    worker = shell.worker("-q", "emails", "-q", "orders")

    assert shell.ended(workflow) == "completed"
    assert shell.status(task) == "cancelled"
    assert "Sending email" not in worker.output
