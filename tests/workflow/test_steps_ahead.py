"""Steps that a worker takes before the results they go by are stored, without a database."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest

from currant import (
    continue_as_new,
    definitions,
    models,
    steps_ahead,
    task,
    wait_for_signal,
    workflow,
    workflow_threads,
)
from currant.models import Completion, Step, Word
from currant.workflow.instance import Instance
from tests.workflow.support import START
from tests.workflow.test_activations import Gate, Kept, claimed, no_patience, until


@pytest.fixture(autouse=True)
def _forgotten_functions() -> Iterator[None]:
    before = set(definitions.registry.all())
    yield
    for one in definitions.registry.all():
        if one not in before:
            definitions.registry.remove(one.name)


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    # Not to depend on how busy the machine is.
    monkeypatch.setattr(steps_ahead, "_PATIENCE", 60.0)
    monkeypatch.setattr(steps_ahead, "_LONGEST_WAIT", 60.0)


@pytest.fixture
def _impatient(_patient: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps_ahead, "_PATIENCE", 0.1)
    monkeypatch.setattr(steps_ahead, "_LONGEST_WAIT", 0.2)


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.open()


@task(name="ahead.fetch")
def fetch(place: int) -> Any: ...


@pytest.fixture
def chain() -> Any:
    @workflow(name="ahead.chain")
    async def chain(length: int) -> list[Any]:
        return [await fetch.run(place) for place in range(length)]

    return chain


@pytest.fixture
def fan() -> Any:
    @workflow(name="ahead.fan")
    async def fan(width: int) -> list[Any]:
        seen = []

        async def one(place: int) -> None:
            seen.append(await fetch.run(place))

        async with asyncio.TaskGroup() as group:
            for place in range(width):
                group.create_task(one(place))
        return seen

    return fan


@pytest.fixture
def first() -> Any:
    @workflow(name="ahead.first")
    async def first() -> Any:
        waits = [asyncio.create_task(fetch.run(place)) for place in range(3)]
        done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        return [each.result() for each in done]

    return first


class Parked(Kept):
    """A run that waits, in memory, for its tasks."""

    def __init__(self, function: Any, *, cache: int = 10, **args: Any) -> None:
        super().__init__(cache)
        self.claim = claimed(function, args=json.dumps(args), token=1)
        self.tokens = iter(range(100, 1000))

    @property
    def run(self) -> UUID:
        return self.claim.execution_id

    @property
    def is_in_memory(self) -> bool:
        return self.run in self.activations._instances

    async def begin(self) -> models.Activation:
        report: models.Activation = await self.activate(self.claim)
        return report

    def complete(
        self, number: int | None, result: str = "null", *, at: datetime = START, **other: Any
    ) -> Completion | None:
        """A task of the run ends; None if it has to go alone."""
        of = task_of(self.run, number, next(self.tokens), **other)
        completion = Completion(of.execution_id, of.token, result)
        return completion if self.activations.step(completion, of, at) else None

    async def reported(self, count: int = 1) -> list[Any]:
        return [await asyncio.wait_for(self.host.reports.get(), 10) for _ in range(count)]

    def settle(self, report: Any, word: Word = Word.ACCEPTED) -> None:
        self.activations.settled(report, word)


def task_of(workflow: UUID | None, number: int | None, token: int, **other: Any) -> models.Claimed:
    given = {"kind": "task", "parent_id": workflow, "command_number": number, "token": token}
    return claimed(fetch, **{**given, **other})


async def test_result_goes_together_with_what_the_workflow_makes_of_it(chain: Any) -> None:
    parked = Parked(chain, length=2)
    await parked.begin()

    completion = parked.complete(1, '"a"', at=START + timedelta(seconds=5))
    (step,) = await parked.reported()
    parked.settle(step)
    last = parked.complete(2, '"b"')
    (end,) = await parked.reported()
    parked.settle(end)
    await parked.close()

    assert (step.execution_id, step.last_event, step.tasks) == (parked.run, 1, 1)
    assert step.completions == (completion,)
    (command,) = json.loads(step.commands)
    assert (command["event"], command["kind"], command["number"]) == (2, "task", 2)
    assert json.loads(step.options) == {"version": 1, "waits_for": "task ahead.fetch"}
    assert (end.last_event, end.completions, end.tasks) == (2, (last,), 0)
    assert json.loads(end.commands)[0]["payload"] == {"result": ["a", "b"]}
    assert not parked.is_in_memory


async def test_time_of_a_step_is_never_before_the_event_before_it(chain: Any) -> None:
    parked = Parked(chain, length=3)
    await parked.begin()
    times = []
    for number, seconds in enumerate((5, 3, 7), 1):
        parked.complete(number, at=START + timedelta(seconds=seconds))
        (step,) = await parked.reported()
        parked.settle(step)
        times.append((step.at - START).total_seconds())
    await parked.close()

    assert times == [5, 5, 7]


async def test_workflow_sees_the_result_as_it_will_be_stored() -> None:
    @workflow(name="ahead.keys")
    async def keys() -> Any:
        return list(await fetch.run(1))

    parked = Parked(keys)
    await parked.begin()
    parked.complete(1, '{"bb":1,"a":2,"B":3}')
    (step,) = await parked.reported()
    await parked.close()

    assert json.loads(step.commands)[0]["payload"] == {"result": ["B", "a", "bb"]}


async def test_what_cannot_go_ahead_is_left_to_others(chain: Any) -> None:
    parked = Parked(chain, length=1)
    before = parked.complete(1)
    await parked.begin()

    unsure = parked.complete(1, "1e400")
    not_asked_for = parked.complete(None)
    alone = parked.complete(1, parent_id=None)
    elsewhere = parked.complete(1, parent_id=models.new_id())
    await parked.close()

    assert [before, unsure, not_asked_for, alone, elsewhere] == [None] * 5
    assert parked.host.reports.empty()


async def test_without_a_cache_nothing_goes_ahead(
    chain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    parked = Parked(chain, length=1)
    monkeypatch.setattr(parked.host, "keeps", lambda instance: False)
    parked.activations._instances._keeps = parked.host.keeps
    await parked.begin()

    assert parked.complete(1) is None
    await parked.close()


async def test_what_completes_meanwhile_waits_for_the_answer(fan: Any) -> None:
    parked = Parked(fan, width=5)
    await parked.begin()
    parked.complete(1, "1")
    (step,) = await parked.reported()
    later = [parked.complete(number, str(number)) for number in (4, 2, 3)]
    assert parked.host.reports.empty()
    assert set(parked.activations.completing) == {100, 101, 102, 103}

    parked.settle(step)
    (second,) = await parked.reported()
    parked.settle(second)
    parked.complete(5, "5")
    (third,) = await parked.reported()
    parked.settle(third)
    await parked.close()

    assert [one.last_event for one in (step, second, third)] == [1, 2, 5]
    assert list(second.completions) == later
    assert json.loads(third.commands)[0]["payload"] == {"result": [1, 4, 2, 3, 5]}
    assert not parked.activations.is_busy


async def test_results_of_one_moment_share_a_thread_and_are_a_step_each(chain: Any) -> None:
    parked = Parked(chain, length=1)
    claims = [claimed(chain, args='{"length": 1}', token=token) for token in range(1, 9)]
    for one in claims:
        await parked.activate(one)
    hops = []
    run_in_thread = parked.threads._threads.run

    def counted(function: Any) -> Any:
        hops.append(function)
        return run_in_thread(function)

    await until(lambda: not parked.threads._drainers)
    parked.threads._threads.run = counted  # type: ignore[method-assign]
    for one in claims:
        parked.complete(1, parent_id=one.execution_id)
    steps = await parked.reported(8)
    seen = len(hops)
    await parked.close()

    assert [step.execution_id for step in steps] == [one.execution_id for one in claims]
    assert seen == 1


async def test_refused_step_leaves_nothing_in_memory(fan: Any) -> None:
    parked = Parked(fan, width=5)
    await parked.begin()
    parked.complete(1)
    (step,) = await parked.reported()
    later = [parked.complete(number) for number in (2, 3)]

    parked.settle(step, Word.REFUSED)
    alone = await parked.reported(2)

    assert alone == later
    assert not parked.is_in_memory
    assert parked.complete(4) is None
    assert not parked.activations.is_busy
    await parked.close()


async def test_what_a_run_does_not_take_because_it_ended_goes_after_the_step(first: Any) -> None:
    """Before, it would be something else that has happened, for which a step is refused."""
    parked = Parked(first)
    await parked.begin()
    parked.complete(9)  # of no command: the run goes on as it was
    (step,) = await parked.reported()
    taken = parked.complete(1, '"won"')
    left = [parked.complete(number, '"late"') for number in (2, 3)]
    parked.settle(step)
    (end,) = await parked.reported()

    assert end.completions == (taken,)
    assert json.loads(end.commands)[-1]["payload"] == {"result": ["won"]}
    assert parked.host.reports.empty()
    assert parked.activations.is_busy
    assert set(parked.activations.completing) >= {one.token for one in left if one}
    parked.settle(end)
    assert await parked.reported(2) == left
    assert not parked.activations.is_busy
    await parked.close()


async def test_the_end_of_a_run_has_its_line_in_the_log(
    chain: Any, caplog: pytest.LogCaptureFixture
) -> None:
    @workflow(name="ahead.continuing")
    async def continuing() -> None:
        await fetch.run(1)
        continue_as_new()

    @workflow(name="ahead.failing")
    async def failing() -> None:
        raise ValueError(await fetch.run(1))

    ends = {}
    with caplog.at_level(logging.INFO):
        for function, args, word in (
            (chain, {"length": 1}, Word.ACCEPTED),
            (continuing, {}, Word.ACCEPTED),
            (failing, {}, Word.ACCEPTED),
            (chain, {"length": 1}, Word.REFUSED),
            (chain, {"length": 2}, Word.ACCEPTED),
        ):
            parked = Parked(function, **args)
            await parked.begin()
            parked.complete(1, '"it"')
            (step,) = await parked.reported()
            parked.settle(step, word)
            ends[parked.run] = function.name
            await parked.close()

    completed, continued, failed, *_ = ends
    assert [record.getMessage() for record in caplog.records] == [
        f"completed ahead.chain {completed}",
        f"continued ahead.continuing {continued} as new",
        f"failed ahead.failing {failed}: ValueError: it",
    ]


async def test_claim_of_the_same_answer_comes_before_what_waited_for_it(fan: Any) -> None:
    parked = Parked(fan, width=4)
    await parked.begin()
    parked.complete(1)
    (step,) = await parked.reported()
    later = parked.complete(2)

    # The database took the step, and has the worker run the workflow for something else.
    parked.settle(step)
    woken = msgspec.structs.replace(parked.claim, token=2, last_event=2, last_command=4)
    parked.activations.start([woken])
    reports = await parked.reported(2)

    assert later in reports
    (activation,) = (one for one in reports if one is not later)
    assert (activation.token, activation.last_event) == (2, 2)
    parked.settle(activation)
    assert parked.is_in_memory
    await parked.close()


async def test_oldest_run_goes_when_the_cache_is_full(chain: Any) -> None:
    parked = Parked(chain, cache=1, length=3)
    await parked.begin()
    parked.complete(1)
    (step,) = await parked.reported()
    other = claimed(chain, args='{"length": 3}', token=2)
    await parked.activate(other)

    parked.settle(step)

    assert parked.is_in_memory
    assert other.execution_id not in parked.activations._instances
    assert parked.complete(1, parent_id=other.execution_id) is None
    await parked.close()


# --- Steps that are given up


@pytest.fixture
def slow(gate: Gate) -> Any:
    """It blocks after its first task until the gate is opened."""

    @workflow(name="ahead.slow")
    async def slow() -> None:
        first = asyncio.create_task(fetch.run(1))
        others = [asyncio.create_task(fetch.run(place)) for place in (2, 3)]
        await first
        gate.wait()
        await asyncio.wait(others)

    return slow


@pytest.mark.usefixtures("_impatient")
async def test_code_that_takes_long_is_not_waited_for(gate: Gate, slow: Any) -> None:
    parked = Parked(slow)
    await parked.begin()
    own = parked.complete(1)
    await asyncio.to_thread(gate.entered.wait)
    assert parked.activations.steps_under_way == 1
    later = parked.complete(2)

    alone = await parked.reported(2)

    assert alone == [own, later]
    assert parked.activations.steps_under_way == 0
    assert not parked.activations.is_busy
    assert parked.complete(3) is None
    gate.open()
    await until(lambda: not parked.threads._drainers)
    await asyncio.sleep(0)
    assert parked.host.reports.empty()
    assert not parked.is_in_memory
    await parked.close()


@pytest.mark.usefixtures("_impatient")
async def test_step_whose_code_cannot_be_stopped_is_reported_once(
    gate: Gate, slow: Any, caplog: pytest.LogCaptureFixture
) -> None:
    parked = Parked(slow)
    await parked.begin()
    own = parked.complete(1)
    await asyncio.to_thread(gate.entered.wait)
    with no_patience(parked):
        assert await parked.reported() == [own]
        await until(lambda: parked.threads._hung == 1)

    assert "blocks where it cannot be stopped" in caplog.text
    gate.open()
    await until(lambda: not parked.threads._hung and not parked.threads._drainers)
    assert parked.host.reports.empty()
    await parked.close()


@pytest.mark.usefixtures("_impatient")
async def test_step_that_waits_too_long_for_a_thread_is_given_up(
    gate: Gate, slow: Any, chain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workflow_threads, "_MOST_THREADS", 1)
    parked = Parked(slow)
    await parked.begin()
    other = claimed(chain, args='{"length": 2}', token=2)
    await parked.activate(other)
    await until(lambda: not parked.threads._drainers)
    own = parked.complete(1)
    await asyncio.to_thread(gate.entered.wait)
    waiting = parked.complete(1, parent_id=other.execution_id)

    assert await parked.reported(2) == [own, waiting]
    gate.open()
    await until(lambda: not parked.threads._drainers)
    assert parked.host.reports.empty()
    assert other.execution_id not in parked.activations._instances
    await parked.close()


@pytest.mark.parametrize("is_out_of_memory", [True, False])
async def test_what_goes_wrong_is_left_to_an_activation(is_out_of_memory: bool) -> None:
    @workflow(name="ahead.broken")
    async def broken() -> None:
        await fetch.run(1)
        if is_out_of_memory:
            raise MemoryError("no more")
        await asyncio.Event().wait()

    parked = Parked(broken)
    await parked.begin()
    own = parked.complete(1)

    assert await parked.reported() == [own]
    assert not parked.is_in_memory
    await parked.close()


async def test_a_condition_whose_text_cannot_be_had_ends_no_thread(
    chain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    parked = Parked(chain, length=3)
    await parked.begin()

    def broken(_: Any) -> str:
        raise RuntimeError("no words")

    with monkeypatch.context() as patched:
        patched.setattr(Instance, "waiting_for", broken)
        own = parked.complete(1)
        assert await parked.reported() == [own]

    await parked.begin()
    assert parked.complete(1) is not None
    (step,) = await parked.reported()
    assert isinstance(step, Step)
    await parked.close()


# --- The end of a worker


async def test_a_worker_that_stops_sends_completions_alone(gate: Gate, slow: Any) -> None:
    parked = Parked(slow)
    await parked.begin()
    own = parked.complete(1)
    await asyncio.to_thread(gate.entered.wait)
    later = parked.complete(2)

    parked.activations.stop_steps()

    assert await parked.reported(2) == [own, later]
    assert not parked.activations.is_busy
    assert parked.complete(3) is None
    gate.open()
    await parked.close()
    assert parked.host.reports.empty()


async def test_a_worker_that_stops_reports_what_waits_for_an_answer_with_it(fan: Any) -> None:
    parked = Parked(fan, width=5)
    await parked.begin()
    parked.complete(1)
    (step,) = await parked.reported()
    later = parked.complete(2)
    parked.activations.stop_steps()
    assert parked.host.reports.empty()

    parked.settle(step)

    # In the same turn of the loop: the engine may not come round again.
    assert parked.host.reports.get_nowait() == later
    assert not parked.activations.is_busy
    await parked.close()


async def test_a_worker_that_stops_between_an_answer_and_the_next_step_loses_nothing(
    fan: Any,
) -> None:
    parked = Parked(fan, width=5)
    await parked.begin()
    parked.complete(1)
    (step,) = await parked.reported()
    later = parked.complete(2)
    parked.settle(step)
    assert parked.activations.is_busy

    parked.activations.stop_steps()
    await asyncio.sleep(0)

    assert parked.host.reports.get_nowait() == later
    assert parked.host.reports.empty()
    assert not parked.activations.is_busy
    await parked.close()


async def test_no_step_is_left_open_at_the_end() -> None:
    closed: list[str] = []
    begun, goes_on = threading.Event(), threading.Event()

    @workflow(name="ahead.closable")
    async def closable(name: str) -> None:
        try:
            await fetch.run(1)
            if name == "running":
                begun.set()
                goes_on.wait()
            await wait_for_signal("never")
        finally:
            closed.append(name)

    parked = Parked(closable, name="reported")
    await parked.begin()
    others = {}
    for token, name in enumerate(("running", "waiting"), 2):
        others[name] = claimed(closable, args=json.dumps({"name": name}), token=token)
        await parked.activate(others[name])
    parked.complete(1)
    (step,) = await parked.reported()
    for one in others.values():
        parked.complete(1, parent_id=one.execution_id)
    await asyncio.to_thread(begun.wait)

    closing = asyncio.create_task(parked.close())
    await asyncio.sleep(0)
    goes_on.set()
    await closing
    parked.settle(step)

    assert sorted(closed) == ["reported", "running", "waiting"]
