"""Signals, versions and options as the documentation shows them."""

import pytest

from currant import Client, Handle, send_signal
from tests.examples.shell import Shell


@pytest.mark.parametrize(
    ("decision", "result", "is_processed"),
    [(True, {"status": "approved"}, True), (False, {"status": "rejected"}, False)],
)
async def test_workflow_waits_for_its_signal(
    shell: Shell, client: Client, decision: bool, result: dict[str, str], is_processed: bool
) -> None:
    shell.add("advanced/signals.py")
    worker = shell.worker("--app", "signals", "-q", "approvals")
    workflow: Handle[dict[str, str]] = await client.enqueue(
        "approval_workflow", {"document_id": "d1"}, {"queue": "approvals", "kind": "workflow"}
    )
    shell.until("select status = 'suspended' from currant.execution_status where id = %s", workflow)
    payload = {"approved": decision, "approver": "user@example.com"}

    await send_signal(workflow, "approved", payload)

    assert await workflow.result(timeout=10) == result
    assert ("Processing d1" in worker.output) == is_processed


async def test_new_code_leaves_running_orders_on_their_old_path(
    shell: Shell, client: Client
) -> None:
    shell.add("advanced/version1.py", "advanced/version2.py")
    order = {"order_id": "o1", "amount": 5, "email": "a@example.com", "card_token": "tok"}
    # The first worker leaves the receipt to others: its order is half done when it stops.
    first = shell.worker("--app", "version1", "-q", "orders")
    old = await client.enqueue("process_order", order, {"queue": "orders", "kind": "workflow"})
    shell.until(
        "select exists (select from currant.execution_status"
        " where parent_id = %s and function = 'send_receipt')",
        old,
    )
    first.stop()

    second = shell.worker("--app", "version2", "-q", "orders", "-q", "receipts")
    old_result = await old.result(timeout=20)
    was_sent_for_old = "SMS" in second.output
    new = await client.enqueue(
        "process_order", order, {"queue": "orders", "kind": "workflow", "version": 2}
    )
    new_result = await new.result(timeout=20)

    assert old_result == new_result == {"order_id": "o1"}
    assert not was_sent_for_old
    assert "SMS to +44 20 7946 0000: Order confirmed!" in second.output


def test_options_of_a_call_come_before_those_of_the_function(shell: Shell) -> None:
    shell.add("advanced/options.py", "advanced/options_client.py")
    shell.worker("--app", "options", "-q", "orders")

    email, order = shell.run("python options_client.py").split()
    assert shell.ended(order) == "completed"

    placed = shell.sql.execute(
        "select queue, priority, status from currant.execution_status where id = %s", [email]
    )
    assert placed.fetchone() == ("high-priority", 10, "pending")
    timeout = shell.one(
        "select extract(epoch from timeout)::integer from currant.executions where parent_id = %s",
        order,
    )
    assert timeout == 120
