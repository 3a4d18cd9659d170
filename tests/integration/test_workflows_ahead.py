"""Steps that workers take ahead, on real workers: that they are taken, and what comes between."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

import currant
from currant import (
    Cancelled,
    Client,
    Status,
    continue_as_new,
    definitions,
    models,
    replaying,
    steps_ahead,
    task,
    wait_for_signal,
    workflow,
)
from currant.steps_ahead import StepsAhead
from currant.worker import Worker
from tests.integration.conftest import StartWorker
from tests.integration.flows import commands, events, waits_for
from tests.support.worker_database import Database, eventually

QUEUE = "ahead"


class Steps:
    """How the database has answered steps, and what happens just before one is sent."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self.words: list[models.Word] = []
        self.before: Callable[[models.Step], object] | None = None
        settled, computed = Worker.settled, StepsAhead.computed

        def answered(worker: Worker, report: models.Report, word: models.Word) -> None:
            if isinstance(report, models.Step):
                self.words.append(word)
            settled(worker, report, word)

        def reported(ahead: StepsAhead, job: Any, step: models.Step | None) -> None:
            if step is not None and self.before is not None:
                self.before(step)
            computed(ahead, job, step)

        # Not to depend on how busy the machine is.
        self.be_patient(60.0)
        monkeypatch.setattr(Worker, "settled", answered)
        monkeypatch.setattr(StepsAhead, "computed", reported)

    async def answers(self, count: int) -> list[models.Word]:
        """The first so many answers; who waits for a result may hear of it before the worker."""
        await eventually(lambda: len(self.words) >= count, f"{count} answers to steps")
        return self.words

    def be_patient(self, seconds: float) -> None:
        """Wait for steps for so long."""
        self._monkeypatch.setattr(steps_ahead, "_PATIENCE", seconds)
        self._monkeypatch.setattr(steps_ahead, "_LONGEST_WAIT", seconds)

    def once(self, happens: Callable[[models.Step], object]) -> None:
        """Before the next step is sent, and never again."""

        def happens_once(step: models.Step) -> None:
            self.before = None
            happens(step)

        self.before = happens_once


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    """What becomes of the steps of the test's workers."""
    return Steps(monkeypatch)


@pytest.fixture
def runs() -> dict[str, int]:
    """How often each task has run."""
    return {}


@pytest.fixture(autouse=True)
def _functions(functions: None, runs: dict[str, int]) -> None:
    @task(name="ahead.add", queue=QUEUE, retry_delay=0)
    async def add(a: int, b: int, name: str) -> int:
        runs[name] = runs.get(name, 0) + 1
        return a + b

    @workflow(name="ahead.climb", queue=QUEUE)
    async def climb(steps: int, name: str = "") -> int:
        height = 0
        for step in range(steps):
            height = await add.run(height, step, f"{name} {step}")
        return height


def function(name: str) -> Any:
    return definitions.registry.get(f"ahead.{name}")


def follow(database: Database, execution: UUID | str) -> None:
    """Replay it and compare everything."""
    document = database.value("select currant.export_history(%s)::text", str(execution))
    report = replaying.replay(document, definitions.registry)
    assert report.ok, str(report)


def history(database: Database, execution: UUID | str) -> list[Any]:
    """What happened and was asked for, but for ids and times."""
    rows = database.rows(
        "select event, position, kind, number, name, payload, source from currant.history(%s)",
        execution,
    )
    return [tuple(row) for row in rows]


async def test_every_step_of_a_chain_is_taken_ahead(
    work: StartWorker, database: Database, steps: Steps
) -> None:
    work(QUEUE)
    handle = await function("climb").queue(10)

    assert await handle.result(timeout=20) == sum(range(10))
    assert await steps.answers(10) == [models.Word.ACCEPTED] * 10
    # Its own events never were in its inbox.
    assert database.value("select last_value from currant.inbox_arrival_seq") <= 1
    assert events(database, handle) == ["started"] + ["task_completed"] * 10
    follow(database, handle.id)


async def test_histories_are_the_same_with_and_without(
    work: StartWorker, database: Database, steps: Steps
) -> None:
    @task(queue=QUEUE, retries=0)
    async def broken() -> None:
        raise ValueError("broken")

    @workflow(queue=QUEUE)
    async def mixed(width: int) -> list[Any]:
        add = function("add")
        found: list[Any] = [await add.run(0, 1, "first")]
        for n in range(width):
            found.append(await asyncio.wait_for(add.run(n, n, f"limited {n}"), 3600))
        try:
            await broken.run()
        except currant.TaskFailed as error:
            found.append(error.type)
        await asyncio.sleep(0.001)
        found.append(currant.random().random() < 2)
        return found

    found = {}
    for cache in (1000, 0):
        worker = work(QUEUE, worker_workflow_cache=cache)
        handle = await mixed.queue(4)
        result = await handle.result(timeout=20)
        await worker.stop()
        follow(database, handle.id)
        found[cache] = (result, history(database, handle))

    assert steps.words.count(models.Word.ACCEPTED) >= 4
    assert found[1000] == found[0]


async def test_fan_out_and_in_of_a_thousand_never_exceeds_its_slots(
    work: StartWorker, database: Database, steps: Steps
) -> None:
    running = most = 0

    @task(queue=QUEUE)
    async def part(n: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return n

    @workflow(queue=QUEUE)
    async def whole(width: int) -> int:
        return sum(await asyncio.gather(*(part.run(n) for n in range(width))))

    work(QUEUE, worker_max_concurrent=20)
    handle = await whole.queue(1000)

    assert await handle.result(timeout=60) == sum(range(1000))
    assert most <= 20
    assert models.Word.ACCEPTED in steps.words
    assert events(database, handle).count("task_completed") == 1000
    assert database.rows("select * from currant.attempts") == []
    follow(database, handle.id)


async def test_slots_are_enough_for_many_chains_at_once(
    work: StartWorker, database: Database, steps: Steps
) -> None:
    running = most = 0

    @task(queue=QUEUE)
    async def busy(n: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(3):
            await asyncio.sleep(0)
        running -= 1
        return n

    @workflow(queue=QUEUE)
    async def chain(length: int) -> int:
        return sum([await busy.run(n) for n in range(length)])

    work(QUEUE, worker_max_concurrent=3)
    handles = [await chain.queue(6) for _ in range(30)]
    loose = [await busy.queue(n) for n in range(30)]

    assert [await handle.result(timeout=60) for handle in handles] == [15] * 30
    assert [await handle.result(timeout=60) for handle in loose] == [*range(30)]
    assert most <= 3
    assert models.Word.ACCEPTED in steps.words


async def test_two_workers_run_every_step_once(
    work: StartWorker, database: Database, steps: Steps, runs: dict[str, int]
) -> None:
    work(QUEUE)
    work(QUEUE)
    handles = [await function("climb").queue(10, str(n)) for n in range(20)]

    assert [await handle.result(timeout=60) for handle in handles] == [45] * 20
    assert runs == {f"{n} {step}": 1 for n in range(20) for step in range(10)}
    assert database.rows("select * from currant.attempts") == []
    for handle in handles:
        assert events(database, handle) == ["started"] + ["task_completed"] * 10
        follow(database, handle.id)


async def test_worker_that_stops_loses_no_completion(
    work: StartWorker, database: Database, steps: Steps, runs: dict[str, int]
) -> None:
    """Whatever its steps are at: each task still runs once."""
    worker = work(QUEUE)
    handles = [await function("climb").queue(20, str(n)) for n in range(10)]
    for count in (5, 25, 60):
        while len(steps.words) < count:  # noqa: ASYNC110
            await asyncio.sleep(0)
        # At once, in the middle of things.
        worker.worker.stop()
        worker.worker.stop()
        await worker.ended
        worker = work(QUEUE)

    assert [await handle.result(timeout=60) for handle in handles] == [190] * 10
    assert set(runs.values()) == {1}
    for handle in handles:
        follow(database, handle.id)


# --- What comes in between


async def test_signal_that_arrives_before_the_step_is_read(
    work: StartWorker, database: Database, steps: Steps
) -> None:
    @workflow(queue=QUEUE)
    async def signalled() -> list[Any]:
        told = asyncio.create_task(wait_for_signal("word"))
        height = await function("add").run(1, 2, "it")
        return [height, await told]

    work(QUEUE)
    signal = """select currant.signal(%s, 'word', '"now"')"""
    steps.once(lambda step: database.rows(signal, step.execution_id))
    handle = await signalled.queue()

    assert await handle.result(timeout=20) == [3, "now"]
    assert await steps.answers(1) == [models.Word.REFUSED]
    assert sorted(events(database, handle)) == ["signal_received", "started", "task_completed"]
    follow(database, handle.id)


@pytest.mark.parametrize("is_last", [True, False])
async def test_cancellation_that_arrives_before_the_step_holds(
    work: StartWorker, database: Database, steps: Steps, runs: dict[str, int], is_last: bool
) -> None:
    @workflow(queue=QUEUE)
    async def cancelled() -> None:
        try:
            await function("add").run(1, 2, "it")
            if not is_last:
                await wait_for_signal("never")
        finally:
            if not is_last:
                await function("add").run(1, 2, "clean up")

    work(QUEUE)
    steps.once(lambda step: database.rows("select currant.cancel(%s)", step.execution_id))
    handle = await cancelled.queue()

    with pytest.raises(Cancelled):
        await handle.result(timeout=20)
    if not is_last:
        assert runs == {"it": 1, "clean up": 1}
    assert steps.words[0] is models.Word.REFUSED
    assert "cancel_requested" in events(database, handle)
    follow(database, handle.id)


async def test_step_of_older_code_than_the_runs_is_refused(
    work: StartWorker, database: Database, steps: Steps
) -> None:
    work(QUEUE)

    def newer(version: int) -> None:
        database.rows("update currant.workflows set version = %s", version)

    steps.once(lambda step: newer(2))
    handle = await function("climb").queue(3)
    await waits_for(database, "a worker that has version 2")
    assert await steps.answers(1) == [models.Word.REFUSED]
    assert await handle.status() is Status.BLOCKED

    newer(1)
    database.rows("update currant.delayed set due_at = now()")
    assert await handle.result(timeout=20) == 3
    assert events(database, handle) == ["started"] + ["task_completed"] * 3
    follow(database, handle.id)


async def test_clock_that_is_put_back_stands_still_until_it_has_caught_up(
    work: StartWorker, database: Database, steps: Steps, runs: dict[str, int]
) -> None:
    def put_back(step: models.Step) -> None:
        database.rows(
            "update currant.workflows set last_at = now() + interval '1 minute'"
            " where execution_id = %s",
            step.execution_id,
        )

    work(QUEUE)
    steps.once(put_back)
    handle = await function("climb").queue(4)

    assert await handle.result(timeout=20) == 6
    assert await steps.answers(4) == [models.Word.REFUSED] + [models.Word.ACCEPTED] * 3
    assert set(runs.values()) == {1}
    ats = [row.at for row in database.rows("select at from currant.history(%s)", handle)]
    assert ats == sorted(ats)
    follow(database, handle.id)


async def test_runs_continue_and_end_in_steps(
    work: StartWorker, database: Database, steps: Steps, runs: dict[str, int]
) -> None:
    @workflow(queue=QUEUE)
    async def counting(left: int, total: int = 0) -> int:
        total = await function("add").run(total, left, str(left))
        if left:
            continue_as_new(left - 1, total)
        return total

    work(QUEUE)
    handle = await counting.queue(10)

    assert await handle.result(timeout=20) == 55
    assert await steps.answers(11) == [models.Word.ACCEPTED] * 11
    assert commands(database, handle).count("continue_as_new") == 10
    assert set(runs.values()) == {1}


async def test_what_is_left_when_a_run_ends_in_a_step_is_no_matter(
    work: StartWorker, app: Client, database: Database, steps: Steps
) -> None:
    @task(queue=QUEUE)
    async def racer(n: int) -> int:
        return n

    @workflow(queue=QUEUE)
    async def race(width: int) -> int:
        racers = [asyncio.create_task(racer.run(n)) for n in range(width)]
        done, _ = await asyncio.wait(racers, return_when=asyncio.FIRST_COMPLETED)
        return len(done)

    work(QUEUE, worker_max_concurrent=5)
    handles = [await race.queue(5) for _ in range(5)]

    assert [await handle.result(timeout=20) for handle in handles] == [1] * 5
    await database.eventually(
        "select count(*) = (select count(*) from currant.executions) from currant.outcomes"
    )
    assert models.Word.ACCEPTED in steps.words
    assert database.rows("select * from currant.attempts") == []


async def test_what_json_cannot_foresee_goes_the_other_way(
    work: StartWorker, database: Database, steps: Steps
) -> None:
    @task(queue=QUEUE)
    async def large() -> Any:
        return {"zz": 1e20, "a": [1e-9, -0.0]}

    @task(queue=QUEUE)
    async def small() -> Any:
        return {"zz": 1.5, "a": [10, 1.0]}

    @workflow(queue=QUEUE)
    async def both() -> list[str]:
        return [repr(await large.run()), repr(await small.run())]

    work(QUEUE)
    handle = await both.queue()

    assert await handle.result(timeout=20) == [
        "{'a': [1e-09, 0.0], 'zz': 100000000000000000000}",
        "{'a': [10, 1.0], 'zz': 1.5}",
    ]
    assert await steps.answers(1) == [models.Word.ACCEPTED]
    follow(database, handle.id)


async def test_results_do_not_wait_for_slow_workflow_code(
    work: StartWorker, database: Database, steps: Steps, runs: dict[str, int]
) -> None:
    @workflow(queue=QUEUE)
    async def slow() -> int:
        first = asyncio.create_task(function("add").run(1, 1, "first"))
        second = asyncio.create_task(function("add").run(2, 2, "second"))
        found = await first
        blocked.wait(20)
        return found + await second

    blocked = threading.Event()
    steps.be_patient(0.1)
    work(QUEUE)
    handle = await slow.queue()

    await database.eventually("select count(*) = 2 from currant.outcomes")
    assert not steps.words
    blocked.set()
    assert await handle.result(timeout=20) == 6
    assert runs == {"first": 1, "second": 1}
    follow(database, handle.id)
