"""One task from its claim to its report, without a database."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest

from currant import definitions, models, task, task_info
from currant.context import current
from currant.executor import Executor, RunningTask, Stop


class Host:
    """A worker reduced to what the executor needs of one."""

    def __init__(self) -> None:
        self.max_payload_bytes = 1000
        self.worker_id: UUID = models.new_id()
        self.reports: asyncio.Queue[models.Report | None] = asyncio.Queue()
        self.beats = 0
        self.lent = 0

    def ended(self, running: RunningTask, report: models.Report | None) -> None:
        self.reports.put_nowait(report)

    def beat_soon(self) -> None:
        self.beats += 1

    def lend_slot(self, slots: int) -> None:
        self.lent += slots

    def post(self, function: Callable[[], None]) -> None:
        raise AssertionError

    def transaction(self) -> Any:
        raise AssertionError

    transaction_sync = transaction


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
def executor(host: Host) -> Executor:
    return Executor(host)


@pytest.fixture(autouse=True)
def _forgotten_functions() -> Iterator[None]:
    before = set(definitions.registry.all())
    yield
    for one in definitions.registry.all():
        if one not in before:
            definitions.registry.remove(one.name)


def claimed(function: str, args: str = "{}", **other: Any) -> models.Claimed:
    identity = models.new_id()
    given: dict[str, Any] = {
        "execution_id": identity,
        "token": 1,
        "kind": "task",
        "function": function,
        "version": 1,
        "queue": "q",
        "rank": 1,
        "seq": 1,
        "attempt": 1,
        "max_attempts": 3,
        "args": args,
        "headers": None,
        "parent_id": None,
        "root_id": identity,
        "created_at": datetime.now(UTC),
        "claimed_at": datetime.now(UTC),
        "timeout": timedelta(seconds=60),
        "details": None,
    }
    return models.Claimed(**{**given, **other})


def error_of(report: models.Report | None) -> dict[str, Any]:
    assert isinstance(report, models.Failure)
    found: dict[str, Any] = msgspec.json.decode(report.error)
    return found


async def test_a_result_is_reported_as_a_completion(host: Host, executor: Executor) -> None:
    @task
    async def add(a: int, b: int) -> int:
        return a + b

    one = claimed("add", '{"a": 1, "b": 2}')
    executor.start(RunningTask(one))

    report = await host.reports.get()
    assert report == models.Completion(one.execution_id, one.token, "3")


@pytest.mark.parametrize(
    ("function", "version", "reason"),
    [
        ("nobody", 1, "a worker that knows the task nobody"),
        ("flow", 1, "a worker that knows the task flow"),
        ("known", 2, "a worker that has version 2 of known"),
    ],
)
async def test_what_it_cannot_run_is_given_back_with_a_reason(
    host: Host, executor: Executor, function: str, version: int, reason: str
) -> None:
    @definitions.workflow
    async def flow() -> None: ...

    @task
    async def known() -> None: ...

    executor.start(RunningTask(claimed(function, version=version)))

    report = await host.reports.get()
    assert isinstance(report, models.Release)
    assert report.reason == reason


@pytest.mark.parametrize("reason", list(Stop))
async def test_told_to_stop_before_its_first_step_it_never_begins(
    host: Host, executor: Executor, reason: Stop
) -> None:
    @task
    async def never() -> None:
        raise AssertionError

    running = RunningTask(claimed("never"))
    executor.start(running)
    running.tell(reason)

    report = await asyncio.wait_for(host.reports.get(), 5)
    if reason is Stop.LOST:
        assert report is None
    else:
        assert isinstance(report, models.Release)
        assert report.reason is None


@pytest.mark.parametrize("reason", list(Stop))
async def test_told_to_stop_while_it_runs_it_says_so_or_nothing(
    host: Host, executor: Executor, reason: Stop
) -> None:
    begun = asyncio.Event()

    @task
    async def wait() -> None:
        begun.set()
        await asyncio.Event().wait()

    running = RunningTask(claimed("wait"))
    executor.start(running)
    await begun.wait()
    running.tell(reason)

    report = await asyncio.wait_for(host.reports.get(), 5)
    match reason:
        case Stop.LOST:
            assert report is None
        case Stop.SHUTDOWN:
            assert isinstance(report, models.Release)
        case Stop.CANCEL:
            assert error_of(report)["type"] == "CancelledError"


async def test_a_lost_lease_overrides_every_other_reason(host: Host, executor: Executor) -> None:
    begun = asyncio.Event()

    @task
    async def stubborn() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.Event().wait()

    running = RunningTask(claimed("stubborn"))
    executor.start(running)
    await begun.wait()
    running.tell(Stop.CANCEL)
    await asyncio.sleep(0)
    running.tell(Stop.LOST)
    running.tell(Stop.SHUTDOWN)

    assert await asyncio.wait_for(host.reports.get(), 5) is None
    assert running.stop is Stop.LOST


async def test_a_sync_task_asked_to_cancel_goes_on_and_can_see_it(
    host: Host, executor: Executor
) -> None:
    begun = threading.Event()
    go_on = threading.Event()

    @task
    def look() -> bool:
        begun.set()
        go_on.wait(10)
        return task_info().cancelled

    running = RunningTask(claimed("look"))
    executor.start(running)
    await asyncio.to_thread(begun.wait, 10)
    running.tell(Stop.CANCEL)
    go_on.set()

    report = await asyncio.wait_for(host.reports.get(), 5)
    assert isinstance(report, models.Completion)
    assert report.result == "true"


async def test_a_thread_counts_as_hung_from_its_timeout_until_it_comes_back(
    host: Host, executor: Executor
) -> None:
    go_on = threading.Event()

    @task
    def hang() -> None:
        go_on.wait(10)

    executor.start(RunningTask(claimed("hang", timeout=timedelta(milliseconds=20))))

    assert error_of(await host.reports.get())["type"] == "Timeout"
    assert executor.hung == 1
    go_on.set()
    async with asyncio.timeout(5):
        while executor.hung:  # noqa: ASYNC110
            await asyncio.sleep(0)


async def test_details_are_kept_and_sent_soon(host: Host, executor: Executor) -> None:
    from currant import heartbeat

    @task
    async def dig() -> None:
        heartbeat()
        heartbeat({"metres": 3})
        raise ValueError

    running = RunningTask(claimed("dig", details='{"metres": 1}'))
    executor.start(running)

    assert error_of(await host.reports.get())["type"] == "ValueError"
    assert running.details == '{"metres":3}'
    assert host.beats >= 1


async def test_a_result_over_the_limit_is_a_failure_that_is_not_tried_again(
    host: Host, executor: Executor
) -> None:
    @task
    async def big() -> str:
        return "x" * 1000

    executor.start(RunningTask(claimed("big")))

    error = error_of(await host.reports.get())
    assert error["type"] == "EncodingError"
    assert error["retryable"] is False


def test_importing_the_worker_hides_no_public_name() -> None:
    program = (
        "import currant, types; before = {n: getattr(currant, n) for n in currant.__all__};"
        "import currant.worker, currant.cli.work;"
        "changed = [n for n in before if getattr(currant, n) is not before[n]];"
        "assert not changed, changed"
    )

    subprocess.run([sys.executable, "-c", program], check=True)


async def test_a_task_has_one_end_whatever_its_exception_is_made_of(
    host: Host, executor: Executor
) -> None:
    class Odd(type):
        def __instancecheck__(cls, instance: object) -> bool:
            raise LookupError

    class Never(Exception, metaclass=Odd): ...

    @task(non_retryable=Never)
    async def odd() -> None:
        raise ValueError

    executor.start(RunningTask(claimed("odd")))

    error = error_of(await asyncio.wait_for(host.reports.get(), 5))
    assert error == {"type": "Exception", "message": "how it ended cannot be told: LookupError"}


async def test_a_failure_with_two_that_led_to_it_is_reported(
    host: Host, executor: Executor
) -> None:
    @task
    async def clean_up_and_tell() -> None:
        try:
            try:
                raise OSError("first")
            except OSError:
                raise ValueError("second")  # noqa: B904
        except ValueError:
            try:
                raise KeyError("third")
            except KeyError as error:
                found = error
            raise RuntimeError("fourth") from found

    executor.start(RunningTask(claimed("clean_up_and_tell")))

    error = error_of(await asyncio.wait_for(host.reports.get(), 5))
    assert (error["type"], error["message"]) == ("RuntimeError", "fourth")
    assert "ValueError: second" in error["traceback"]


async def test_a_task_that_says_itself_that_its_time_was_over_has_timed_out(
    host: Host, executor: Executor
) -> None:
    @task
    async def patient() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise TimeoutError from None

    executor.start(RunningTask(claimed("patient", timeout=timedelta(milliseconds=20))))

    error = error_of(await asyncio.wait_for(host.reports.get(), 5))
    assert error == {"type": "Timeout", "message": "no end after 0.02 s"}


async def test_a_task_that_completes_although_its_time_was_over_has_completed(
    host: Host, executor: Executor
) -> None:
    @task
    async def late() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "done"
        raise AssertionError

    executor.start(RunningTask(claimed("late", timeout=timedelta(milliseconds=20))))

    report = await asyncio.wait_for(host.reports.get(), 5)
    assert isinstance(report, models.Completion)
    assert report.result == '"done"'


async def test_cancelled_and_out_of_time_it_ends_as_cancelled(
    host: Host, executor: Executor
) -> None:
    begun = asyncio.Event()

    @task
    async def slow() -> None:
        begun.set()
        await asyncio.Event().wait()

    running = RunningTask(claimed("slow"))
    executor.start(running)
    await begun.wait()
    running.expire()
    running.tell(Stop.CANCEL)

    assert error_of(await host.reports.get())["type"] == "CancelledError"


async def test_a_finished_task_leaves_nothing_for_the_garbage_collector(
    host: Host, executor: Executor
) -> None:
    @task
    async def ask() -> str:
        return task_info().id

    running = RunningTask(claimed("ask"))
    gone = asyncio.Event()
    gc.disable()
    try:
        executor.start(running)
        assert running.runner is not None
        weakref.finalize(running.runner, gone.set)
        await host.reports.get()
        async with asyncio.timeout(5):
            await gone.wait()
    finally:
        gc.enable()


async def test_all_threads_of_a_task_see_the_same_context(host: Host, executor: Executor) -> None:
    @task
    async def spread() -> bool:
        found = await asyncio.gather(*(asyncio.to_thread(current) for _ in range(8)))
        return all(one is found[0] for one in found)

    executor.start(RunningTask(claimed("spread")))

    report = await host.reports.get()
    assert isinstance(report, models.Completion)
    assert report.result == "true"
