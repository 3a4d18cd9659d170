"""A workflow engine in memory: numbers events, keeps the history, moves a clock. No database."""

import copy
import json
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from currant.workflow.api import continue_as_new, run_child, run_task
from currant.workflow.history import Carried, Command, Event, RunInfo, Step, started_payload
from currant.workflow.instance import Instance

START = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
RUN_ID = UUID("0199d3c0-0000-7000-8000-000000000001")
ENDS = ("complete", "fail", "cancelled")
# What an event is going to answer.
ANSWERED = ("task", "child", "attach", "timer")

Workflow = Callable[..., Coroutine[Any, Any, Any]]


def step(name: str, *args: Any) -> Coroutine[Any, Any, Any]:
    """What a decorated task's `.run(...)` does."""
    return run_task(name, json.dumps(args), {}, json.loads)


def child(name: str, *args: Any, **options: Any) -> Coroutine[Any, Any, Any]:
    """What a decorated workflow's `.run(...)` does inside of another."""
    return run_child(name, json.dumps(args), options, json.loads)


def anew(*args: Any) -> Any:
    """What `currant.continue_as_new(...)` does."""
    continue_as_new(json.dumps(args))


def new_instance(
    workflow: Workflow,
    *args: Any,
    run_id: UUID = RUN_ID,
    first_event: int = 1,
    strict: bool = False,
    largest: int | None = None,
) -> Instance:
    """A run in memory that nothing has happened to yet."""
    info = RunInfo(id=run_id, function=workflow.__name__, created_at=START, first_event=first_event)
    return Instance(
        info,
        lambda: workflow(*copy.deepcopy(args)),
        json.dumps,
        strict=strict,
        largest=largest,
    )


# What the tests have started, for conftest.py to close.
started: "list[Run]" = []


class Run:
    """A workflow, from its first event on, through all runs if it continues as new.

    Args:
        replay_always: forget the instance before every event, so that each one is a replay.
        largest: bytes that a value may have; may be changed under way.

    Attributes:
        history: of the current run.
        past: the histories of the runs before it.
        open: the commands of the current run that are to be answered, by number.
    """

    def __init__(
        self,
        workflow: Workflow,
        *args: Any,
        replay_always: bool = False,
        run_id: UUID = RUN_ID,
        largest: int | None = None,
    ) -> None:
        self.largest = largest
        self.workflow = self._first_workflow = workflow
        self.args = self._first_args = args
        self.run_id = run_id
        self.now = START
        self.first_event = 1
        self.history: list[Step] = []
        self.past: list[list[Step]] = []
        self.open: dict[int, Command] = {}
        self.replay_always = replay_always
        self.instance = new_instance(workflow, *args, run_id=run_id, largest=largest)
        started.append(self)
        self._apply("started", payload=started_payload(1))

    # --- what happens to it

    def complete(self, which: int | str, result: Any = None, *, by: str = "") -> list[Command]:
        """A task, a child, or what it is attached to, completes.

        Args:
            by: the kind of event if it is not that of the command, such as "attached".
        """
        number, kind = self._take(which, by)
        return self._apply(f"{kind}_completed", number, payload=json.dumps(result))

    def fail(
        self,
        which: int | str,
        type_: str = "ValueError",
        message: str = "no",
        *,
        by: str = "",
        **details: Any,
    ) -> list[Command]:
        error = {"type": type_, "message": message, "status": "failed", "attempts": 3, **details}
        number, kind = self._take(which, by)
        return self._apply(f"{kind}_failed", number, payload=json.dumps(error))

    def fire(self, number: int | None = None) -> list[Command]:
        """Fire a timer: the one that is due first, unless a number is given."""
        timers = [c for c in self.open.values() if c.kind == "timer"]
        chosen = (
            self.open[number] if number else min(timers, key=lambda c: (due(c, self), c.number))
        )
        self.now = max(self.now, due(chosen, self))
        assert chosen.number is not None
        del self.open[chosen.number]
        return self._apply("timer_fired", chosen.number)

    def signal(self, name: str, payload: Any = None) -> list[Command]:
        return self._apply("signal_received", name=name, payload=json.dumps(payload))

    def cancel(self, reason: str | None = None) -> list[Command]:
        return self._apply("cancel_requested", payload=json.dumps({"reason": reason}))

    def late(self, number: int, result: Any = None, kind: str = "task") -> list[Command]:
        """The result of a command that is not open any more arrives."""
        return self._apply(f"{kind}_completed", number, payload=json.dumps(result))

    def pass_time(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def crash(self, workflow: Workflow | None = None) -> None:
        """Forget the instance, and replay the history, on other code if it is given.

        The same code has to ask for exactly the same, down to the arguments.
        """
        self.instance.close()
        self.workflow = workflow or self.workflow
        self.instance = self._new_instance(strict=workflow is None)
        self.instance.replay(self.history)
        assert not self.instance.notes

    def crash_everywhere(self) -> None:
        """Replay every beginning of every run's history; each must go on as it went on then.

        Not if the code was changed under way.
        """
        if self.workflow is not self._first_workflow or self._args_of(1) != self._first_args:
            return
        for history in (*self.past, self.history):
            first = history[0].event
            for cut in range(len(history)):
                instance = self._new_instance(strict=True, run=history)
                try:
                    instance.replay(history[:cut])
                    for event, commands in history[cut:]:
                        assert instance.apply(event) == commands, f"cut at {first.number + cut}"
                finally:
                    instance.close()

    # --- what it did

    @property
    def commands(self) -> list[Command]:
        """Everything it asked for, in all runs."""
        histories = (*self.past, self.history)
        return [c for steps in histories for s in steps for c in s.commands]  # type: ignore[misc]

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

    def payload(self, number: int) -> Any:
        """What the command of a number carries."""
        (payload,) = (c.payload for c in self.commands if c.number == number and c.kind != "cancel")
        return json.loads(payload or "null")

    def number_of(self, name: str) -> int:
        """The number of the oldest open task or child of that name."""
        return next(n for n, c in self.open.items() if c.name == name)

    # --- inside

    def _new_instance(self, *, strict: bool, run: list[Step] | None = None) -> Instance:
        first = self.first_event if run is None else run[0].event.number
        args = self._args_of(first)
        return new_instance(
            self.workflow,
            *args,
            run_id=self.run_id,
            first_event=first,
            strict=strict,
            largest=self.largest,
        )

    def _args_of(self, first_event: int) -> Any:
        """The arguments of the run that begins with that event."""
        if first_event == self.first_event:
            return self.args
        if first_event == 1:
            return self._first_args
        before = next(steps for steps in self.past if steps[-1].event.number == first_event - 1)
        return json.loads(before[-1].commands[-1].payload or "")["args"]

    def _take(self, which: int | str, by: str) -> tuple[int, str]:
        number = which if isinstance(which, int) else self.number_of(which)
        kind = by or {"attach": "attached"}.get(self.open[number].kind, self.open[number].kind)
        del self.open[number]
        return number, kind

    def _apply(
        self,
        kind: str,
        command: int | None = None,
        name: str | None = None,
        payload: str | None = None,
        execution: UUID | None = None,
    ) -> list[Command]:
        if self.replay_always and self.history:
            self.crash()
        number = self.first_event + len(self.history)
        event = Event(number, kind, self.now, command, name, payload, execution)
        commands = self.instance.apply(event)
        self.history.append(Step(event, commands))
        for issued in commands:
            assert json.loads(issued.to_json())["kind"] == issued.kind
            if issued.kind in ANSWERED:
                assert issued.number is not None
                self.open[issued.number] = issued
            elif issued.kind == "cancel":
                assert issued.number is not None
                del self.open[issued.number]
            elif issued.kind == "continue_as_new":
                return commands + self._continue(issued)
        return commands

    def _continue(self, command: Command) -> list[Command]:
        """What the database and a worker do when a run is to be continued as new."""
        assert self.instance.finished
        self.instance.close()
        self.past.append(self.history)
        last_command = self.instance.ledger.last_number
        self.first_event += len(self.history)
        self.history = []
        self.open = {}
        payload = json.loads(command.payload or "")
        self.args = payload["args"]
        self.instance = self._new_instance(strict=False)
        carried = Carried(last_command, json.dumps(payload["signals"]))
        return self._apply("started", payload=started_payload(1, carried))


def due(timer: Command, run: Run) -> datetime:
    asked = run.history[timer.event - run.first_event].event.at
    return asked + timedelta(seconds=json.loads(timer.payload or "")["seconds"])
