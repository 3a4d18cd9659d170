"""A small shop: what it does as tasks, and how that adds up to an order as workflows.

    currant worker --app examples.shop

The mail server is named by SHOP_SMTP (host:port); the tables are those of shop.sql.
"""

import asyncio
import os
import smtplib
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Any

import psycopg

import currant
from currant import task, wait_for_signal, workflow


@dataclass(frozen=True)
class Line:
    """A line of an order; arguments and results may be any such types."""

    sku: str
    quantity: int
    price: int


@dataclass(frozen=True)
class Decision:
    """What a person says about a refund."""

    approved: bool
    by: str


class OutOfStock(Exception):
    """There is not enough of it, and trying again would not make it more."""


# A plain function: the worker runs it in a thread. Mail servers put off what they do not know yet,
# so a failure is tried again; the delay before that doubles every time.
@task(queue="emails", retries=5, retry_delay=0.4, timeout=20)
def send_email(to: str, subject: str, body: str) -> str:
    message = EmailMessage()
    message["From"] = "shop@example.com"
    message["To"] = to
    message["Subject"] = subject
    # The execution's id is the same in every attempt, so that a repeated message is known as one.
    message["Message-ID"] = message_id = f"<{currant.task_info().id}@shop.example>"
    message.set_content(body)
    host, port = os.environ["SHOP_SMTP"].rsplit(":", 1)
    # Named, as it would ask the DNS for this machine's name otherwise.
    with smtplib.SMTP(host, int(port), "shop.example", timeout=10) as server:
        server.send_message(message)
    return message_id


# Transactional: what it writes through connection() and the fact that it is done are one commit.
# However often it is begun, it happens once.
@task(transactional=True, non_retryable=OutOfStock)
async def reserve_stock(order_id: str, sku: str, quantity: int) -> None:
    connection = currant.connection()
    taken = await connection.execute(
        "update shop.stock set on_hand = on_hand - %(quantity)s"
        " where sku = %(sku)s and on_hand >= %(quantity)s",
        {"sku": sku, "quantity": quantity},
    )
    if taken.rowcount == 0:
        raise OutOfStock(f"fewer than {quantity} of {sku}")
    await connection.execute(
        "insert into shop.reservations (order_id, sku, quantity) values (%s, %s, %s)",
        [order_id, sku, quantity],
    )


# The other way, for what lies outside of the database: a reference by which the other side knows a
# repeated request from a new one. The table stands for a card company's books.
@task(retries=3, timeout=60)
async def charge_card(reference: str, amount: int, card_token: str) -> dict[str, Any]:
    url = os.environ["CURRANT_DATABASE_URL"]
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as card_company:
        await card_company.execute(
            "insert into shop.payments as p (reference, card_token, amount) values (%s, %s, %s)"
            " on conflict (reference) do update set requests = p.requests + 1",
            [reference, card_token, amount],
        )
        await asyncio.sleep(0.8)  # it takes its time to answer
    return {"reference": reference, "amount": amount}


# A workflow is an ordinary coroutine. After a crash it goes on where it was: steps that are done
# are not done again, their results are in its history.
@workflow(queue="orders", timeout=300)
async def process_order(
    order_id: str, email: str, card_token: str, lines: list[Line]
) -> dict[str, Any]:
    async with asyncio.TaskGroup() as group:
        for line in lines:
            group.create_task(reserve_stock.run(order_id, line.sku, line.quantity))

    amount = sum(line.price * line.quantity for line in lines)
    payment = await charge_card.run(order_id, amount, card_token)

    receipt, _packing = await asyncio.gather(
        send_email.run(email, f"Receipt for {order_id}", f"{amount / 100:.2f} paid. Thank you!"),
        send_email.run("warehouse@example.com", f"Pack {order_id}", f"{len(lines)} lines"),
    )
    return {"order_id": order_id, "payment": payment["reference"], "receipt": receipt}


@workflow(queue="orders")
async def approve_refund(order_id: str, amount: int, patience: float) -> str:
    try:
        decision = await wait_for_signal("decision", timeout=patience, type=Decision)
    except TimeoutError:
        return "nobody decided"
    if not decision.approved:
        return f"rejected by {decision.by}"
    await charge_card.run(f"refund of {order_id}", -amount, "tok_refund")
    return f"approved by {decision.by}"
