"""The shop's tests: its workflows run as they are, what they would do to the world is replaced.

    pytest examples/test_shop.py

The database is a new one for each test, with Currant's schema and the shop's tables in it, so that
what works on tables need not be replaced.
"""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from currant import ExecutionFailed
from currant.testing import Environment
from examples.shop import Decision, Line, approve_refund, charge_card, process_order, send_email

TEA = Line("tea", 2, 450)
POT = Line("pot", 1, 2500)


@pytest.fixture
def shop(currant_db: str) -> Iterator[psycopg.Connection[Any]]:
    """The shop's tables."""
    with psycopg.connect(currant_db, autocommit=True) as connection:
        connection.execute((Path(__file__).parent / "shop.sql").read_bytes())
        yield connection


@pytest.fixture
def mails(currant_worker: Environment) -> list[tuple[str, str]]:
    """Recipient and subject of every mail, instead of a mail server."""
    sent: list[tuple[str, str]] = []

    def deliver(to: str, subject: str, body: str) -> str:
        sent.append((to, subject))
        return f"<{len(sent)}@test>"

    currant_worker.replace(send_email, deliver)
    return sent


def on_hand(shop: psycopg.Connection[Any]) -> dict[str, int]:
    return dict(shop.execute("select sku, on_hand from shop.stock").fetchall())


def payments(shop: psycopg.Connection[Any]) -> list[tuple[str, int]]:
    return shop.execute("select reference, amount from shop.payments").fetchall()


def test_order_is_reserved_paid_and_packed(
    currant_worker: Environment, shop: psycopg.Connection[Any], mails: list[tuple[str, str]]
) -> None:
    result = currant_worker.run_sync(process_order, "o1", "ada@example.com", "tok", [TEA, POT])

    assert (result["order_id"], result["payment"]) == ("o1", "o1")
    assert on_hand(shop) == {"tea": 498, "pot": 199, "cup": 400}
    assert payments(shop) == [("o1", 3400)]
    assert sorted(mails) == [
        ("ada@example.com", "Receipt for o1"),
        ("warehouse@example.com", "Pack o1"),
    ]


def test_nothing_is_paid_for_what_is_not_there(
    currant_worker: Environment, shop: psycopg.Connection[Any], mails: list[tuple[str, str]]
) -> None:
    with pytest.raises(ExecutionFailed, match="fewer than 501 of tea"):
        currant_worker.run_sync(
            process_order, "o1", "ada@example.com", "tok", [Line("tea", 501, 450)]
        )

    assert (payments(shop), mails) == ([], [])


def test_mail_server_that_puts_off_is_asked_again(
    currant_worker: Environment, shop: psycopg.Connection[Any]
) -> None:
    def put_off(to: str, subject: str, body: str) -> str:
        if len(currant_worker.calls(send_email)) < 5:
            raise ConnectionError("450 later, please")
        return "<1@test>"

    currant_worker.replace(send_email, put_off)

    assert currant_worker.run_sync(send_email, "ada@example.com", "hello", "") == "<1@test>"

    assert len(currant_worker.calls(send_email)) == 5


def test_refund_waits_for_its_decision(
    currant_worker: Environment, shop: psycopg.Connection[Any]
) -> None:
    week = timedelta(days=7)
    handle = approve_refund.queue_sync("o1", 900, week.total_seconds())
    currant_worker.skip_sync(week - timedelta(seconds=1))

    handle.signal_sync("decision", Decision(approved=True, by="grace"))

    assert currant_worker.result_sync(handle) == "approved by grace"
    assert payments(shop) == [("refund of o1", -900)]


def test_rejected_refund_moves_no_money(currant_worker: Environment) -> None:
    handle = approve_refund.queue_sync("o1", 900, 3600)
    handle.signal_sync("decision", Decision(approved=False, by="grace"))

    assert currant_worker.result_sync(handle) == "rejected by grace"

    assert currant_worker.calls(charge_card) == []


def test_refund_that_nobody_decides(currant_worker: Environment) -> None:
    before = currant_worker.now()

    assert currant_worker.run_sync(approve_refund, "o1", 900, 3600) == "nobody decided"

    assert currant_worker.now() == before + timedelta(hours=1)
