"""What docs/workflows.md shows is run as it shows it."""

import re
import socket

import pytest

from currant import Client, Handle
from tests.examples.shell import ROOT, Shell

_MODULE = re.compile(r"^```python\n# (\w+\.py)\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture
def page(shell: Shell) -> Shell:
    """A shell among the page's modules."""
    for name, text in _MODULE.findall((ROOT / "docs/workflows.md").read_text()):
        (shell.directory / name).write_text(text)
    return shell


def test_an_order_that_is_collected(page: Shell) -> None:
    page.worker("--app", "orders", "-q", "orders")

    assert page.run("python front_desk.py") == "cup in a box, pot in a box\n"


async def test_an_order_that_is_not_paid_and_one_that_is_cancelled(
    page: Shell, client: Client
) -> None:
    page.worker("--app", "orders", "-q", "orders")
    options = {"queue": "orders", "kind": "workflow"}
    unpaid = await client.enqueue("order", ["empty", ["cup"]], options)
    waiting: Handle[str] = await client.enqueue("order", ["ann", ["cup"]], options)

    assert await unpaid.result(timeout=20) == "not paid: no cover"
    page.until("select waits_for like '%%signal collected%%' from currant.status(%s)", waiting)
    await waiting.cancel()
    assert page.ended(waiting) == "cancelled"
    refunded = "select status from currant.execution_status where function = 'refund'"
    assert page.one(refunded) == "completed"


def test_a_meter_that_goes_on_for_ever(page: Shell) -> None:
    page.worker("--app", "meter", "-q", "meters")

    assert page.run("python readings.py") == f"{sum(range(250))}\n"
    begun = "select count(*) from currant.history_entries where kind = 'started'"
    assert page.one(begun) == 3


async def test_a_poll(page: Shell, client: Client) -> None:
    page.worker("--app", "poll", "-q", "polls")
    poll = await client.enqueue("poll", [2], {"queue": "polls", "kind": "workflow"})
    for name, yes in (("a", True), ("a", False), ("b", True)):
        await poll.signal("vote", {"by": name, "yes": yes})

    assert await poll.result(timeout=20) == f"1 of 2, counted on {socket.gethostname()}"
