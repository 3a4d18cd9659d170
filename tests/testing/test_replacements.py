"""Functions of the test in the place of tasks and workflows, and what they were called with."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from unittest.mock import AsyncMock, Mock

import pytest

import currant
from currant import ExecutionFailed, TaskFailed, task, workflow
from currant.testing import Environment, KitError


@dataclass(frozen=True)
class Receipt:
    id: str
    amount: int


@task(name="kit.charge", retries=2, retry_delay=0)
async def charge(amount: int, *, currency: str = "EUR") -> Receipt:
    raise ConnectionError("no card company here")


@task(name="kit.mail")
def mail(to: str, /, *lines: str) -> int:
    raise ConnectionError("no mail server here")


@workflow(name="kit.shipping")
async def shipping(address: str) -> str:
    await asyncio.sleep(86400)
    return f"sent to {address}"


@workflow(name="kit.order")
async def order(amount: int) -> str:
    receipt = await charge.run(amount)
    await mail.run("a@example.com", f"{receipt.amount} paid", "thank you")
    return receipt.id


async def test_async_function_takes_the_place_of_a_task(currant_worker: Environment) -> None:
    async def approved(amount: int, *, currency: str = "EUR") -> Receipt:
        await asyncio.sleep(0)
        return Receipt(f"r-{currency}", amount)

    currant_worker.replace(charge, approved)
    currant_worker.replace(mail, lambda to, *lines: len(lines))

    assert await currant_worker.run(order, 5) == "r-EUR"

    charged = currant_worker.calls(charge)
    assert [call.arguments for call in charged] == [{"amount": 5, "currency": "EUR"}]
    assert [call.arguments for call in currant_worker.calls(mail)] == [
        {"to": "a@example.com", "lines": ("5 paid", "thank you")}
    ]


def test_sync_function_takes_the_place_of_an_async_task(currant_worker: Environment) -> None:
    currant_worker.replace(charge, lambda amount, currency="EUR": Receipt("r1", amount))

    assert currant_worker.run_sync(charge, 7) == Receipt("r1", 7)


@pytest.mark.parametrize("mock", [Mock, AsyncMock])
def test_mocks_take_the_place_of_tasks(
    currant_worker: Environment, mock: type[Mock] | type[AsyncMock]
) -> None:
    stub = mock(return_value=Receipt("r1", 7))
    currant_worker.replace(charge, stub)

    currant_worker.run_sync(charge, 7, currency="USD")

    stub.assert_called_once_with(amount=7, currency="USD")


def test_side_effects_of_a_mock_are_failed_attempts(currant_worker: Environment) -> None:
    answers = [TimeoutError("slow"), ConnectionError("gone"), Receipt("r1", 7)]
    currant_worker.replace(charge, AsyncMock(side_effect=answers))

    assert currant_worker.run_sync(charge, 7) == Receipt("r1", 7)

    assert [call.attempt for call in currant_worker.calls(charge)] == [1, 2, 3]


async def test_replacement_that_raises_fails_the_task_in_the_end(
    currant_worker: Environment,
) -> None:
    async def declined(amount: int, *, currency: str = "EUR") -> Receipt:
        raise ValueError("declined")

    currant_worker.replace(charge, declined)

    with pytest.raises(ExecutionFailed, match="declined"):
        await currant_worker.run(charge, 5)

    assert len(currant_worker.calls(charge)) == 3


async def test_workflow_sees_the_failure_of_a_replacement(currant_worker: Environment) -> None:
    @workflow
    async def careful() -> tuple[str, str, int]:
        try:
            await charge.options(retries=0).run(1)
        except TaskFailed as error:
            return error.type, error.reason, error.attempts or 0
        raise AssertionError

    currant_worker.replace(charge, Mock(side_effect=ValueError("declined")))

    assert await currant_worker.run(careful) == ("ValueError", "declined", 1)


def test_replacement_lasts_as_long_as_its_block(currant_worker: Environment) -> None:
    with currant_worker.replace(charge, lambda amount, **_: Receipt("outer", amount)):
        with currant_worker.replace(charge, lambda amount, **_: Receipt("inner", amount)):
            inner = currant_worker.run_sync(charge, 1)
        outer = currant_worker.run_sync(charge, 1)

    assert (inner.id, outer.id) == ("inner", "outer")
    with pytest.raises(ExecutionFailed, match="no card company here"):
        currant_worker.run_sync(charge, 1)


def test_replacement_can_be_undone(currant_worker: Environment) -> None:
    replacement = currant_worker.replace("kit.charge", lambda **_: Receipt("r1", 1))

    replacement.undo()
    replacement.undo()

    with pytest.raises(ExecutionFailed, match="no card company here"):
        currant_worker.run_sync(charge, 1)


def test_nothing_is_left_of_it_in_the_next_environment(currant_db: str) -> None:
    with Environment(currant_db) as first:
        first.replace(charge, lambda **_: Receipt("r1", 1))
        first.run_sync(charge, 1)

    with Environment(currant_db) as second:
        assert second.calls(charge) == []
        with pytest.raises(ExecutionFailed, match="no card company here"):
            second.run_sync(charge, 1)


async def test_child_workflow_is_replaced(currant_worker: Environment) -> None:
    @workflow
    async def parent() -> str:
        return await shipping.run("the moon")

    before = currant_worker.now()
    currant_worker.replace(shipping, lambda address: f"to {address} at once")

    assert await currant_worker.run(parent) == "to the moon at once"

    assert currant_worker.now() == before
    assert [call.arguments for call in currant_worker.calls(shipping)] == [{"address": "the moon"}]


async def test_workflow_replaced_by_a_workflow_waits_as_one(currant_worker: Environment) -> None:
    async def slower(address: str) -> str:
        await asyncio.sleep(2 * 86400)
        return "slow"

    currant_worker.replace(shipping, slower)
    before = currant_worker.now()

    assert await currant_worker.run(shipping, "x") == "slow"

    assert (currant_worker.now() - before).days == 2
    assert len(currant_worker.calls(shipping)) == 1


def test_calls_of_what_is_not_replaced_are_noted_too(currant_worker: Environment) -> None:
    @task
    def add(a: int, b: int = 2) -> int:
        return a + b

    handle = add.queue_sync(1)
    currant_worker.run_sync(add, b=5, a=4)

    calls = currant_worker.calls(add)
    assert [call.arguments for call in calls] == [{"a": 1, "b": 2}, {"a": 4, "b": 5}]
    assert calls[0].execution_id == handle


def test_replacement_runs_as_the_task_itself_would(currant_worker: Environment) -> None:
    @task(transactional=True)
    async def reserve(sku: str) -> int:
        raise AssertionError("replaced")

    async def in_transaction(sku: str) -> int:
        cursor = await currant.connection().execute("select 41 + 1")
        return int((await cursor.fetchone())[0])

    currant_worker.replace(reserve, in_transaction)

    assert currant_worker.run_sync(reserve, "x") == 42


def test_one_task_can_stand_in_for_another(currant_worker: Environment) -> None:
    @task
    async def pretend(amount: int, *, currency: str = "EUR") -> Receipt:
        return Receipt(currant.task_info().function, amount)

    currant_worker.replace(charge, pretend)

    assert currant_worker.run_sync(charge, 1).id == "kit.charge"


@pytest.mark.parametrize(
    ("fn", "complaint"),
    [
        (lambda: 1, "amount"),
        (lambda amount: 1, "currency"),
        (lambda amount, currency, country: 1, "country"),
        (lambda sum, currency: 1, "sum|amount"),  # noqa: A006
    ],
)
def test_replacement_has_to_take_the_same_arguments(
    currant_worker: Environment, fn: object, complaint: str
) -> None:
    with pytest.raises(TypeError, match=rf"kit\.charge\(.*same arguments.*({complaint})"):
        currant_worker.replace(charge, fn)  # type: ignore[arg-type]


def test_replacement_has_to_be_a_function(currant_worker: Environment) -> None:
    with pytest.raises(TypeError, match=r"lambda \*\*_"):
        currant_worker.replace(charge, {"id": 1})  # type: ignore[arg-type]


def test_what_is_replaced_has_to_be_known(currant_worker: Environment) -> None:
    with pytest.raises(KitError, match=r"no task or workflow is called 'chrage'.*kit\.charge"):
        currant_worker.replace("chrage", lambda: 1)


def test_plain_function_cannot_be_replaced(currant_worker: Environment) -> None:
    def plain() -> None: ...

    with pytest.raises(TypeError, match=r"plain is a plain function.*@task"):
        currant_worker.replace(plain, lambda: None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"plain is a plain function.*@task"):
        currant_worker.run_sync(plain)  # type: ignore[arg-type]
