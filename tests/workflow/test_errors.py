"""How runs end badly: failures are the workflow's, faults are the deployment's."""

import asyncio
import contextlib
import json
import logging
import sys
import threading
from typing import Any

import pytest

from currant.errors import NonDeterminism, NotInWorkflow, TaskFailed, UnsupportedVersion
from currant.workflow import api
from currant.workflow.api import run_task
from currant.workflow.history import Command, Event, python_version
from tests.workflow.conftest import Start
from tests.workflow.support import RUN_ID, START, Run, new_instance, step


def test_failed_task_arrives_as_task_failed(start: Start) -> None:
    async def workflow() -> Any:
        try:
            await step("charge")
        except TaskFailed as error:
            return [error.type, error.reason, error.attempts, error.function, error.execution_id]

    run = start(workflow)
    execution = json.loads(run.commands[0].payload or "")["id"]
    run.fail("charge", "CardDeclined", "no money")

    assert run.result == ["CardDeclined", "no money", 3, "charge", execution]


def test_failed_task_shows_the_same_traceback_to_every_replay(start: Start) -> None:
    async def workflow() -> Any:
        try:
            await step("charge")
        except TaskFailed as error:
            await step("told", error.traceback, str(error))
            return [type(error).__name__, error.traceback, str(error)]

    run = start(workflow)
    run.fail("charge", "CardDeclined", "no money", traceback="Traceback …\n  in charge")
    run.complete("told")

    assert run.result[1] == "Traceback …\n  in charge"
    assert run.payload(2)["args"] == run.result[1:]


def test_exception_with_two_that_led_to_it_fails_the_workflow(start: Start) -> None:
    async def workflow() -> None:
        try:
            try:
                await step("a")
            except TaskFailed:
                raise ValueError("in between")  # noqa: B904
        except ValueError:
            try:
                raise KeyError("of the clean-up")
            except KeyError as error:
                found = error
            raise RuntimeError("both") from found

    run = start(workflow)
    run.fail("a", "Declined", "no cover")

    assert (run.error["type"], run.error["message"]) == ("RuntimeError", "both")
    assert run.error["cause"]["type"] == "Declined"


def test_exception_that_cannot_be_looked_into_blocks_with_a_reason() -> None:
    class Closed(ExceptionGroup[Exception]):
        @property
        def exceptions(self) -> Any:
            raise ValueError("closed")

    async def workflow() -> None:
        await step("a")
        raise Closed("m", [ValueError()])

    run = Run(workflow)
    with pytest.raises(ValueError, match="closed"):
        run.complete("a")
    with pytest.raises(RuntimeError, match="takes no more events"):
        run.signal("b")


def test_exception_that_escapes_fails_the_workflow(start: Start) -> None:
    async def workflow() -> Any:
        await step("a")
        raise ValueError("broken")

    run = start(workflow)
    run.complete("a")

    assert run.error["type"] == "ValueError"
    assert run.error["message"] == "broken"
    assert run.error["retryable"] is False
    assert "raise ValueError" in run.error["traceback"]
    assert "_run_main" not in run.error["traceback"]


def test_failed_task_that_escapes_keeps_its_own_type(start: Start) -> None:
    async def workflow() -> Any:
        await step("charge")

    run = start(workflow)
    run.fail("charge", "CardDeclined", "no money")

    assert run.error["type"] == "CardDeclined"
    assert run.error["message"] == "no money"


def test_failure_of_a_group_names_what_failed_in_it(start: Start) -> None:
    async def broken(part: int) -> None:
        raise KeyError(part)

    async def workflow() -> Any:
        async with asyncio.TaskGroup() as group:
            for part in range(4):
                group.create_task(broken(part))

    run = start(workflow)

    assert run.error["type"] == "ExceptionGroup"
    assert run.error["message"] == (
        "unhandled errors in a TaskGroup (4 sub-exceptions): KeyError: 0; KeyError: 1;"
        " KeyError: 2; 1 more"
    )


def test_failure_of_a_group_in_a_group_names_the_innermost(start: Start) -> None:
    async def inner() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(step("charge"))

    async def workflow() -> Any:
        async with asyncio.TaskGroup() as group:
            group.create_task(inner())

    run = start(workflow)
    run.fail("charge", "CardDeclined", "no money")

    assert run.error["message"].startswith(
        "unhandled errors in a TaskGroup (1 sub-exception): TaskFailed: charge "
    )
    assert run.error["message"].endswith("CardDeclined: no money")


def test_result_that_cannot_be_encoded_fails_the_workflow(start: Start) -> None:
    async def workflow() -> Any:
        return object()

    assert start(workflow).error["type"] == "TypeError"


def test_arguments_that_do_not_fit_fail_the_first_activation() -> None:
    async def workflow(amount: int) -> Any: ...

    run = Run(workflow)

    assert run.error["type"] == "TypeError"
    assert "amount" in run.error["message"]


def test_arguments_that_no_longer_fit_block() -> None:
    async def old() -> Any:
        await step("a")

    async def new(amount: int) -> Any:
        await step("a")

    run = Run(old)

    with pytest.raises(NonDeterminism, match=r"produced fail .*with TypeError") as caught:
        run.crash(new)
    assert isinstance(caught.value.__cause__, TypeError)


def test_result_that_no_longer_decodes_blocks() -> None:
    def code(decode: Any) -> Any:
        async def workflow() -> Any:
            amount = await run_task("charge", "[]", {}, decode)
            await step("receipt", amount)

        return workflow

    run = Run(code(json.loads))
    run.complete("charge", "ten")

    with pytest.raises(NonDeterminism, match=r"produced fail .* with ValueError: invalid literal"):
        run.crash(code(lambda text: int(json.loads(text))))

    run.crash(code(json.loads))
    run.complete("receipt")
    assert run.result is None


def test_sys_exit_fails_the_workflow(start: Start) -> None:
    async def workflow() -> Any:
        sys.exit("enough")

    assert start(workflow).error["type"] == "SystemExit"


def test_sys_exit_in_a_background_task_ends_that_task_only(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    async def leave() -> None:
        sys.exit("enough")

    async def workflow() -> Any:
        background = asyncio.create_task(leave())
        await step("a")
        return type(background.exception()).__name__

    run = start(workflow)
    run.complete("a")

    assert run.result == "SystemExit"


def test_keyboard_interrupt_of_the_code_itself_fails_the_workflow() -> None:
    async def workflow() -> Any:
        raise KeyboardInterrupt

    runs: list[Run] = []
    thread = threading.Thread(target=lambda: runs.append(Run(workflow)))
    thread.start()
    thread.join()

    assert runs[0].error["type"] == "KeyboardInterrupt"


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_trouble_of_the_machine_abandons_the_drain(error: type[BaseException]) -> None:
    trouble = [True]

    async def workflow() -> Any:
        await step("a")
        if trouble:
            raise error

    run = Run(workflow)
    with pytest.raises(error):
        run.complete("a")
    with pytest.raises(RuntimeError, match="takes no more events"):
        run.signal("n")

    trouble.clear()
    run.crash()
    run._apply("task_completed", 1, payload="null")
    assert run.result is None


def test_return_wins_over_background_tasks(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    async def background() -> None:
        await step("in the background")
        await step("never")

    async def workflow() -> Any:
        task = asyncio.create_task(background())
        await step("a")
        return task.get_name()

    run = start(workflow)
    run.complete("a")

    assert run.short[-1] == "complete"
    assert [r.getMessage().split(": ")[0] for r in caplog.records] == [
        f"workflow workflow {RUN_ID} has ended, and with it tasks that it did not await"
    ]


@pytest.mark.parametrize("is_code", [True, False])
def test_what_a_failed_gather_leaves_is_named_if_it_has_code_to_clean_up(
    start: Start, caplog: pytest.LogCaptureFixture, is_code: bool
) -> None:
    async def packed() -> None:
        await step("b")

    async def workflow() -> Any:
        await asyncio.gather(step("a"), packed() if is_code else step("b"))

    run = start(workflow)
    run.fail("a")

    assert run.short[-1] == "fail"
    assert [r.getMessage().split(" at ")[0] for r in caplog.records] == is_code * [
        f"workflow workflow {RUN_ID} has ended, and with it tasks that it did not await: Task-3"
    ]


@pytest.mark.parametrize("how", ["gather", "task", "task group"])
def test_failures_that_were_seen_are_not_kept(how: str) -> None:
    async def workflow() -> Any:
        for _ in range(500):
            if how == "gather":
                await asyncio.gather(step("a"), return_exceptions=True)
            elif how == "task":
                with contextlib.suppress(TaskFailed):
                    await asyncio.create_task(step("a"))
            else:
                with contextlib.suppress(ExceptionGroup):
                    async with asyncio.TaskGroup() as group:
                        group.create_task(step("a"))

    run = Run(workflow)
    for _ in range(300):
        run.fail("a")

    assert len(run.instance.loop._failed) <= 64


def test_failures_that_nobody_sees_are_all_told_in_the_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def workflow() -> Any:
        tasks = [asyncio.create_task(step("a")) for _ in range(200)]
        await step("b")
        await asyncio.gather(*tasks[:50], return_exceptions=True)

    run = Run(workflow)
    for _ in range(200):
        run.fail("a")
    run.complete("b")

    assert run.short[-1] == "complete"
    assert sum("which nobody awaited" in r.getMessage() for r in caplog.records) == 150


def test_exception_nobody_awaits_is_logged_once(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken() -> None:
        await step("a")
        raise ValueError("lost")

    async def workflow() -> Any:
        asyncio.create_task(broken())  # noqa: RUF006
        await step("b")
        await step("c")

    run = start(workflow)
    run.complete("a")
    run.complete("b")
    run.complete("c")
    run.crash()

    assert run.result is None
    assert [str(r.exc_info[1]) for r in caplog.records if r.exc_info] == ["lost"]
    assert [r.levelno for r in caplog.records] == [logging.ERROR]


def test_waiting_for_what_cannot_come_is_reported() -> None:
    async def workflow() -> Any:
        await step("a")
        await asyncio.Event().wait()

    run = Run(workflow)
    assert run.instance.blocked is None
    run.complete("a")

    assert run.instance.blocked is not None
    assert "Task-1 at test_errors.py:" in run.instance.blocked
    run.cancel()
    assert run.error["type"] == "Cancelled"
    assert run.instance.blocked is None


def test_waiting_for_a_signal_is_not_a_deadlock() -> None:
    async def workflow() -> Any:
        await api.wait_for_signal("approved")

    run = Run(workflow)

    assert run.instance.blocked is None
    assert run.instance.waiting_for() == "signal approved"


def test_waiting_for_ever_in_sleep_is_a_deadlock() -> None:
    async def workflow() -> Any:
        await asyncio.sleep(float("inf"))

    run = Run(workflow)

    assert run.commands == []
    assert run.instance.blocked is not None


def test_what_it_waits_for_can_be_told() -> None:
    async def workflow() -> Any:
        await asyncio.gather(step("a"), asyncio.sleep(5), api.wait_for_signal("s"))

    assert Run(workflow).instance.waiting_for() == "task a, timer, signal s"


# --- code that does not follow its history


async def recorded() -> Any:
    await step("first")
    await step("second")
    await step("third")


def test_mismatch_says_everything_one_needs() -> None:
    async def other() -> Any:
        await step("first")
        await asyncio.sleep(1)

    run = Run(recorded)
    run.complete("first")
    run.complete("second")

    with pytest.raises(NonDeterminism) as caught:
        run.crash(other)

    message = str(caught.value)
    line = other.__code__.co_firstlineno
    assert f"workflow other {RUN_ID} does not follow its history at event 2" in message
    assert f"expected task #2 second (support.py:{step.__code__.co_firstlineno + 2})" in message
    assert f"produced timer #2 (test_errors.py:{line + 2})" in message
    assert "last match: task #1 first" in message
    assert "at event 1" in message
    assert f"recorded on Python {python_version()}, replayed on {python_version()}" in message
    assert "get_version" in message


async def other_name() -> Any:
    await step("first")
    await step("changed")


async def one_more() -> Any:
    await asyncio.gather(step("first"), step("more"))


async def returns_early() -> Any:
    await step("first")


async def waits_for_nothing_new() -> Any:
    await step("first")
    await api.wait_for_signal("s")


async def fails_early() -> Any:
    await step("first")
    raise ValueError("new")


@pytest.mark.parametrize(
    ("code", "produced"),
    [
        (other_name, "expected task #2 second .* produced task #2 changed"),
        (one_more, "expected nothing, produced task #2 more"),
        (returns_early, "expected task #2 second .* produced complete"),
        (waits_for_nothing_new, "expected task #2 second .* produced nothing"),
        (fails_early, "expected task #2 second .* produced fail .* with ValueError: new"),
    ],
)
def test_other_commands_than_recorded_block(code: Any, produced: str) -> None:
    run = Run(recorded)
    run.complete("first")

    with pytest.raises(NonDeterminism, match=produced):
        run.crash(code)


def test_arguments_may_change_between_deployments() -> None:
    async def other() -> Any:
        await step("first", "with", "arguments")
        await step("second")
        await step("third")

    run = Run(recorded)
    run.complete("first")
    run.crash(other)
    run.complete("second")
    run.complete("third")

    assert run.result is None


def test_apply_compares_a_recorded_event_too() -> None:
    run = Run(recorded)
    instance = new_instance(recorded)
    wrong = Command(1, "task", 1, "another", "{}", "app.py:1")

    with pytest.raises(NonDeterminism, match=r"expected task #1 another \(app.py:1\)"):
        instance.apply(run.history[0].event, [wrong])
    instance.close()


def test_events_have_to_follow_each_other() -> None:
    run = Run(recorded)

    with pytest.raises(ValueError, match="event 7 cannot follow event 1"):
        run.instance.apply(Event(7, "signal_received", START, name="n"))
    run.instance.close()


def test_ended_run_takes_no_more_events() -> None:
    async def workflow() -> Any: ...

    run = Run(workflow)

    with pytest.raises(RuntimeError, match="takes no more events"):
        run.signal("n")


def test_run_of_a_newer_engine_is_left_to_a_newer_worker() -> None:
    async def workflow() -> Any: ...

    instance = new_instance(workflow)

    with pytest.raises(UnsupportedVersion, match="newer version of Currant"):
        instance.apply(Event(1, "started", START, payload='{"engine": 99}'), [])
    instance.close()


def test_event_of_an_unknown_kind_is_left_to_a_newer_worker() -> None:
    run = Run(recorded)

    with pytest.raises(UnsupportedVersion, match="does not know 'moon_rose'"):
        run._apply("moon_rose")


def test_calls_outside_a_workflow_say_so() -> None:
    assert not api.in_workflow()
    assert api.current() is None
    with pytest.raises(NotInWorkflow, match=r"run_task\(\) works only inside a workflow"):
        step("a")
    with pytest.raises(NotInWorkflow):
        api.get_version("x", 1, 2)
