"""A workflow engine in memory, with workers that crash, and everything that can happen to it.

It does what the database does: inboxes, batches, leases, the commit by compare-and-set, refused
ends, children, attachments, signals and continuations. What happens next is chosen from outside.
"""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from currant.workflow.history import Carried, Command, Event, RunInfo, Step, started_payload
from currant.workflow.instance import Instance
from tests.properties.replay_records import Activation, Execution, Row, Run
from tests.workflow.performing import FUNCTION
from tests.workflow.programs import Choose, Program

START = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
ROOT = UUID("0199d3c0-0000-7000-8000-000000000001")
ENDS = ("complete", "fail", "cancelled", "continue_as_new")
MOST_EXECUTIONS = 12
MOST_REFUSALS = 3


class Model:
    """The database and its workers.

    Args:
        program: what the one root execution runs.
        choose: gives a number from 0 on and below its argument; everything follows from these.
        is_calm: workers neither crash nor forget, and every event is a batch of its own.
    """

    def __init__(self, program: Program, choose: Choose, *, is_calm: bool = False) -> None:
        self.choose = choose
        self.is_calm = is_calm
        self.now = START
        self.arrivals = 0
        self.executions: dict[UUID, Execution] = {}
        self.activations: list[Activation] = []
        self.workers: list[dict[UUID, Instance]] = [{} for _ in range(2)]
        self.root = self._create(ROOT, program)

    # --- what can happen

    def happen(self, times: int) -> None:
        """So many things of those that can happen then."""
        for _ in range(times):
            possible = self._possible()
            if not possible:
                return
            self.now += timedelta(milliseconds=(0, 0, 1, 7, 400)[self.choose(5)])
            act, *args = possible[self.choose(len(possible))]
            act(*args)

    def finish(self) -> None:
        """Whatever is needed for everything to end that can end."""
        for rounds in range(400):
            if all(execution.end is not None for execution in self.executions.values()):
                break
            if not self._progress() and not self._wake(rounds):
                break

    def close(self) -> None:
        """Close what the workers have in memory."""
        for worker in self.workers:
            self._forget_all(worker)
        while self.activations:
            self._crash(self.activations[0])

    def _progress(self) -> bool:
        if self.activations:
            self._commit(self.activations[0])
            return True
        alive = self._alive()
        for execution in alive:
            if execution.is_ready:
                self._begin(execution, self.workers[0])
                return True
        for execution in alive:
            for number, command in execution.open.items():
                if command.kind == "task":
                    self._complete(execution, number)
                    return True
        if any(execution.due for execution in alive):
            self._fire()
            return True
        return False

    def _wake(self, rounds: int) -> bool:
        waiting = self._alive()
        for execution in waiting:
            if rounds % 2 == 0 and execution.nudges < 8:
                execution.nudges += 1
                self._signal(execution, "xy"[execution.nudges % 2])
                return True
        for execution in waiting:
            if not execution.is_cancel_requested or execution.is_blocked:
                self.request_cancel(execution, "over")
                return True
        return False

    def _alive(self) -> list[Execution]:
        return [execution for execution in self.executions.values() if execution.end is None]

    def _possible(self) -> list[tuple[Any, ...]]:
        possible: list[tuple[Any, ...]] = []
        alive = self._alive()
        for execution in alive:
            tasks = [n for n, c in execution.open.items() if c.kind == "task"]
            for number in tasks[:4]:
                possible += [(self._complete, execution, number)] * 2
                possible += [(self._fail, execution, number)]
            if execution.is_ready:
                worker = self.workers[self.choose(len(self.workers))]
                possible += [(self._begin, execution, worker)] * 4
            if execution.cancelled:
                possible += [(self._end_late, execution)]
            if self.choose(4) == 0:
                possible += [(self._signal, execution, "xy"[self.choose(2)])]
            if self.choose(150) == 0:
                possible += [(self.request_cancel, execution, None)]
        if any(execution.due for execution in alive):
            possible += [(self._fire,)] * 3
        for activation in self.activations:
            possible += [(self._commit, activation)] * 4
            if not self.is_calm:
                possible += [(self._lose, activation), (self._crash, activation)]
        if not self.is_calm:
            possible += [(self._forget_all, worker) for worker in self.workers if worker]
        return possible

    # --- tasks, timers, signals, cancels

    def _complete(self, execution: Execution, number: int) -> None:
        self._end_task(execution, number, "task_completed", f"result of {execution.id} {number}")

    def _fail(self, execution: Execution, number: int) -> None:
        error = [
            {"type": "Broken", "message": "no", "status": "failed", "attempts": 3},
            {"type": "Timeout", "message": "too long", "status": "failed", "attempts": 1},
            {"type": "Cancelled", "message": "by hand", "status": "cancelled", "attempts": 0},
        ][self.choose(3)]
        self._end_task(execution, number, "task_failed", error)

    def _end_task(self, execution: Execution, number: int, kind: str, payload: Any) -> None:
        # From here on its command is answered, whether the workflow has read that or not.
        del execution.open[number]
        self._put(execution, kind, number, payload=json.dumps(payload))

    def _end_late(self, execution: Execution) -> None:
        number = execution.cancelled.pop(0)
        self._put(execution, "task_completed", number, payload='"late"')

    def _fire(self) -> None:
        """The timer that is due first."""
        due, _, number, execution = min(
            (due, order, number, execution)
            for order, execution in enumerate(self._alive())
            for number, due in execution.due.items()
        )
        self.now = max(self.now, due)
        del execution.due[number], execution.open[number]
        self._put(execution, "timer_fired", number)

    def _signal(self, execution: Execution, name: str) -> None:
        self._put(execution, "signal_received", name=name, payload=json.dumps(self.arrivals))

    def request_cancel(self, execution: Execution, reason: str | None) -> None:
        """What `currant.cancel` does."""
        if execution.end is not None or (
            execution.is_cancel_requested and not execution.is_blocked
        ):
            return
        if not execution.is_leased and (execution.is_blocked or not execution.runs[0].steps):
            error = {"type": "Cancelled", "message": reason or "cancelled"}
            self._end(execution, "cancelled", {"error": error})
            return
        execution.is_cancel_requested = True
        self._put(execution, "cancel_requested", payload=json.dumps({"reason": reason}))

    def _put(self, execution: Execution, kind: str, *args: Any, **kwargs: Any) -> None:
        self.arrivals += 1
        if execution.end is None:
            execution.inbox.append(Row(self.arrivals, kind, *args, **kwargs))
            execution.is_blocked = False

    # --- workers

    def _begin(self, execution: Execution, worker: dict[UUID, Instance]) -> None:
        """Claim an execution, and let its code run over what has arrived."""
        most = 1 if self.is_calm else 1 + self.choose(6)
        execution.token += 1
        execution.is_leased = True
        run = execution.run
        instance = worker.pop(execution.id, None)
        if instance is not None and (
            instance.run is not run.info or instance.last_event != run.last_event
        ):
            instance.close()
            instance = None
        if instance is None:
            instance = run.new_instance()
            instance.replay(run.steps)
        steps: list[Step] = []
        if not run.steps:
            payload = started_payload(1, run.carried)
            steps.append(self._apply(instance, "started", None, None, payload, None))
        rows = sorted(execution.inbox, key=lambda row: (row.kind != "signal_received", row.arrival))
        taken = []
        for row in rows[:most]:
            if instance.finished:
                break
            taken.append(row)
            steps.append(
                self._apply(instance, row.kind, row.command, row.name, row.payload, row.source)
            )
        self.activations.append(Activation(execution, execution.token, run, instance, taken, steps))

    def _apply(
        self,
        instance: Instance,
        kind: str,
        command: int | None,
        name: str | None,
        payload: str,
        execution: UUID | None,
    ) -> Step:
        number = instance.last_event + 1
        event = Event(number, kind, self.now, command, name, payload, execution)
        return Step(event, instance.apply(event))

    def _crash(self, activation: Activation) -> None:
        """Before its commit: nothing of it has happened."""
        activation.instance.close()
        self.activations.remove(activation)
        if activation.token == activation.execution.token:
            activation.execution.is_leased = False

    def _lose(self, activation: Activation) -> None:
        """Its lease: somebody else may claim the execution meanwhile."""
        if activation.token == activation.execution.token:
            activation.execution.token += 1
            activation.execution.is_leased = False

    def _forget_all(self, worker: dict[UUID, Instance]) -> None:
        for instance in worker.values():
            instance.close()
        worker.clear()

    def _commit(self, activation: Activation) -> None:
        # Its commit may be the last thing that a worker does.
        survives, worker = self.choose(2), self.workers[self.choose(len(self.workers))]
        self.activations.remove(activation)
        execution, run, instance = activation.execution, activation.run, activation.instance
        is_kept = False
        if execution.token == activation.token and execution.end is None:
            execution.is_leased = False
            is_kept = self._advance(execution, run, activation)
        if is_kept and survives:
            former = worker.pop(execution.id, None)
            if former is not None:
                former.close()
            worker[execution.id] = instance
        else:
            instance.close()

    def _advance(self, execution: Execution, run: Run, activation: Activation) -> bool:
        if activation.instance.blocked is not None:
            execution.is_blocked = True
            return False
        commands: list[Command] = [c for step in activation.steps for c in step.commands]  # type: ignore[misc]
        end = commands[-1] if activation.instance.finished else None
        left = [row for row in execution.inbox if row not in activation.rows]
        if (
            end is not None
            and end.kind != "continue_as_new"
            and (
                execution.refusals < MOST_REFUSALS
                and any(row.kind in ("signal_received", "cancel_requested") for row in left)
            )
        ):
            execution.refusals += 1
            return False
        execution.refusals = 0
        execution.inbox = left
        run.steps += activation.steps
        times = {step.event.number: step.event.at for step in activation.steps}
        # What was taken back before anybody heard of it is not begun.
        taken_back = {c.number for c in commands if c.kind == "cancel"}
        begun = {c.number for c in commands if c.kind in ("task", "timer", "child", "attach")}
        for command in commands:
            assert json.loads(command.to_json())["kind"] == command.kind
            if command.kind == "cancel":
                if command.number not in begun:
                    self._take_back(execution, command.number or 0)
            elif command.number not in taken_back:
                self._carry_out(execution, command, times[command.event])
        if end is not None and end.kind == "continue_as_new":
            self._continue(execution, end)
            return False
        if end is not None:
            self._end(execution, end.kind, json.loads(end.payload or "null"))
        return end is None

    # --- commands

    def _create(
        self, identity: UUID, program: Program, parent: Execution | None = None, number: int = 0
    ) -> Execution:
        parent_id = None if parent is None else parent.id
        info = RunInfo(identity, FUNCTION, parent_id=parent_id, created_at=self.now)
        run = Run(info, program)
        self.executions[identity] = Execution(run, parent, number, runs=[run])
        return self.executions[identity]

    def _carry_out(self, execution: Execution, command: Command, at: datetime) -> None:
        payload = json.loads(command.payload or "null")
        number = command.number or 0
        match command.kind:
            case "task":
                execution.open[number] = command
            case "timer":
                execution.open[number] = command
                execution.due[number] = at + timedelta(seconds=payload["seconds"])
            case "child":
                execution.open[number] = command
                if len(self.executions) >= MOST_EXECUTIONS:
                    error = {"type": "Full", "message": "", "status": "failed", "attempts": 0}
                    self._put(execution, "child_failed", number, payload=json.dumps(error))
                    return
                child = self._create(UUID(payload["id"]), payload["args"][0], execution, number)
                child.is_abandoned = payload["options"].get("on_parent_end") == "abandon"
                execution.children[number] = child
            case "queue" if command.name == FUNCTION:
                if len(self.executions) < MOST_EXECUTIONS:
                    self._create(UUID(payload["id"]), payload["args"][0])
            case "attach":
                execution.open[number] = command
                self._attach(execution, number, self.executions.get(UUID(payload["execution"])))
            case "signal":
                receiver = self.executions.get(UUID(payload["execution"]))
                if receiver is not None:
                    text = json.dumps(payload["payload"])
                    self._put(receiver, "signal_received", name=command.name, payload=text)
            case "request_cancel":
                receiver = self.executions.get(UUID(payload["execution"]))
                if receiver is not None:
                    self.request_cancel(receiver, payload["reason"])

    def _attach(self, execution: Execution, number: int, target: Execution | None) -> None:
        if target is None:
            error = {"type": "ExecutionNotFound", "message": "no such execution"}
            self._put(execution, "attached_failed", number, payload=json.dumps(error))
        elif target.end is not None:
            self._tell(execution, number, target, "attached")
        else:
            target.watchers.append((execution, number))

    def _take_back(self, execution: Execution, number: int) -> None:
        command = execution.open.pop(number, None)
        execution.due.pop(number, None)
        if command is None:
            return
        if command.kind == "task":
            execution.cancelled.append(number)
        elif command.kind == "child" and number in execution.children:
            self.request_cancel(execution.children[number], "its parent took it back")
        for other in self.executions.values():
            if (execution, number) in other.watchers:
                other.watchers.remove((execution, number))

    # --- ends

    def _end(self, execution: Execution, kind: str, payload: Any) -> None:
        execution.end = (kind, payload)
        execution.is_leased = False
        self._leave(execution)
        parent = execution.parent
        if parent is not None and parent.children.get(execution.number) is execution:
            self._tell(parent, execution.number, execution, "child")
        for watcher, number in execution.watchers:
            self._tell(watcher, number, execution, "attached")

    def _tell(self, execution: Execution, number: int, ended: Execution, prefix: str) -> None:
        assert ended.end is not None
        execution.open.pop(number, None)
        kind, payload = ended.end
        if kind == "complete":
            text = json.dumps(payload["result"])
            self._put(execution, f"{prefix}_completed", number, payload=text, source=ended.id)
        else:
            status = "cancelled" if kind == "cancelled" else "failed"
            text = json.dumps({**payload["error"], "status": status, "attempts": 1})
            self._put(execution, f"{prefix}_failed", number, payload=text, source=ended.id)

    def _leave(self, execution: Execution) -> None:
        """Drop what an ending run has open."""
        for child in execution.children.values():
            if not child.is_abandoned:
                self.request_cancel(child, "its parent has ended")
        execution.open.clear()
        execution.due.clear()
        for other in self.executions.values():
            other.watchers = [w for w in other.watchers if w[0] is not execution]

    def _continue(self, execution: Execution, command: Command) -> None:
        payload = json.loads(command.payload or "null")
        last = execution.run
        numbers = [c.number or 0 for run in execution.runs for s in run.steps for c in s.commands]
        self._leave(execution)
        execution.cancelled.clear()
        info = RunInfo(
            execution.id,
            FUNCTION,
            parent_id=last.info.parent_id,
            created_at=last.info.created_at,
            first_event=last.last_event + 1,
        )
        carried = Carried(max(numbers, default=0), json.dumps(payload["signals"]))
        execution.run = Run(info, payload["args"][0], carried)
        execution.runs.append(execution.run)
        execution.is_cancel_requested = any(r.kind == "cancel_requested" for r in execution.inbox)


def play(program: Program, choose: Choose, *, is_calm: bool = False) -> Model:
    """Run a program to its end, whatever may happen meanwhile."""
    model = Model(program, choose, is_calm=is_calm)
    try:
        model.happen(20 + choose(60))
        model.finish()
    finally:
        model.close()
    return model
