"""A workflow engine in memory: numbers events, keeps the history, moves a clock. No database."""

import json
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from currant.workflow.api import run_task
from currant.workflow.history import Command, Event, RunInfo, Step, started_payload
from currant.workflow.instance import Instance

START = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
RUN_ID = UUID("0199d3c0-0000-7000-8000-000000000001")
ENDS = ("complete", "fail", "cancelled")

Workflow = Callable[..., Coroutine[Any, Any, Any]]


def step(name: str, *args: Any) -> Coroutine[Any, Any, Any]:
    """What a decorated task's `.run(...)` does."""
    return run_task(name, json.dumps(args), {}, json.loads)


def new_instance(workflow: Workflow, *args: Any, run_id: UUID = RUN_ID) -> Instance:
    """A run in memory that nothing has happened to yet."""
    info = RunInfo(id=run_id, function=workflow.__name__, created_at=START)
    return Instance(info, lambda: workflow(*args), json.dumps)


# What the tests have started, for conftest.py to close.
started: "list[Run]" = []


class Run:
    """One run of a workflow, from its first event on.

    Args:
        replay_always: forget the instance before every event, so that each one is a replay.
    """

    def __init__(
        self, workflow: Workflow, *args: Any, replay_always: bool = False, run_id: UUID = RUN_ID
    ) -> None:
        self.workflow = workflow
        self.args = args
        self.run_id = run_id
        self.now = START
        self.history: list[Step] = []
        self.open: dict[int, Command] = {}
        self.replay_always = replay_always
        self.instance = new_instance(workflow, *args, run_id=run_id)
        started.append(self)
        self._apply("started", payload=started_payload(1))

    # --- what happens to it

    def complete(self, which: int | str, result: Any = None) -> list[Command]:
        return self._apply("task_completed", self._take(which), payload=json.dumps(result))

    def fail(
        self, which: int | str, type_: str = "ValueError", message: str = "no"
    ) -> list[Command]:
        error = {"type": type_, "message": message, "status": "failed", "attempts": 3}
        return self._apply("task_failed", self._take(which), payload=json.dumps(error))

    def fire(self, number: int | None = None) -> list[Command]:
        """Fire a timer: the one that is due first, unless a number is given."""
        timers = [c for c in self.open.values() if c.kind == "timer"]
        chosen = (
            self.open[number] if number else min(timers, key=lambda c: (due(c, self), c.number))
        )
        self.now = max(self.now, due(chosen, self))
        assert chosen.number is not None
        self._take(chosen.number)
        return self._apply("timer_fired", chosen.number)

    def signal(self, name: str, payload: Any = None) -> list[Command]:
        return self._apply("signal_received", name=name, payload=json.dumps(payload))

    def cancel(self, reason: str | None = None) -> list[Command]:
        return self._apply("cancel_requested", payload=json.dumps({"reason": reason}))

    def late(self, number: int, result: Any = None) -> list[Command]:
        """The result of a command that is not open any more arrives."""
        return self._apply("task_completed", number, payload=json.dumps(result))

    def pass_time(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def crash(self, workflow: Workflow | None = None) -> None:
        """Forget the instance, and replay the history, on other code if it is given."""
        self.instance.close()
        self.workflow = workflow or self.workflow
        self.instance = new_instance(self.workflow, *self.args, run_id=self.run_id)
        self.instance.replay(self.history)

    # --- what it did

    @property
    def commands(self) -> list[Command]:
        return [command for step in self.history for command in step.commands]  # type: ignore[misc]

    @property
    def short(self) -> list[str]:
        """The commands in short, such as `task 1 charge`."""
        return [
            " ".join(str(part) for part in (c.kind, c.number, c.name) if part is not None)
            for c in self.commands
        ]

    @property
    def waits_for_signal(self) -> bool:
        return "signal" in self.instance.waiting_for()

    @property
    def end(self) -> Command | None:
        last = self.commands[-1:]
        return last[0] if last and last[0].kind in ENDS else None

    @property
    def result(self) -> Any:
        """The result; fails the test if there is none."""
        assert self.end is not None, f"still waits for {self.instance.waiting_for()}"
        assert self.end.kind == "complete", self.end.payload
        return json.loads(self.end.payload or "")["result"]

    @property
    def error(self) -> dict[str, Any]:
        assert self.end is not None, f"still waits for {self.instance.waiting_for()}"
        assert self.end.kind in ("fail", "cancelled"), self.end
        error: dict[str, Any] = json.loads(self.end.payload or "")["error"]
        return error

    def number_of(self, name: str) -> int:
        """The number of the oldest open task of that name."""
        return next(n for n, c in self.open.items() if c.name == name)

    # --- inside

    def _take(self, which: int | str) -> int:
        number = which if isinstance(which, int) else self.number_of(which)
        del self.open[number]
        return number

    def _apply(
        self,
        kind: str,
        command: int | None = None,
        name: str | None = None,
        payload: str | None = None,
    ) -> list[Command]:
        if self.replay_always and self.history:
            self.crash()
        event = Event(len(self.history) + 1, kind, self.now, command, name, payload)
        commands = self.instance.apply(event)
        self.history.append(Step(event, commands))
        for issued in commands:
            assert json.loads(issued.to_json())["kind"] == issued.kind
            if issued.kind in ("task", "timer"):
                assert issued.number is not None
                self.open[issued.number] = issued
            elif issued.kind == "cancel":
                assert issued.number is not None
                del self.open[issued.number]
        return commands


def due(timer: Command, run: Run) -> datetime:
    asked = run.history[timer.event - 1].event.at
    return asked + timedelta(seconds=json.loads(timer.payload or "")["seconds"])
