"""Random interleavings of applications, workers, ticks, deaths and clock jumps, against a ledger.

Every party has a session and may leave a transaction open while the others go on. All of them
refuse to wait, so that a wait is a failure too.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from psycopg.types.json import Jsonb

from tests.concurrency.drain import drain
from tests.concurrency.invariants import check_always, check_at_the_end
from tests.concurrency.support import Observer, Session, cancel, pass_time, stop_the_clock
from tests.properties.parties import TASKS, WORKFLOWS, Crew, Ledger, Party

APPS, CREWS = 2, 3
# How often each thing happens.
DEEDS = {
    "app_begins": 2,
    "app_ends_its_transaction": 4,
    "app_enqueues": 8,
    "app_signals": 6,
    "app_cancels": 3,
    "app_cancels_by_force": 2,
    "app_starts_and_signals": 3,
    "app_retries": 2,
    "app_ticks": 1,
    "worker_begins": 3,
    "worker_ends_its_transaction": 6,
    "worker_claims": 14,
    "worker_resumes": 2,
    "worker_ends_a_task": 12,
    "worker_ends_all_its_tasks": 3,
    "worker_advances_a_workflow": 24,
    "worker_gives_a_workflow_back": 2,
    "worker_says_a_late_word": 3,
    "worker_sends_a_heartbeat": 2,
    "worker_stops": 1,
    "ghost_of_a_worker_says_a_word": 2,
    "maintenance_runs": 6,
    "clock_jumps": 6,
    "time_goes_by": 1,
    "functions_are_registered": 1,
}
# One for each digit.
COMMANDS = (
    *("task", "timer", "cancel", "signal", "queue"),
    *("child", "attach", "cancel", "request_cancel", "task"),
)

VERBS = ("complete", "fail", "complete", "fail", "release")


class Sessions:
    """The sessions of all examples, since opening them takes longer than an example."""

    def __init__(self, url: str) -> None:
        self.observer = Observer(url)
        stop_the_clock(self.observer)
        self._start = self.observer.value("select at from public.clock")
        self.apps = [Session(url) for _ in range(APPS)]
        self.crews = [Session(url) for _ in range(CREWS)]
        self._tables = self.observer.value(
            """
            select string_agg(format('delete from %s', c.oid::regclass), '; ')
            from pg_class as c
            where c.relnamespace = 'currant'::regnamespace and c.relkind = 'r'
                and c.relname <> 'configuration'
            """
        )

    @property
    def all(self) -> list[Session]:
        """Every session."""
        return [self.observer, *self.apps, *self.crews]

    def reset(self) -> None:
        """Empty the database, and let every draw of a random number repeat itself."""
        for session in self.all:
            session.execute("rollback; select setseed(0.5)")
        self.observer.execute(f"{self._tables}; insert into currant.ticker default values")
        self.observer.execute("update public.clock set at = %s", self._start)


class Engine(RuleBasedStateMachine):
    """The model: somebody does something, as the numbers drawn say."""

    def __init__(self, sessions: Sessions) -> None:
        super().__init__()
        self.sessions = sessions
        self.observer = sessions.observer
        self.ledger = Ledger()
        self.ids = 0

    @initialize(asked=st.integers(2, 9))
    def start(self, asked: int) -> None:
        self.sessions.reset()
        self.apps = [Party(session) for session in self.sessions.apps]
        self.crews = [Crew(session) for session in self.sessions.crews]
        self.ghosts: list[Crew] = []
        for which in range(asked):
            self.app_enqueues(0, which)

    @rule(
        deed=st.sampled_from([deed for deed, times in DEEDS.items() for _ in range(times)]),
        who=st.integers(0, 2),
        which=st.integers(0, 9999),
    )
    def somebody_acts(self, deed: str, who: int, which: int) -> None:
        getattr(self, deed)(who, which)

    @invariant()
    def everything_is_in_its_place(self) -> None:
        check_always(self.observer)

    # Applications

    def app_begins(self, who: int, _which: int) -> None:
        app = self.apps[who % APPS]
        if not app.is_open:
            app.begin()

    def app_ends_its_transaction(self, who: int, which: int) -> None:
        app = self.apps[who % APPS]
        if app.is_open:
            app.rollback() if which % 3 == 0 else app.commit()

    def app_enqueues(self, who: int, which: int) -> None:
        app = self.apps[who % APPS]
        is_workflow = which % 2 == 0
        options = {
            "id": str(self.new_id()),
            "kind": "workflow" if is_workflow else "task",
            "queue": WORKFLOWS if is_workflow else TASKS,
            "delay": 20 if which % 7 == 6 else 0,
            "priority": which // 2 % 2,
            "retries": which // 4 % 3,
            "timeout": 30,
        }
        if which % 5 == 4 and not self.others_open(app):
            options |= {"key": "ab"[which % 2], "key_scope": "open"}
        arguments = (options["kind"], Jsonb({}), Jsonb(options))
        execution = app.session.call("enqueue", *arguments)
        if which % 3 == 2:
            assert app.session.call("enqueue", *arguments) == execution
        app.then(lambda: self.ledger.promise(execution, is_workflow))

    def app_signals(self, who: int, which: int) -> None:
        if not self.ledger.workflows:
            return
        app, workflow = self.apps[who % APPS], self.pick(self.ledger.workflows, which)
        name = str(self.new_id())
        arguments = (workflow, name, None, Jsonb({"id": name}))
        arrival = app.try_call("signal", *arguments)
        if arrival is None:
            return
        if which % 3 == 0:
            assert app.session.call("signal", *arguments) == arrival
        app.then(lambda: self.ledger.signals.add((workflow, name)))

    def app_cancels(self, who: int, which: int) -> None:
        executions = self.executions()
        if not executions:
            return
        app, execution = self.apps[who % APPS], self.pick(executions, which)
        status = app.session.call("cancel", execution)
        if status not in ("completed", "failed"):
            app.then(lambda: self.ledger.stopped.add(execution))
        if status == "cancelled":
            app.then(lambda: self.ledger.cancelled.add(execution))
        elif status in ("running", "pending") and not self.others_open(app) and not app.is_open:
            self.ledger.doomed.add(execution)

    def app_cancels_by_force(self, who: int, which: int) -> None:
        executions = self.executions()
        if not executions:
            return
        app, execution = self.apps[who % APPS], self.pick(executions, which)
        status = app.session.call("cancel", execution, "by force", Jsonb({"force": True}))
        if status == "cancelled":
            app.then(lambda: self.ledger.stopped.add(execution))
            app.then(lambda: self.ledger.cancelled.add(execution))

    def app_starts_and_signals(self, who: int, which: int) -> None:
        app, name = self.apps[who % APPS], str(self.new_id())
        if self.others_open(app):
            return
        options = {
            "id": str(self.new_id()),
            "kind": "workflow",
            "queue": WORKFLOWS,
            "key": "xy"[which % 2],
            "signal_id": name,
        }
        arguments = ("workflow", Jsonb({}), name, None, Jsonb(options))
        execution = app.session.call("enqueue_and_signal", *arguments)
        if which % 3 == 0:
            app.session.call("enqueue_and_signal", *arguments)
        app.then(lambda: self.ledger.promise(execution, True))
        app.then(lambda: self.ledger.sent.add(name))

    def app_retries(self, who: int, which: int) -> None:
        app = self.apps[who % APPS]
        ended = self.executions("id in (select execution_id from currant.outcomes)")
        if ended and not self.others_open(app):
            execution = self.pick(ended, which)
            again = app.try_call("retry", execution)
            if again is not None:
                is_workflow = execution in self.ledger.workflows
                app.then(lambda: self.ledger.promise(again, is_workflow))

    def app_ticks(self, who: int, _which: int) -> None:
        self.apps[who % APPS].session.call("tick", "due")

    # Workers

    def worker_begins(self, who: int, _which: int) -> None:
        if not self.crews[who].is_open:
            self.crews[who].begin()

    def worker_ends_its_transaction(self, who: int, which: int) -> None:
        crew = self.crews[who]
        if crew.is_open:
            crew.rollback() if which % 3 == 0 else crew.commit()

    def worker_claims(self, who: int, which: int) -> None:
        crew = self.crews[who]
        if not self.is_admitted(crew):
            return
        stopped = set(self.ledger.stopped)
        leases = crew.worker.claim(4 - which % 5, 4 - which // 5 % 5)
        assert not stopped & {lease.execution_id for lease in leases if lease.kind == "task"}
        if not leases and not crew.is_open:
            pass_time(self.observer, which % 8)
            crew.session.call("tick")
        # Now and then the answer is lost.
        if which % 11:
            crew.held += leases

    def worker_resumes(self, who: int, _which: int) -> None:
        crew = self.crews[who]
        if self.is_admitted(crew):
            crew.held = crew.session.rows("resume", crew.worker.id)

    def worker_ends_a_task(self, who: int, which: int) -> None:
        crew, verb = self.busy(who, "task"), VERBS[which % len(VERBS)]
        tasks = crew.holds("task")
        if not tasks:
            self.worker_claims(self.crews.index(crew), which)
            return
        lease = self.pick(tasks, which)
        word = crew.say(verb, lease, self.ledger)
        if which % 3 == 0:
            again = crew.say(verb, lease, self.ledger)
            assert verb == "release" or again == {"accepted": "already"}.get(word, word)

    def worker_ends_all_its_tasks(self, who: int, which: int) -> None:
        crew = self.crews[who]
        error = {"type": "E", "retryable": which % 4 > 0}
        crew.say_many("fail" if which % 2 else "complete", crew.holds("task"), self.ledger, error)

    def worker_advances_a_workflow(self, who: int, which: int) -> None:
        crew = self.busy(who, "workflow")
        if not self.is_admitted(crew):
            return
        if not crew.holds("workflow"):
            self.worker_claims(self.crews.index(crew), which)
            return
        lease = self.pick(crew.holds("workflow"), which)
        commands = self.commands(lease, which) if lease.inbox or not lease.last_event else []
        is_end = bool(commands) and commands[-1]["kind"] in ("complete", "fail")
        read = {event["name"] for event in lease.inbox}
        unread = {name for at, name in self.ledger.signals if at == lease.execution_id} - read
        word = crew.say("advance", lease, self.ledger, *commands)
        if word == "accepted" and is_end:
            history = crew.session.rows("history", lease.execution_id)
            # The third refusal in a row is the last.
            assert unread <= {row.name for row in history} or crew.is_refused(lease)
        if word == "accepted":
            for child, is_workflow in started(commands):
                crew.then(partial(self.ledger.promise, child, is_workflow))
        elif word == "refused":
            crew.refusals.append(lease.execution_id)

    def worker_gives_a_workflow_back(self, who: int, which: int) -> None:
        crew = self.busy(who, "workflow")
        if crew.holds("workflow") and self.is_admitted(crew):
            lease = self.pick(crew.holds("workflow"), which)
            if which % 3 == 0:
                crew.say("advance", lease, self.ledger, blocked="no such code")
            else:
                crew.say("release", lease, self.ledger, "no such code" if which % 3 == 1 else None)

    def worker_says_a_late_word(self, who: int, which: int) -> None:
        crew, verb = self.crews[who], ("complete", "fail", "release", "advance")[which % 4]
        kinds = ("workflow",) if verb == "advance" else ("task", "workflow")
        leases = [lease for lease in crew.former if lease.kind in kinds]
        if leases and self.is_admitted(crew):
            word = crew.say(verb, self.pick(leases, which), self.ledger)
            assert word in ("already", "lost", "busy")

    def worker_sends_a_heartbeat(self, who: int, _which: int) -> None:
        if self.is_admitted(self.crews[who]):
            self.heartbeat(self.crews[who])

    def worker_stops(self, who: int, which: int) -> None:
        crew = self.crews[who]
        if crew.is_open:
            crew.rollback()
        if which % 2:
            crew.session.call("deregister_worker", crew.worker.id)
        self.ghosts.append(crew)
        self.crews[who] = Crew(crew.session)

    def ghost_of_a_worker_says_a_word(self, _who: int, which: int) -> None:
        # Its session is its successor's, whose transaction is not its own.
        busy = [crew.session for crew in self.crews if crew.is_open]
        ghosts = [one for one in self.ghosts if one.holds("task") and one.session not in busy]
        if ghosts:
            ghost, verb = self.pick(ghosts, which), ("complete", "fail", "release")[which % 3]
            ghost.say(verb, self.pick(ghost.holds("task"), which), self.ledger)

    # Maintenance and time

    def maintenance_runs(self, _who: int, which: int) -> None:
        self.observer.call("tick", ("due", "recover", None)[which % 3])

    def clock_jumps(self, _who: int, which: int) -> None:
        pass_time(self.observer, (0.2, 3.0, 30.0, 4000.0, -20.0)[which % 5])

    def time_goes_by(self, _who: int, which: int) -> None:
        for _ in range(8):
            pass_time(self.observer, 8)
            for crew in self.crews:
                if which % 2 and self.is_admitted(crew):
                    self.heartbeat(crew)
            self.observer.call("tick")

    def functions_are_registered(self, _who: int, _which: int) -> None:
        functions = [{"name": "task", "kind": "task"}, {"name": "workflow", "kind": "workflow"}]
        self.observer.call("register_functions", Jsonb(functions))

    # The end

    def teardown(self) -> None:
        for number, party in enumerate([*self.apps, *self.crews]):
            if party.is_open:
                party.commit() if number % 2 else party.rollback()
        survivor = Crew(self.crews[0].session)
        for _ in range(8):
            pass_time(self.observer, 9)
            survivor.worker.heartbeat()
            self.observer.call("tick")
        drain(self.observer, survivor.worker)
        check_at_the_end(self.observer)
        self.ledger.check(self.observer)

    # Helpers

    def commands(self, lease: Any, which: int) -> list[dict[str, Any]]:
        """The commands of an activation: one for each digit of the number drawn."""
        commands: list[dict[str, Any]] = []
        number = lease.last_command
        for digit in str(which // 8):
            kind = COMMANDS[int(digit)]
            number += kind != "cancel"
            identity = str(self.new_id())
            options: dict[str, Any] = {"queue": TASKS, "retries": which % 2, "timeout": 30}
            if kind == "queue" and which % 3 == 0:
                options |= {"key": "a", "key_scope": "open"}
            payload: dict[str, Any] = {"id": identity, "args": {}, "options": options}
            command = {"kind": kind, "number": number, "name": "task", "payload": payload}
            if kind == "timer":
                command["payload"] = {"seconds": which % 50}
            elif kind == "cancel":
                if not number:
                    continue
                command = cancel(1 + which % number)
            elif kind == "child":
                command["name"] = "workflow"
                on_parent_end = "abandon" if which % 5 == 0 else "cancel"
                payload["options"] = {"queue": WORKFLOWS, "on_parent_end": on_parent_end}
            elif kind in ("attach", "request_cancel"):
                other = self.pick([*self.executions(), self.new_id()], which)
                command["payload"] = {"execution": str(other)}
            elif kind == "signal":
                other = self.pick(self.ledger.workflows, which)
                command["name"] = identity
                command["payload"] = {"id": identity, "execution": str(other)}
            commands.append(command)
        if which % 8 == 0:
            commands.append({"kind": "complete", "payload": {"result": which}})
        elif which % 8 == 1:
            commands.append({"kind": "fail", "payload": {"error": {"type": "E"}}})
        elif which % 8 == 2:
            payload = {"args": {}, "signals": []}
            commands.append({"kind": "continue_as_new", "payload": payload})
        return commands

    def busy(self, who: int, kind: str) -> Crew:
        """A worker that holds something of the kind, if any does."""
        able = [crew for crew in self.crews if crew.holds(kind)]
        crew: Crew = self.pick(able or self.crews, who)
        return crew

    def heartbeat(self, crew: Crew) -> None:
        """Send one from another connection than the worker's own, as workers do."""
        tokens = [lease.token for lease in crew.held]
        answers = self.observer.rows(
            "heartbeat", crew.worker.id, [lease.execution_id for lease in crew.held], tokens
        )
        assert {answer.token for answer in answers} <= set(tokens)
        assert {answer.answer for answer in answers} <= {"lost", "cancel"}

    def is_admitted(self, crew: Crew) -> bool:
        """Whether the worker is alive; one that was declared dead comes back as another."""
        is_alive: bool = self.observer.value(
            "select count(*) > 0 from currant.workers where id = %s and died_at is null",
            crew.worker.id,
        )
        if not is_alive:
            if crew.is_open:
                crew.rollback()
            self.ghosts.append(crew)
            self.crews[self.crews.index(crew)] = Crew(crew.session)
        return is_alive

    def others_open(self, party: Party) -> bool:
        """Whether anybody else has a transaction open."""
        return any(other.is_open for other in [*self.apps, *self.crews] if other is not party)

    def executions(self, where: str = "true") -> list[uuid.UUID]:
        """What is committed, in order."""
        query = f"select id from currant.executions where {where} order by id"
        return [row[0] for row in self.observer.execute(query)]

    def new_id(self) -> uuid.UUID:
        """An id that is the same when the example is run again."""
        self.ids += 1
        return uuid.UUID(int=self.ids)

    @staticmethod
    def pick(choices: list[Any], which: int) -> Any:
        """One of them."""
        return choices[which % len(choices)]


def started(commands: list[dict[str, Any]]) -> list[tuple[uuid.UUID, bool]]:
    """The executions that an accepted activation has started, and whether they are workflows."""
    dropped = {command["number"] for command in commands if command["kind"] == "cancel"}
    goes_on = commands[-1]["kind"] in COMMANDS if commands else True
    return [
        (uuid.UUID(command["payload"]["id"]), command["kind"] == "child")
        for command in commands
        if (
            command["kind"] in ("task", "child")
            and (goes_on or command["payload"]["options"].get("on_parent_end") == "abandon")
            and command["number"] not in dropped
        )
        or (command["kind"] == "queue" and "key" not in command["payload"]["options"])
    ]


@pytest.fixture
def sessions(database_url: str) -> Iterator[Sessions]:
    """The sessions of all parties, on a database of their own."""
    sessions = Sessions(database_url)
    yield sessions
    for session in sessions.all:
        session.close()


@pytest.mark.timeout(0 if os.environ.get("HYPOTHESIS_PROFILE") else 200)
def test_whatever_happens_every_promise_is_kept(sessions: Sessions) -> None:
    run_state_machine_as_test(lambda: Engine(sessions), settings=settings())
