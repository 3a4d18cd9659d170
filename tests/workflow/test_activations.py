"""Activations of runs, from the claim to the report, without a database."""

import asyncio
import json
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from currant import definitions, models, task, workflow, workflow_threads
from currant.activation import RunningActivation
from currant.activations import Activations
from currant.authoring import continue_as_new, wait_for_signal
from currant.loglines import Lines
from currant.models import Word
from currant.settings import Settings
from tests.workflow.support import START

LIMIT = 1 << 20


@pytest.fixture(autouse=True)
def _forgotten_functions() -> Iterator[None]:
    before = set(definitions.registry.all())
    yield
    for one in definitions.registry.all():
        if one not in before:
            definitions.registry.remove(one.name)


@pytest.fixture
def counting() -> Any:
    @task(name="activations.count")
    def count(n: int) -> int:
        return n

    @workflow(name="activations.counting")
    async def counting(left: int, total: int = 0) -> int:
        total += await count.run(left)
        if left:
            continue_as_new(left - 1, total=total)
        return total

    return counting


@pytest.fixture
def collecting() -> Any:
    @workflow(name="activations.collecting")
    async def collecting(seen: list[int]) -> list[int]:
        await wait_for_signal("go")
        if len(seen) < 2:
            continue_as_new([*seen, await wait_for_signal("number")])
        return seen

    return collecting


def claimed(function: Any, **other: Any) -> models.Claimed:
    execution = models.new_id()
    given: dict[str, Any] = {
        "execution_id": execution,
        "token": 1,
        "kind": "workflow",
        "function": function.name,
        "version": 1,
        "queue": "default",
        "rank": 0,
        "seq": 1,
        "attempt": 1,
        "max_attempts": 1,
        "args": "{}",
        "headers": None,
        "parent_id": None,
        "root_id": execution,
        "created_at": START,
        "claimed_at": START,
        "timeout": timedelta(hours=1),
        "details": None,
        "last_event": 0,
        "last_command": 0,
        "inbox": "[]",
        "first_event": 1,
    }
    return models.Claimed(**{**given, **other})


def arrivals(*inbox: dict[str, Any]) -> str:
    return json.dumps([{"arrival": place, **each} for place, each in enumerate(inbox, 5)])


def completed(number: int, result: Any) -> dict[str, Any]:
    return {"kind": "task_completed", "number": number, "payload": result}


def signal(name: str, payload: Any = None) -> dict[str, Any]:
    return {"kind": "signal_received", "name": name, "payload": payload}


def run(
    job: RunningActivation, history: Sequence[Any] = (), **how: Any
) -> tuple[models.Activation, list[dict[str, Any]], dict[str, Any]]:
    job.history = history
    try:
        activation = job.run(LIMIT, **how)
    finally:
        if job.instance is not None:
            job.instance.close()
    return activation, json.loads(activation.commands), json.loads(activation.options)


def lines(activation: models.Activation, events: Sequence[dict[str, Any]]) -> list[Any]:
    """What the database keeps of an activation, `started` included if it began a run."""
    options = json.loads(activation.options)
    happened = list(events)
    if "started" in options:
        happened.insert(0, {"kind": "started", "payload": options["started"]})
    kept = []
    for number, event in enumerate(happened, activation.last_event + 1):
        caused = [c for c in json.loads(activation.commands) if c["event"] == number]
        kept.append(entry(number, 0, event))
        kept += [entry(number, place, command) for place, command in enumerate(caused, 1)]
    return kept


def entry(event: int, position: int, values: dict[str, Any]) -> models.HistoryEntry:
    payload = values.get("payload")
    if values["kind"] in ("task", "child", "queue"):
        payload = payload["options"]
    return models.HistoryEntry(
        event=event,
        position=position,
        kind=values["kind"],
        number=values.get("number"),
        name=values.get("name"),
        payload=None if payload is None else json.dumps(payload),
        execution_id=None,
        source=values.get("source"),
        at=START,
    )


def test_first_run_begins_with_event_one(counting: Any) -> None:
    job = RunningActivation(claimed(counting, args='{"left": 2}'), counting, None)

    assert not job.replays
    activation, commands, options = run(job)
    assert activation.last_event == 0
    assert [(c["event"], c["kind"], c["number"]) for c in commands] == [(1, "task", 1)]
    assert "signals" not in options["started"]
    assert options["waits_for"] == "task activations.count"


def test_run_that_continues_ends_with_its_command(counting: Any) -> None:
    first = claimed(counting, args='{"left": 2}')
    began, _, _ = run(RunningActivation(first, counting, None))
    history = lines(began, [])
    again = claimed(
        counting,
        args='{"left": 2}',
        execution_id=first.execution_id,
        last_event=1,
        last_command=1,
        inbox=arrivals(completed(1, 10), signal("too late")),
    )
    job = RunningActivation(again, counting, None)

    assert job.replays
    activation, commands, options = run(job, history, strict=True)
    assert activation.arrivals == (5,)
    (command,) = commands
    assert (command["event"], command["kind"], command["number"]) == (2, "continue_as_new", None)
    assert command["payload"] == {"args": {"left": 1, "total": 10}, "signals": []}
    assert job.end is not None
    assert "waits_for" not in options


def test_new_run_begins_where_the_last_one_ended(counting: Any) -> None:
    continued = claimed(
        counting,
        args='{"left": 0, "total": 10}',
        last_event=2,
        last_command=1,
        first_event=3,
        carried='[{"name": "x", "payload": 1}]',
        inbox=arrivals(completed(1, "of the run before")),
    )
    job = RunningActivation(continued, counting, None)

    assert not job.replays
    activation, commands, options = run(job)
    assert activation.last_event == 2
    assert activation.arrivals == (5,)
    assert [(c["event"], c["kind"], c["number"]) for c in commands] == [(3, "task", 2)]
    assert options["started"]["last_command"] == 1
    assert options["started"]["signals"] == [{"name": "x", "payload": 1}]


def test_replay_of_a_continued_run_reads_its_own_history(counting: Any) -> None:
    begins = claimed(
        counting, args='{"left": 0, "total": 10}', last_event=2, last_command=1, first_event=3
    )
    began, _, _ = run(RunningActivation(begins, counting, None))
    goes_on = msgspec.structs.replace(
        begins, last_event=3, last_command=2, inbox=arrivals(completed(2, 5))
    )
    job = RunningActivation(goes_on, counting, None)

    assert job.replays
    activation, commands, _ = run(job, lines(began, []))
    assert activation.last_event == 3
    assert [(c["event"], c["kind"], c["payload"]) for c in commands] == [
        (4, "complete", {"result": 15})
    ]


def test_signals_go_from_run_to_run(collecting: Any) -> None:
    one = claimed(
        collecting,
        args='{"seen": []}',
        inbox=arrivals(signal("number", 1), signal("number", 2), signal("go"), signal("go")),
    )
    _, commands, _ = run(RunningActivation(one, collecting, None))

    (command,) = commands
    assert command["event"] == 4
    assert command["payload"] == {
        "args": {"seen": [1]},
        "signals": [{"name": "number", "payload": 2, "event": 3}],
    }
    two = claimed(
        collecting,
        args=json.dumps(command["payload"]["args"]),
        last_event=4,
        first_event=5,
        carried=json.dumps(command["payload"]["signals"]),
        inbox=arrivals(signal("go")),
    )
    _, commands, _ = run(RunningActivation(two, collecting, None))
    assert commands[0]["payload"] == {"args": {"seen": [1, 2]}, "signals": []}


def test_strict_replay_compares_what_the_history_has() -> None:
    @workflow(name="activations.sleeper")
    async def sleeper() -> None:
        await asyncio.sleep(seconds[0])

    seconds = [5]
    first = claimed(sleeper)
    began, _, _ = run(RunningActivation(first, sleeper, None))
    history = lines(began, [])
    again = msgspec.structs.replace(
        first, last_event=1, last_command=1, inbox=arrivals({"kind": "timer_fired", "number": 1})
    )
    seconds = [6]

    strict, _, _ = run(RunningActivation(again, sleeper, None), history, strict=True)
    loose, commands, _ = run(RunningActivation(again, sleeper, None), history)

    assert strict.blocked is not None
    assert "other seconds: expected 5.0, produced 6.0" in strict.blocked
    assert loose.blocked is None
    assert commands[0]["kind"] == "complete"


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 1, 0, 2], [2, 3, 1, 0]])
def test_events_taken_in_together_are_applied_one_by_one_in_their_order(
    order: list[int],
) -> None:
    @task(name="activations.part")
    def part(n: int) -> int:
        return n

    @workflow(name="activations.fan")
    async def fan() -> list[int]:
        seen = []

        async def one(n: int) -> None:
            seen.append(await part.run(n))
            seen.append(await part.run(n + 10))

        async with asyncio.TaskGroup() as group:
            for n in range(4):
                group.create_task(one(n))
        return seen

    inbox = [completed(n + 1, n) for n in order]
    first = claimed(fan)
    together = msgspec.structs.replace(first, inbox=arrivals(*inbox))
    activation, commands, _ = run(RunningActivation(together, fan, None))

    began, apart, _ = run(RunningActivation(first, fan, None))
    history = lines(began, [])
    for place, event in enumerate(inbox, 1):
        later = msgspec.structs.replace(
            first, last_event=place, last_command=3 + place, inbox=arrivals(event)
        )
        each, more, _ = run(RunningActivation(later, fan, None), history)
        history += lines(each, [event])
        apart += more
    assert activation.arrivals == (5, 6, 7, 8)
    assert commands == apart
    assert [c["payload"]["args"] for c in commands[4:]] == [{"n": n + 10} for n in order]


@pytest.mark.parametrize("signal_first", [True, False])
def test_signal_and_timer_taken_in_together_are_told_apart_by_their_order(
    signal_first: bool,
) -> None:
    @workflow(name="activations.patient")
    async def patient() -> list[str]:
        seen = []
        for _ in range(2):
            try:
                seen.append(await wait_for_signal("go", timeout=5))
            except TimeoutError:
                seen.append("late")
        return seen

    events = [signal("go", "came"), {"kind": "timer_fired", "number": 1}]
    inbox = arrivals(*(events if signal_first else reversed(events)))
    activation, commands, _ = run(RunningActivation(claimed(patient, inbox=inbox), patient, None))

    kinds = [(c["event"], c["kind"], c["number"]) for c in commands]
    if signal_first:
        # The timer was taken back before it was heard of that it had fired.
        assert kinds == [(1, "timer", 1), (2, "cancel", 1), (2, "timer", 2)]
    else:
        assert kinds[:3] == [(1, "timer", 1), (2, "timer", 2), (3, "cancel", 2)]
        assert commands[3]["payload"] == {"result": ["late", "came"]}
    assert activation.arrivals == (5, 6)


def test_arguments_are_those_of_the_moment_of_the_call() -> None:
    @task(name="activations.keep")
    def keep(items: list[int]) -> None: ...

    @workflow(name="activations.changing")
    async def changing() -> None:
        items = [1]
        asked = keep.run(items)
        items.append(2)
        await asked

    _, commands, _ = run(RunningActivation(claimed(changing), changing, None))

    assert commands[0]["payload"]["args"] == {"items": [1]}


def test_sizes_are_no_concern_of_a_replay() -> None:
    @task(name="activations.echo")
    def echo(text: str) -> str:
        return text

    @workflow(name="activations.large")
    async def large() -> str:
        first = await echo.run("x" * 3000)
        return await echo.run(first)

    first = claimed(large)
    began, _, _ = run(RunningActivation(first, large, None))
    history = lines(began, [])
    again = msgspec.structs.replace(
        first, last_event=1, last_command=1, inbox=arrivals(completed(1, "y" * 1000))
    )
    job = RunningActivation(again, large, None)
    job.history = history
    # The limit has become smaller than what it had sent before.
    activation = job.run(2000)
    assert job.instance is not None
    job.instance.close()

    assert activation.blocked is None
    (command,) = json.loads(activation.commands)
    assert command["payload"]["args"] == {"text": "y" * 1000}


def test_result_that_is_too_large_fails_the_workflow_and_says_whose_it_is() -> None:
    @workflow(name="activations.wordy")
    async def wordy() -> str:
        return "x" * 1000

    job = RunningActivation(claimed(wordy), wordy, None)
    activation = job.run(100)
    assert job.instance is not None
    job.instance.close()

    (command,) = json.loads(activation.commands)
    error = command["payload"]["error"]
    assert command["kind"] == "fail"
    assert error["type"] == "EncodingError"
    assert "the result of activations.wordy() has 1002 bytes" in error["message"]


def test_function_that_raises_something_odd_blocks_and_no_thread_dies() -> None:
    @workflow(name="activations.exhausted")
    async def exhausted() -> None:
        raise MemoryError("no more")

    activation, commands, _ = run(RunningActivation(claimed(exhausted), exhausted, None))

    assert activation.blocked == "MemoryError: no more"
    assert commands == []


def test_fault_without_a_text_blocks_and_no_thread_dies() -> None:
    class Mute(MemoryError):
        def __str__(self) -> str:
            raise SystemExit(3)

    @workflow(name="activations.mute")
    async def mute() -> None:
        raise Mute

    activation, _, _ = run(RunningActivation(claimed(mute), mute, None))

    assert activation.blocked == "Mute: <Mute whose text cannot be read>"


def test_run_that_waits_for_nothing_is_blocked_with_the_place() -> None:
    @workflow(name="activations.stuck")
    async def stuck() -> None:
        await asyncio.Event().wait()

    activation, commands, options = run(RunningActivation(claimed(stuck), stuck, None))

    assert activation.blocked is not None
    assert activation.blocked.startswith("deadlock: the workflow waits, but for no task, child,")
    assert "Task-1 at test_activations.py:" in activation.blocked
    assert (commands, activation.arrivals) == ([], ())
    assert options == {"blocked": activation.blocked}


def test_end_of_a_child_names_the_execution_that_ended() -> None:
    @workflow(name="activations.inner")
    async def inner() -> None: ...

    @workflow(name="activations.outer")
    async def outer() -> None:
        await inner.options(key="shared").run()

    other = models.new_id()
    error = {"type": "Lost", "message": "gone", "status": "failed"}
    end = {
        "kind": "attached_failed", "number": 1, "payload": error, "execution_id": str(other),
    }  # fmt: skip
    _, commands, _ = run(RunningActivation(claimed(outer, inbox=arrivals(end)), outer, None))

    assert commands[1]["payload"]["error"]["cause"]["execution_id"] == str(other)


# --- what a worker keeps of them


class Host:
    """A worker reduced to what running activations needs of one."""

    max_payload_bytes = LIMIT

    def __init__(self) -> None:
        self.reports: asyncio.Queue[Any] = asyncio.Queue()

    def activated(self, report: models.Report) -> None:
        self.reports.put_nowait(report)

    def history(self, run: models.Claimed) -> Any:
        raise AssertionError

    def keeps(self, instance: Any) -> bool:
        return True


class Kept:
    """Activations of a worker, one after the other, each accepted at once."""

    def __init__(self, cache: int = 10, *, strict: bool = False) -> None:
        settings = replace(
            Settings.from_environment({}), worker_workflow_cache=cache, worker_strict_replay=strict
        )
        self.host = Host()
        self.activations = Activations(self.host, settings, None, Lines())  # type: ignore[arg-type]
        self.threads = self.activations._threads

    async def activate(self, one: models.Claimed, word: Word = Word.ACCEPTED) -> Any:
        self.activations.start([one])
        report = await self.host.reports.get()
        self.activations.settled(report, word)
        return report

    async def close(self) -> None:
        await self.activations.close()


async def test_instance_of_a_finished_run_is_not_kept(counting: Any) -> None:
    kept = Kept()
    one = claimed(counting, args='{"left": 1}')
    await kept.activate(one)
    assert one.execution_id in kept.activations._instances
    two = msgspec.structs.replace(
        one, token=2, last_event=1, last_command=1, inbox=arrivals(completed(1, 1))
    )
    report = await kept.activate(two)
    assert json.loads(report.commands)[0]["kind"] == "continue_as_new"
    assert one.execution_id not in kept.activations._instances

    three = msgspec.structs.replace(
        two, token=3, last_event=2, first_event=3, inbox="[]", args='{"left": 0, "total": 1}'
    )
    report = await kept.activate(three)
    await kept.close()

    assert report.last_event == 2
    assert json.loads(report.commands)[0]["number"] == 2


async def test_instance_of_an_earlier_run_is_not_used(counting: Any) -> None:
    kept = Kept()
    one = claimed(counting, args='{"left": 1}')
    await kept.activate(one)
    # Another worker has taken it on, and the events happen to have the same numbers.
    other = msgspec.structs.replace(one, token=2, last_event=1, first_event=2, last_command=1)
    report = await kept.activate(other)
    await kept.close()

    assert json.loads(report.options)["started"]["last_command"] == 1


async def test_ends_and_continuations_have_a_line_in_the_log(
    counting: Any, caplog: pytest.LogCaptureFixture
) -> None:
    @workflow(name="activations.child")
    async def child(fails: bool) -> None:
        if fails:
            raise ValueError("broken\nin two lines")

    kept = Kept()
    parent = models.new_id()
    continues = claimed(
        counting,
        args='{"left": 1}',
        inbox=arrivals(completed(1, 1)),
    )
    fails = claimed(child, args='{"fails": true}', token=2, parent_id=parent)
    ends = claimed(child, args='{"fails": false}', token=3, parent_id=parent)
    with caplog.at_level(logging.INFO):
        for one in (continues, fails, ends):
            await kept.activate(one)
    await kept.close()

    assert [record.getMessage() for record in caplog.records] == [
        f"continued activations.counting {continues.execution_id} as new",
        f"failed activations.child {fails.execution_id} (child of {parent}): ValueError: broken",
        f"completed activations.child {ends.execution_id} (child of {parent})",
    ]


@pytest.mark.parametrize("word", Word)
async def test_end_whose_first_answer_was_lost_has_its_line_too(
    counting: Any, caplog: pytest.LogCaptureFixture, word: Word
) -> None:
    kept = Kept()
    ends = claimed(counting, args='{"left": 0}', inbox=arrivals(completed(1, 1)))
    with caplog.at_level(logging.INFO):
        await kept.activate(ends, word)
    await kept.close()

    is_stored = word in (Word.ACCEPTED, Word.ALREADY)
    assert len(caplog.records) == is_stored


@pytest.mark.parametrize("strict", [True, False])
async def test_workers_replay_strictly_where_a_setting_says_so(strict: bool) -> None:
    kept = Kept(0, strict=strict)

    assert kept.activations._is_strict is strict
    await kept.close()


async def test_what_has_not_been_answered_is_closed_too() -> None:
    closed: list[str] = []

    @workflow(name="activations.closable")
    async def closable(name: str) -> None:
        try:
            await wait_for_signal("never")
        finally:
            closed.append(name)

    kept = Kept()
    await kept.activate(claimed(closable, args='{"name": "cached"}'))
    kept.activations.start([claimed(closable, args='{"name": "unanswered"}', token=2)])
    report = await kept.host.reports.get()
    await kept.close()
    kept.activations.settled(report, Word.ACCEPTED)

    assert closed == ["cached", "unanswered"]


async def test_what_is_running_or_waits_for_a_thread_is_closed_too() -> None:
    closed: list[str] = []
    begun, goes_on = threading.Event(), threading.Event()

    @workflow(name="activations.closable_at_work")
    async def closable(name: str) -> None:
        try:
            if name == "running":
                begun.set()
                goes_on.wait()
            await wait_for_signal("go")
        finally:
            closed.append(name)

    kept = Kept()
    waiting = claimed(closable, args='{"name": "waiting"}')
    await kept.activate(waiting)
    running = claimed(closable, args='{"name": "running"}', token=2)
    woken = msgspec.structs.replace(waiting, token=3, last_event=1, inbox=arrivals(signal("go")))
    kept.activations.start([running, woken])
    await asyncio.to_thread(begun.wait)
    closing = asyncio.create_task(kept.close())
    await asyncio.sleep(0)
    goes_on.set()
    await closing

    assert sorted(closed) == ["running", "waiting"]


async def test_activations_of_one_claim_share_a_thread(counting: Any) -> None:
    kept = Kept()
    hops: list[Any] = []
    run_in_thread = kept.threads._threads.run

    def counted(function: Any) -> Any:
        hops.append(function)
        return run_in_thread(function)

    kept.threads._threads.run = counted  # type: ignore[method-assign]
    claims = [claimed(counting, args='{"left": 0}', token=token) for token in range(20)]
    kept.activations.start(claims)
    reports = [await kept.host.reports.get() for _ in claims]
    seen = len(hops)
    await kept.close()

    assert [report.token for report in reports] == [*range(20)]
    assert seen == 1


# --- code that blocks where no exception reaches it


class Gate:
    """Somewhere to hang until it is opened, whatever is thrown at who hangs."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self._opened = threading.Event()

    def wait(self) -> None:
        self.entered.set()
        while not self._opened.is_set():
            with suppress(BaseException):
                self._opened.wait()

    def open(self) -> None:
        self._opened.set()


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.open()


@pytest.fixture
def hanging(gate: Gate) -> Any:
    @workflow(name="activations.hanging")
    async def hanging() -> None:
        gate.wait()

    return hanging


@pytest.fixture
def hanging_at_its_end(gate: Gate) -> Any:
    @workflow(name="activations.hanging_at_its_end")
    async def hanging_at_its_end() -> None:
        try:
            await wait_for_signal("never")
        finally:
            gate.wait()

    return hanging_at_its_end


@contextmanager
def no_patience(kept: Kept) -> Iterator[None]:
    """What runs too long is stopped at once."""
    usual = kept.threads._settings
    kept.threads._settings = replace(
        usual, worker_deadlock_warning=0.001, worker_deadlock_timeout=0.001
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(workflow_threads, "_INTERRUPT_GRACE", 0.0)
        yield
    kept.threads._settings = usual


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def others_run(kept: Kept, function: Any) -> None:
    for token in range(10, 20):
        one = claimed(function, args='{"left": 0}', token=token)
        report = await asyncio.wait_for(kept.activate(one), 10)
        assert report.blocked is None
        await until(lambda: not kept.threads._closing)


async def test_code_that_cannot_be_stopped_keeps_nobody_from_running(
    gate: Gate, hanging: Any, counting: Any, caplog: pytest.LogCaptureFixture
) -> None:
    kept = Kept()
    kept.activations.start([claimed(hanging)])
    await asyncio.to_thread(gate.entered.wait)
    with no_patience(kept):
        report = await asyncio.wait_for(kept.host.reports.get(), 10)
        assert "could not be stopped; it was at" in report.blocked
        kept.activations.settled(report, Word.ACCEPTED)

    await others_run(kept, counting)
    assert (kept.threads._hung, kept.activations.hung) == (1, 0)
    assert "blocks where it cannot be stopped" in caplog.text
    gate.open()
    await until(lambda: not kept.threads._hung)
    await others_run(kept, counting)
    await until(lambda: not kept.threads._drainers)
    await kept.close()


async def test_clean_up_that_cannot_be_stopped_keeps_nobody_from_running(
    gate: Gate, hanging_at_its_end: Any, counting: Any, caplog: pytest.LogCaptureFixture
) -> None:
    kept = Kept(0)
    await kept.activate(claimed(hanging_at_its_end))
    await asyncio.to_thread(gate.entered.wait)

    await others_run(kept, counting)
    with no_patience(kept):
        await until(lambda: kept.threads._hung == 1)
    await others_run(kept, counting)
    assert "while it was to clean up" in caplog.text
    gate.open()
    await until(lambda: not kept.threads._hung and not kept.threads._drainers)
    await kept.close()


async def test_when_too_many_threads_hang_it_says_so(
    gate: Gate, hanging: Any, counting: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workflow_threads, "_MOST_HUNG", 2)
    kept = Kept()
    for token in range(3):
        assert not kept.activations.hung
        gate.entered.clear()
        kept.activations.start([claimed(hanging, token=token)])
        await asyncio.to_thread(gate.entered.wait)
        with no_patience(kept):
            kept.activations.settled(await kept.host.reports.get(), Word.ACCEPTED)
            await until(lambda count=token + 1: kept.threads._hung == count)  # type: ignore[misc]

    assert kept.activations.hung == 3
    await others_run(kept, counting)
    await kept.close()
