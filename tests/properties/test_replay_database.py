"""Random workflows on real workers, which are stopped and cut off while they run them.

Their histories are then replayed, and held against what plain asyncio does under the same events.
"""

import asyncio
import contextlib
import json
import logging
import random
from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.types.json import Jsonb

import currant
from currant import definitions, models
from currant.workflow.history import Carried, Command, RunInfo, steps
from tests.properties.extent import FIRST_SEED, PROGRAMS_ON_WORKERS
from tests.properties.replay_checks import check_plain
from tests.properties.replay_records import Run
from tests.support.worker_database import Database
from tests.support.worker_inline import InlineWorker
from tests.workflow.performing import FUNCTION, run_program
from tests.workflow.programs import Program, from_seed

QUEUE = "programs"
OPTIONS = Jsonb({"queue": QUEUE, "kind": "workflow"})
ENDED = """
    select e.id, e.parent_id, e.args, e.created_at, o.status, o.result, o.error
    from currant.executions as e join currant.outcomes as o on o.execution_id = e.id
    where e.function = 'program'
    order by e.id
"""
OPEN = """
    select e.id from currant.executions as e
    where
        e.function = 'program'
        and not exists (select from currant.outcomes as o where o.execution_id = e.id)
"""
HISTORY = """
    select
        h.event, h.position, h.kind, h.number, h.name, h.payload::text as payload, h.execution_id,
        h.source, h.at
    from currant.history(%s) as h
"""
# Stored histories do not repeat the arguments of executions.
NOT_STORED = frozenset({"task", "child", "queue"})


@pytest.fixture
def registered() -> Iterator[None]:
    """The functions that programs use."""
    before = {one.name for one in definitions.registry.all()}
    chance = random.Random(FIRST_SEED)

    async def work(key: str) -> str:
        await asyncio.sleep(chance.choice([0, 0, 0.01, 0.05]))
        if chance.random() < 0.2:
            raise ValueError(key)
        return f"result of {key}"

    async def perform(program: Any) -> Any:
        return await run_program(program)

    for name in ("a", "b", "c", "f"):
        currant.task(name=name, queue=QUEUE, retries=0)(work)
    currant.workflow(name=FUNCTION, queue=QUEUE)(perform)
    logger = logging.getLogger("currant")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(level)
    for one in definitions.registry.all():
        if one.name not in before:
            definitions.registry.remove(one.name)


class Storm:
    """Workers that come and go, signals and cancellations, until everything has ended."""

    def __init__(self, seen: Database) -> None:
        self.seen = seen
        self.chance = random.Random(f"storm {FIRST_SEED}")
        self.workers: list[InlineWorker] = []

    async def run(self) -> None:
        """Run whatever is enqueued to its end."""
        for _ in range(3):
            self._start()
        try:
            await self._rage(2 + PROGRAMS_ON_WORKERS / 10)
            await self._calm_down()
        finally:
            for worker in self.workers:
                await worker.finish()

    async def _rage(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while loop.time() < end and (waiting := self._open()):
            await asyncio.sleep(0.03)
            match self.chance.randrange(20):
                case 0:
                    self._start()
                    await self.workers.pop(0).finish()
                case 1:
                    self._cut_off()
                case 2:
                    self._cancel(self.chance.choice(waiting))
                case _:
                    self._signal(self.chance.choice(waiting))

    async def _calm_down(self) -> None:
        for turn in range(300):
            await asyncio.sleep(0.1)
            for execution in self._open():
                if turn < 10:
                    self._signal(execution)
                elif turn % 5 == 0:
                    self._cancel(execution)
            if not self._open():
                return
        raise AssertionError(f"still open: {self._open()}")

    def _open(self) -> list[UUID]:
        return [row.id for row in self.seen.rows(OPEN)]

    def _start(self) -> None:
        kept = self.chance.choice([0, 3, 100])
        self.workers.append(InlineWorker(self.seen.url, QUEUE, worker_workflow_cache=kept))

    def _cut_off(self) -> None:
        self.seen.rows(
            """
            select pg_terminate_backend(pid) from pg_stat_activity
            where
                datname = current_database() and application_name <> 'test'
                and random() < 0.5
            """
        )

    def _signal(self, execution: UUID) -> None:
        with contextlib.suppress(psycopg.Error):
            name, payload = self.chance.choice("xy"), Jsonb(self.chance.randrange(100))
            self.seen.rows("select currant.signal(%s, %s, %s)", execution, name, payload)

    def _cancel(self, execution: UUID) -> None:
        with contextlib.suppress(psycopg.Error):
            self.seen.rows("select currant.cancel(%s, 'a storm')", execution)


def runs_of(row: Any, history: Sequence[models.HistoryEntry]) -> list[Run]:
    """The runs of an execution as they are recorded, each from its `started` event on."""
    found: list[list[models.HistoryEntry]] = []
    for entry in history:
        if entry.kind == "started" and not entry.position:
            found.append([])
        found[-1].append(entry)
    program, runs = _program(row.args), []
    for entries in found:
        started = json.loads(entries[0].payload or "{}")
        info = RunInfo(
            row.id,
            FUNCTION,
            queue=QUEUE,
            parent_id=row.parent_id,
            created_at=row.created_at,
            first_event=entries[0].event,
        )
        carried = Carried(started["last_command"]) if "last_command" in started else None
        runs.append(Run(info, program, carried, list(steps(entries))))
        if entries[-1].kind == "continue_as_new":
            program = _program(json.loads(entries[-1].payload or "{}")["args"])
    return runs


def _program(args: Any) -> Program:
    return args[0] if isinstance(args, list) else args["program"]


def with_outcome(run: Run, row: Any) -> Run:
    """The run with commands as they were sent, as far as that can be known."""
    outcome = {"result": row.result} if row.status == "completed" else {"error": row.error}
    run.steps = [
        step._replace(
            commands=[
                Command(
                    step.event.number,
                    command.kind,
                    command.number,
                    command.name,
                    json.dumps(outcome)
                    if command.kind in ("complete", "fail")
                    else command.payload,
                )
                for command in step.commands
            ]
        )
        for step in run.steps
    ]
    return run


@pytest.mark.timeout(90 + 2 * PROGRAMS_ON_WORKERS)
async def test_histories_of_real_workers_replay_and_are_what_asyncio_does(
    database_url: str, registered: None
) -> None:
    seen = Database(database_url)
    for seed in range(FIRST_SEED, FIRST_SEED + PROGRAMS_ON_WORKERS):
        args = Jsonb([from_seed(f"real {seed}", size=30, pace=0.02)])
        seen.rows("select currant.enqueue('program', %s, %s)", args, OPTIONS)

    await Storm(seen).run()

    histories = [(row, seen.rows(HISTORY, row.id)) for row in seen.rows(ENDED)]
    seen.close()
    await asyncio.to_thread(check_all, histories)


def check_all(histories: list[tuple[Any, list[Any]]]) -> None:
    """Replay them, and compare. In a thread of its own: asyncio runs one loop in a thread."""
    events = compared = 0
    for row, history in histories:
        for run in runs_of(row, history):
            events += len(run.steps)
            instance = run.new_instance(strict=True)
            instance.replay(run.steps)
            instance.close()
            compared += check_plain(with_outcome(run, row), NOT_STORED)
    assert events > 2 * PROGRAMS_ON_WORKERS
    assert compared > PROGRAMS_ON_WORKERS / 2
