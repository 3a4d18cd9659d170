"""One run of a workflow in memory: takes its events, gives back its commands.

The instance is a cache. Whatever it knows follows from the history, and another one that is given
the same events arrives at the same place.
"""

import asyncio
import contextvars
import json
import logging
import sys
import warnings
from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import cached_property
from itertools import islice
from random import Random
from typing import Any, TypeVar
from uuid import UUID

from currant.errors import NonDeterminism, UnsupportedVersion, WorkflowDeadlock
from currant.workflow import effects, ends, sizes, substitutes, teardown
from currant.workflow.history import (
    ENGINE,
    Command,
    Event,
    Recorded,
    RunInfo,
    Step,
    read_started,
    seed_of,
)
from currant.workflow.intents import End, Intent, SideEffect, answer_to
from currant.workflow.ledger import Ledger, Mismatch
from currant.workflow.loop import Interrupted, WorkflowLoop, is_ctrl_c
from currant.workflow.mailbox import Mailboxes
from currant.workflow.watch import Watch

logger = logging.getLogger("currant")

T = TypeVar("T")

_MOST_WAITS = 5


class Instance:
    """A run of a workflow.

    Calls come from one thread at a time, not always the same one; `running_for`, `stack` and
    `interrupt` may be called from any thread at any time.

    Args:
        run: what the run knows about itself.
        main: decodes the arguments and calls the workflow function; gives its coroutine.
        encode: makes JSON text of what the function returns.
        strict: have replays compare also what commands carry, such as arguments.
        largest: bytes that the database stores of one value; None: whatever it has.

    Attributes:
        loop: the loop its code runs on.
        mailboxes: the signals that reached it.
        last_event: number of the last event that was applied.
        cancel_reason: why it is to be cancelled; None if nobody asked.
    """

    def __init__(
        self,
        run: RunInfo,
        main: Callable[[], Coroutine[Any, Any, Any]],
        encode: Callable[[Any], str] = json.dumps,
        *,
        strict: bool = False,
        largest: int | None = None,
    ) -> None:
        substitutes.install()
        self.run = run
        self.last_event = run.first_event - 1
        self.cancel_reason: str | None = None
        self.ledger = Ledger(run, is_strict=strict)
        # mypy does not see the methods that refuse.
        self.loop = WorkflowLoop(run, self.ledger)  # type: ignore[abstract]
        self.loop.instance = self
        self._main = main
        self._encode = encode
        self._largest = largest
        self.mailboxes = Mailboxes()
        self._context = contextvars.Context()
        self._main_task: asyncio.Task[None] | None = None
        self._watch = Watch()
        self._end: End | None = None
        self._fault: BaseException | None = None
        self._raised: BaseException | None = None

    # --- what the worker drives

    def replay(self, history: Iterable[Step]) -> None:
        """Apply recorded events and check that the code asks for what is recorded.

        Raises:
            NonDeterminism: it asks for something else.
            UnsupportedVersion: it cannot follow the versions that the run follows.
            WorkflowDeadlock: it was interrupted.
        """
        steps = list(history)
        for step in steps:
            self.ledger.learn(step.commands)

        def follow() -> None:
            for event, commands in steps:
                self._step(event, commands)

        self._drive(follow)

    def apply(self, event: Event, recorded: Sequence[Recorded] | None = None) -> list[Command]:
        """Apply one event and let the code run until it waits again.

        Args:
            event: the next event of the run.
            recorded: the commands recorded for it; None if the event is new.

        Returns:
            The commands to store with a new event; none for a recorded one.

        Raises:
            NonDeterminism, UnsupportedVersion, WorkflowDeadlock: as `replay`. The instance is of
                no more use then, and has to be closed.
        """
        if recorded is not None:
            self.ledger.learn(recorded)
        return self._drive(lambda: self._step(event, recorded))

    @property
    def finished(self) -> bool:
        """Whether the run is over: the workflow has ended, or goes on as a new run."""
        return self._end is not None

    @property
    def is_replaying(self) -> bool:
        """Whether the event being applied, or the last one, is in the history already."""
        return not self.ledger.is_live

    @property
    def blocked(self) -> str | None:
        """Why nothing can ever wake this run but a request to cancel; None if something can."""
        if self._end is not None or len(self.ledger.open) or self.mailboxes.awaited:
            return None
        return (
            "deadlock: the workflow waits, but for no task, child, timer or signal"
            f" ({teardown.whereabouts(self.loop.tasks)})"
        )

    @property
    def mismatch(self) -> Mismatch | None:
        """Where it did not follow its history, after NonDeterminism was raised."""
        return self.ledger.mismatch

    @property
    def notes(self) -> Sequence[str]:
        """What a strict replay found to differ that is none of what the code did: options."""
        return self.ledger.notes

    def waiting_for(self) -> str:
        """What the run waits for, in words; of many things the first few."""
        is_one = len(self.ledger.open) == 1 and not len(self.loop.conditions)
        if is_one and self.mailboxes.is_quiet:
            return next(iter(self.ledger.open)).awaited
        some = islice(self.ledger.open, _MOST_WAITS)
        waits = [intent.awaited for intent in some]
        if len(self.ledger.open) > _MOST_WAITS:
            waits.append(f"{len(self.ledger.open) - _MOST_WAITS} more")
        waits += [f"signal {name}" for name in self.mailboxes.awaited[:_MOST_WAITS]]
        waits += map(str, islice(self.loop.conditions, _MOST_WAITS))
        return ", ".join(waits) or "nothing"

    def close(self) -> None:
        """End whatever code of the run is still suspended. May be repeated."""
        if self.ledger.is_closed:
            return
        self.ledger.is_closed = True
        try:
            unstopped = self._drive(lambda: teardown.tear_down(self.loop, self._context))
        except WorkflowDeadlock as error:
            logger.error("%s, while it was to clean up", error)
            return
        for code in unstopped:
            logger.error(
                "workflow %s %s: code goes on whatever is raised in it, and stays in memory: %r",
                self.run.function,
                self.run.id,
                code,
            )

    def __del__(self) -> None:
        # A net, not a way: the collector would otherwise run the code's `finally` blocks inside of
        # whatever run has the thread at that moment, and what they ask for would be asked there.
        if self.loop.tasks and not self.ledger.is_closed:
            self.close()
            warnings.warn(f"run {self.run.id} was not closed", ResourceWarning, stacklevel=2)

    # --- what watches it from another thread

    def running_for(self) -> float:
        """For how many seconds its code has not given way; 0 while it does not run."""
        return self._watch.running_for()

    def stack(self) -> str:
        """Where its code is at this moment; empty while it does not run."""
        stack = self._watch.stack()
        if not stack and self._watch.running_for():
            # Code that only gives way to itself is mostly in between.
            stack = teardown.stacks(self.loop.tasks[:_MOST_WAITS])
        return stack

    def interrupt(self) -> bool:
        """Stop its code; the call that runs it raises WorkflowDeadlock. See `Watch.interrupt`."""
        # Not the other way round: a drain that was merely cut short would look complete.
        interrupted = self._watch.interrupt(self.stack())
        if interrupted:
            self.loop.is_halted = True
        return interrupted

    # --- what its code asks for

    def ask(self, intent: Intent) -> asyncio.Future[Event]:
        """Ask for something that is going to end; the future will hold the event of its end."""
        # Only the awaiting coroutine ever sees this future, so asyncio's own, faster one does.
        future: asyncio.Future[Event] = asyncio.Future(loop=self.loop)
        intent.answer = answer_to(future)
        self.ledger.add(intent)
        return future

    def send(self, intent: Intent) -> None:
        """Ask for something nothing comes back from; it has its number at once."""
        if self.ledger.is_closed:
            raise GeneratorExit("the run is being torn down")
        self.ledger.number_now(intent)

    def check_size(self, text: str, what: str) -> None:
        """Raise PayloadTooLarge if a value cannot be sent; at every replay if it could not be."""
        self.ledger.check_size(text, self._largest, what, self.loop.site)

    def identify(self, intent: Intent) -> UUID:
        """The id of what an intent makes that has a number."""
        return intent.derived_id(self.run.id, intent.opened_at or self.loop.now)

    def side_effect(self, function: Callable[[], Any], encode: Callable[[Any], str]) -> SideEffect:
        """Call a function, or remember what it gave when it was called; no replay calls it."""
        effects.check(function)
        effect = SideEffect(effects.name_of(function), self.loop.site())
        if self.ledger.is_live and not self.ledger.is_closed:
            effect.outcome = effects.perform(function, sizes.limited(encode, self._largest, effect))
            self.send(effect)
            return effect
        self.send(effect)
        try:
            effect.outcome = self.ledger.recall(effect)
        except NonDeterminism as error:
            # The user's code may catch it, and must not get any further all the same.
            self._abandon(error)
            raise
        return effect

    def version(self, change: str, lowest: int, highest: int) -> int:
        """Which version of a change this run follows."""
        try:
            return self.ledger.version(change, lowest, highest, self.loop.site())
        except UnsupportedVersion as error:
            # The user's code may catch it, and must not get any further all the same.
            self._abandon(error)
            raise

    @cached_property
    def random(self) -> Random:
        """Random numbers, the same at every replay."""
        return Random(seed_of(self.run))

    @cached_property
    def _uuids(self) -> Random:
        return Random(seed_of(self.run) + 1)

    def uuid4(self) -> UUID:
        """A random UUID, the same at every replay."""
        return UUID(int=self._uuids.getrandbits(128), version=4)

    # --- how an event is applied

    def _drive(self, work: Callable[[], T]) -> T:
        """Run the work as this loop's running code, whatever else this thread has going on."""
        outer_loop = asyncio._get_running_loop()
        outer_hooks = sys.get_asyncgen_hooks()
        try:
            try:
                self._watch.enter()
                asyncio._set_running_loop(self.loop)
                sys.set_asyncgen_hooks(firstiter=self.loop.track_generator, finalizer=None)
                result = work()
            finally:
                self._watch.leave()
        except Interrupted:
            pass
        except BaseException as error:
            self._abandon(error)
            raise
        finally:
            # Once more, for an interruption that came in just before the first.
            self._watch.leave()
            asyncio._set_running_loop(outer_loop)
            sys.set_asyncgen_hooks(*outer_hooks)
        if self._watch.interrupted is not None:
            deadlock = WorkflowDeadlock(
                f"workflow {self.run.function} {self.run.id} did not give way and was stopped",
                detail=f"it was at\n{self._watch.interrupted}",
                hint="wait with asyncio.sleep() or a task, and compute in a task",
            )
            self._abandon(deadlock)
            raise deadlock
        return result

    def _abandon(self, error: BaseException) -> None:
        self.loop.is_halted = True
        if self._fault is None:
            self._fault = error

    def _step(self, event: Event, recorded: Sequence[Recorded] | None) -> list[Command]:
        if self._fault is not None or self._end is not None or self.ledger.is_closed:
            raise RuntimeError(f"run {self.run.id} takes no more events") from self._fault
        if event.number != self.last_event + 1:
            raise ValueError(f"event {event.number} cannot follow event {self.last_event}")
        if event.at < self.loop.now:
            event = event._replace(at=self.loop.now)
        self.ledger.begin(event, recorded)
        self.loop.now = event.at
        self._deliver(event)
        self.loop.run()
        if self._fault is not None:
            raise self._fault
        if self._main_task is not None and self._main_task.done() and self._end is None:
            self._main_task.result()  # raises what kept it from saying how it ended
        try:
            commands = self.ledger.settle()
        except NonDeterminism as error:
            raise error from self._raised
        self.last_event = event.number
        return commands

    def _deliver(self, event: Event) -> None:
        match event.kind:
            case (
                "task_completed"
                | "task_failed"
                | "child_completed"
                | "child_failed"
                | "attached_completed"
                | "attached_failed"
                | "timer_fired"
            ):
                intent = self.ledger.answered(event.command)
                # None: it was cancelled, and ended all the same before it heard of that; or it
                # belongs to the run that this one continues.
                if intent is not None and intent.answer is not None:
                    intent.answer(event)
            case "signal_received":
                self.mailboxes.deliver(event.name or "", event.payload or "null", event.number)
            case "started":
                self._start(event)
            case "cancel_requested":
                self._request_cancel(event)
            case _:
                raise UnsupportedVersion(f"this version of Currant does not know {event.kind!r}")

    def _start(self, event: Event) -> None:
        start = read_started(event.payload)
        self.ledger.recorded_python = start.python
        if start.engine > ENGINE:
            raise UnsupportedVersion(
                f"run {self.run.id} began under a newer version of Currant",
                hint="upgrade this worker",
            )
        self.ledger.last_number = start.last_command
        self.mailboxes.take_over(bytes(start.signals))
        self._main_task = self.loop.create_task(self._run_main(), context=self._context)

    def _request_cancel(self, event: Event) -> None:
        if self.cancel_reason is None and self._main_task is not None:
            reason = (json.loads(event.payload or "null") or {}).get("reason")
            self.cancel_reason = reason or "cancelled"
            self._main_task.cancel(reason)

    async def _run_main(self) -> None:
        try:
            self._end = ends.completed(self._encode(await self._main()))
        except BaseException as error:
            if self.ledger.is_closed:
                raise
            self._end_with(error)
        if self._end is not None:
            self.ledger.add(self._end)
            self.loop.report_failures()
            self._warn_of_background_tasks(self._end)
        # The return wins over everything else that was ready.
        self.loop.is_halted = True

    def _end_with(self, error: BaseException) -> None:
        self._raised = error
        if isinstance(error, Interrupted | MemoryError) or is_ctrl_c(error):
            # The machine's trouble, not the workflow's: another attempt may well succeed.
            self._abandon(error)
            return
        if error.__traceback__ is not None:
            error.__traceback__ = error.__traceback__.tb_next  # without `_run_main`
        self._end = ends.after(error, self.cancel_reason, self.mailboxes.unread())

    def _warn_of_background_tasks(self, end: End) -> None:
        left = [task for task in self.loop.tasks if task is not self._main_task]
        if end.kind in ("fail", "cancelled"):
            # Of a failed `gather` steps are left, which nobody could have awaited any more.
            left = [task for task in left if teardown.is_of_user(task)]
        if left and self.ledger.is_live:
            logger.warning(
                "workflow %s %s has ended, and with it tasks that it did not await: %s",
                self.run.function,
                self.run.id,
                teardown.whereabouts(left),
            )
