"""Signals reach exactly one waiter each, in order."""

import asyncio
import contextlib
import json
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from currant.errors import InvalidArgument
from currant.workflow.api import queue_execution, send_signal, wait_for_signal
from currant.workflow.history import Step
from tests.workflow.conftest import Start
from tests.workflow.support import RUN_ID, Run, step


def test_signal_wakes_who_waits_for_its_name(start: Start) -> None:
    async def workflow() -> Any:
        return await wait_for_signal("approved")

    run = start(workflow)
    run.signal("other", 1)
    run.signal("approved", {"by": "me"})

    assert run.result == {"by": "me"}


def test_signals_are_kept_until_somebody_asks(start: Start) -> None:
    async def workflow() -> Any:
        await step("slow")
        return [await wait_for_signal("n") for _ in range(3)]

    run = start(workflow)
    for n in range(3):
        run.signal("n", n)
    run.complete("slow")

    assert run.result == [0, 1, 2]


def test_waiters_are_served_in_order(start: Start) -> None:
    async def workflow() -> Any:
        return await asyncio.gather(*(wait_for_signal("n") for _ in range(3)))

    run = start(workflow)
    for n in range(3):
        run.signal("n", n)

    assert run.result == [0, 1, 2]


@pytest.mark.parametrize("timeout", ["5", True, float("nan"), [1]])
def test_wait_takes_a_duration_only(start: Start, timeout: Any) -> None:
    async def workflow() -> Any:
        try:
            await wait_for_signal("approved", timeout=timeout)
        except TypeError as error:
            return str(error)

    run = start(workflow)

    assert "timeout of wait_for_signal() has to be seconds or a timedelta" in run.result
    assert run.short == ["complete"]


@pytest.mark.parametrize("name", ["", "x" * 501, "a\x00b", "\ud800", None, 7])
def test_names_that_no_signal_has_are_refused(start: Start, name: Any) -> None:
    async def workflow() -> Any:
        try:
            await wait_for_signal(name, timeout=5)
        except InvalidArgument as error:
            return str(error)

    assert "a signal's name has to be a text" in start(workflow).result


def test_wait_ends_with_its_timeout(start: Start) -> None:
    async def workflow() -> Any:
        try:
            await wait_for_signal("approved", timeout=86400)
        except TimeoutError as error:
            return str(error)

    run = start(workflow)
    run.fire()

    assert run.result == "no signal 'approved' came within 86400 seconds"
    assert run.commands[0].payload == '{"seconds":86400.0}'


def test_timer_of_a_wait_says_what_it_limits_and_old_ones_need_not() -> None:
    async def workflow() -> Any:
        return await wait_for_signal("approved", timeout=5)

    run = Run(workflow)
    assert run.commands[0].name == "signal approved"
    event, commands = run.history[0]
    for name in (None, "signal accepted"):
        recorded = [commands[0]._replace(name=name)]  # type: ignore[attr-defined]
        run.history[0] = Step(event, recorded)
        run.crash(workflow)
    run.signal("approved", 1)

    assert run.result == 1


def test_timeout_may_be_a_timedelta(start: Start) -> None:
    async def workflow() -> Any:
        return await wait_for_signal("approved", timedelta(minutes=1))

    run = start(workflow)
    run.signal("approved", True)

    assert run.short == ["timer 1 signal approved", "cancel 1", "complete"]
    assert run.commands[0].payload == '{"seconds":60.0}'


def test_signal_that_is_there_needs_no_timer(start: Start) -> None:
    async def workflow() -> Any:
        await step("a")
        return await wait_for_signal("approved", timeout=60)

    run = start(workflow)
    run.signal("approved", 1)
    run.complete("a")

    assert run.short == ["task 1 a", "complete"]


def test_timeout_of_nothing_finds_all_that_has_come(start: Start) -> None:
    async def workflow() -> Any:
        found = []
        while True:
            try:
                found.append(await wait_for_signal("approved", timeout=0))
            except TimeoutError:
                return found

    run = start(workflow)
    # Taken in together they are applied one by one, before the timer of the first wait.
    run.signal("approved", 1)
    run.signal("approved", 2)
    run.fire()

    assert run.result == [1, 2]


def test_waiting_again_after_a_timeout_waits_again(start: Start) -> None:
    async def workflow() -> Any:
        attempt = 0
        while True:
            try:
                return [attempt, await wait_for_signal("approved", timeout=10)]
            except TimeoutError:
                attempt = await step("remind", attempt)

    run = start(workflow)
    run.fire()
    run.complete("remind", 1)
    run.fire()
    run.complete("remind", 2)
    run.signal("approved", "yes")

    assert run.result == [2, "yes"]


def test_timer_that_fires_after_the_signal_changes_nothing(start: Start) -> None:
    async def workflow() -> Any:
        value = await wait_for_signal("approved", timeout=10)
        await step("after")
        return value

    run = start(workflow)
    run.signal("approved", "yes")
    run._apply("timer_fired", 1)
    run.complete("after")

    assert run.result == "yes"


def test_signal_passes_by_a_waiter_that_was_cancelled(start: Start) -> None:
    async def workflow() -> Any:
        first = asyncio.create_task(wait_for_signal("n"))
        second = asyncio.create_task(wait_for_signal("n"))
        await step("a")
        first.cancel()
        return await second

    run = start(workflow)
    run.complete("a")
    run.signal("n", "mine")

    assert run.result == "mine"


def test_waiter_cancelled_by_another_signal_takes_none(start: Start) -> None:
    async def workflow() -> Any:
        async def canceller() -> None:
            await wait_for_signal("n")
            second.cancel()

        first = asyncio.create_task(canceller())
        second = asyncio.create_task(wait_for_signal("n"))
        third = asyncio.create_task(wait_for_signal("n"))
        await first
        return await third

    run = start(workflow)
    run.signal("n", 1)
    run.signal("n", 2)

    assert run.result == 2


def test_payload_that_does_not_decode_raises_where_it_is_awaited(start: Start) -> None:
    def decode(text: str) -> int:
        return int(json.loads(text))

    async def workflow() -> Any:
        try:
            await wait_for_signal("n", decode=decode)
        except ValueError:
            return await wait_for_signal("n", decode=decode)

    run = start(workflow)
    run.signal("n", "one")
    run.signal("n", "2")

    assert run.result == 2


def test_signals_can_be_sent(start: Start) -> None:
    other = UUID("0199d3c0-0000-7000-8000-00000000000f")

    async def workflow() -> Any:
        return str(await send_signal(other, "hello", '"you"'))

    run = start(workflow)

    command = run.commands[0]
    assert (command.kind, command.number, command.name) == ("signal", 1, "hello")
    assert json.loads(command.payload or "") == {
        "id": run.result, "execution": str(other), "payload": "you",
    }  # fmt: skip


def test_executions_can_be_queued(start: Start) -> None:
    async def workflow() -> Any:
        return str(await queue_execution("send_email", '{"to":"me"}', {"queue": "emails"}))

    run = start(workflow)

    command = run.commands[0]
    assert (command.kind, command.number, command.name) == ("queue", 1, "send_email")
    assert json.loads(command.payload or "") == {
        "id": run.result, "args": {"to": "me"}, "options": {"queue": "emails"},
    }  # fmt: skip


def test_derived_ids_are_uuid7_of_the_event_and_differ(start: Start) -> None:
    async def workflow() -> Any:
        return [str(await queue_execution("f", "{}", {})) for _ in range(3)]

    run = start(workflow)

    ids = [UUID(text) for text in run.result]
    assert len({*ids, RUN_ID}) == 4
    assert {id_.version for id_ in ids} == {7}
    assert {id_.int >> 80 for id_ in ids} == {int(run.now.timestamp() * 1000)}


@pytest.mark.parametrize("cancelled_timers", [0, 2])
def test_ids_given_at_once_agree_with_the_numbers_stored(
    start: Start, cancelled_timers: int
) -> None:
    async def workflow() -> Any:
        loop = asyncio.get_running_loop()
        before = [loop.call_later(10, print) for _ in range(2)]
        asyncio.create_task(step("a"))  # noqa: RUF006
        await asyncio.sleep(0)
        first = await queue_execution("f", "{}", {})
        for timer in before[:cancelled_timers]:
            timer.cancel()
        later = loop.call_later(10, print)
        later.cancel()
        second = await queue_execution("f", "{}", {})
        await step("b")
        return [str(first), str(second)]

    run = start(workflow)
    run.complete("b")

    queued = [command for command in run.commands if command.kind == "queue"]
    assert run.result == [json.loads(command.payload or "")["id"] for command in queued]
    assert len({c.number for c in run.commands if c.number}) == len(run.commands) - 1


def test_names_that_are_used_once_are_not_kept(start: Start) -> None:
    async def workflow() -> Any:
        for number in range(100):
            await wait_for_signal(f"reply {number}")
            with contextlib.suppress(TimeoutError):
                await wait_for_signal(f"never {number}", timeout=1)
        return await wait_for_signal("early")

    run = start(workflow)
    run.signal("early", "kept")
    for number in range(100):
        run.signal(f"reply {number}")
        run.fire()
        assert len(run.instance.mailboxes._by_name) <= 2

    assert run.result == "kept"


def test_who_waits_for_a_name_that_was_just_let_go_gets_its_signal(start: Start) -> None:
    async def workflow() -> Any:
        seen: list[Any] = []

        async def one(letter: str) -> None:
            seen.append([letter, await wait_for_signal("x")])
            if letter == "a":
                group.create_task(one("c"))

        async with asyncio.TaskGroup() as group:
            group.create_task(one("a"))
            await step("between")
            group.create_task(one("b"))
        return seen

    run = start(workflow)
    run.complete("between")
    for number in range(3):
        run.signal("x", number)

    assert run.result == [["a", 0], ["b", 1], ["c", 2]]
