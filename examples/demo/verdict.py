"""The end of the demonstration: tables of what happened, and whether it was right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from uuid import UUID

from examples.demo.display import Display
from examples.demo.mailbox import Mailbox
from examples.demo.observe import Execution, FailedAttempt, Observer, Snapshot


@dataclass(frozen=True)
class Expected:
    """What has to have happened in the end.

    Attributes:
        results: of workflows, by id, as text.
        payments: the amount for each reference.
        sold: how many of each sku.
    """

    results: Mapping[str, str]
    payments: Mapping[str, int]
    sold: Mapping[str, int]


def show_executions(
    display: Display,
    snapshot: Snapshot,
    failed: list[FailedAttempt],
    names: Mapping[UUID, str],
    labels: Mapping[str, str],
) -> None:
    """A table of what was asked for, and one of the workflows' steps.

    Args:
        labels: of executions, by id, to tell them apart.
    """
    rows, uneventful = [], []
    for one in snapshot.asked_for:
        steps = [step for step in snapshot.steps if step.parent_id == one.id]
        note = _troubles(one, steps, failed)
        if one.kind == "task" and one.status == "completed" and not note:
            uneventful.append(one)
            continue
        what = f"{one.function} {labels.get(str(one.id), '')}"
        count = str(len(steps)) if one.kind == "workflow" else ""
        tries = str(sum(step.attempt for step in steps) if steps else one.attempt)
        rows.append([what, one.status, count, tries, _seconds(one), _name(one, names), note])
    for function in dict.fromkeys(one.function for one in uneventful):
        group = [one for one in uneventful if one.function == function]
        what, tries = f"{len(group)} more of {function}", str(len(group))
        rows.append([what, "completed", "", tries, _middle(group), "", ""])
    display.table(
        "What was asked for",
        ["what", "status", ">steps", ">tries", ">took", "ended on", "note"],
        rows,
    )
    rows = []
    for function in dict.fromkeys(step.function for step in snapshot.steps):
        steps = [step for step in snapshot.steps if step.function == function]
        done = sum(step.status == "completed" for step in steps)
        tries = str(sum(step.attempt for step in steps))
        rows.append([function, str(len(steps)), str(done), tries, _middle(steps)])
    display.table(
        "Steps of the workflows",
        ["function", ">steps", ">completed", ">tries", ">took (median)"],
        rows,
    )


def show_recovered(
    display: Display,
    snapshot: Snapshot,
    lost: list[FailedAttempt],
    names: Mapping[UUID, str],
    labels: Mapping[str, str],
) -> None:
    """A table of what the killed worker held, and what became of it."""
    rows = []
    for attempt in lost:
        one = snapshot.of(attempt.execution_id)
        label = labels.get(str(one.parent_id or one.id), "")
        again = f"attempt {one.attempt}" if one.kind == "task" else "replayed"
        then = f"{one.status}, {again}"
        lost_with = names.get(attempt.worker_id, "?")
        rows.append([f"{one.function} {label}", lost_with, then, _name(one, names)])
    display.table("Recovered", ["what", "lost with", "then", "on"], rows)


async def check(
    snapshot: Snapshot,
    lost: list[FailedAttempt],
    observer: Observer,
    mailbox: Mailbox,
    expected: Expected,
) -> list[tuple[bool, str]]:
    """Each thing that has to be true, and whether it is."""
    executions = snapshot.executions
    completed = sum(one.status == "completed" for one in executions)
    results = {
        key: str((await observer.rows(f"select currant.result('{key}')"))[0][0])
        for key in expected.results
        if snapshot.of(key).status == "completed"
    }
    payments = {
        reference: (amount, requests)
        for reference, amount, requests in await observer.rows(
            "select reference, amount, requests from shop.payments"
        )
    }
    repeated = sum(requests - 1 for _, requests in payments.values())
    sold = dict(
        await observer.rows("select sku, sum(quantity)::integer from shop.reservations group by 1")
    )
    gone = dict(
        await observer.rows(
            "select sku, case sku when 'tea' then 500 when 'pot' then 200 else 400 end - on_hand"
            " from shop.stock"
        )
    )
    emails = {f"<{one.id}@shop.example>" for one in executions if one.function == "send_email"}
    twice = sum(count - 1 for count in mailbox.received.values())
    recovered = all(snapshot.of(one.execution_id).status == "completed" for one in lost)
    return [
        (completed == len(executions), f"{completed} of {len(executions)} executions completed"),
        (bool(lost) and recovered, f"{len(lost)} lost with the killed worker, all recovered"),
        (results == expected.results, "the workflows returned what they should"),
        (
            {key: amount for key, (amount, _) in payments.items()} == expected.payments,
            f"{len(payments)} payments, each once and of the right amount"
            + (f" ({repeated} asked for again after the kill)" if repeated else ""),
        ),
        (
            sold == gone == expected.sold,
            f"{sum(sold.values())} things left the stock, as many as were ordered",
        ),
        (
            emails == set(mailbox.received),
            f"{len(emails)} e-mails arrived; {mailbox.refusals} had been put off by the mail server"
            + (f" ({twice} twice, under the same Message-ID)" if twice else ""),
        ),
    ]


def _seconds(one: Execution) -> str:
    return f"{one.duration.total_seconds():.2f} s" if one.duration else ""


def _middle(executions: list[Execution]) -> str:
    durations = [one.duration.total_seconds() for one in executions if one.duration]
    return f"{median(durations):.2f} s" if durations else ""


def _name(one: Execution, names: Mapping[UUID, str]) -> str:
    return names.get(one.worker_id, "") if one.worker_id else ""


def _troubles(one: Execution, steps: list[Execution], failed: list[FailedAttempt]) -> str:
    ids = {one.id, *(step.id for step in steps)}
    kinds = {attempt.error_type for attempt in failed if attempt.execution_id in ids}
    notes = ["recovered"] if "WorkerLost" in kinds else []
    notes += ["retried"] if kinds - {"WorkerLost"} else []
    return ", ".join([*notes, one.error] if one.error else notes)
