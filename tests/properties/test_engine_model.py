"""Random interleavings of applications, workers, ticks, deaths and clock jumps, against a ledger.

Every party has a session and may leave a transaction open while the others go on. All of them
refuse to wait, so that a wait is a failure too.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from psycopg.types.json import Jsonb

from tests.concurrency.drain import drain
from tests.concurrency.invariants import check_always, check_at_the_end
from tests.concurrency.support import Observer, Session, cancel, pass_time, stop_the_clock
from tests.properties.parties import TASKS, WORKFLOWS, Crew, Ledger, Party

APPS, CREWS = 2, 3
NUMBER = st.integers(0, 999)
APP = st.integers(0, APPS - 1)
CREW = st.integers(0, CREWS - 1)


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
        self.observer.execute(
            f"{self._tables}; insert into currant.ticker default values"
        )
        self.observer.execute("update public.clock set at = %s", self._start)


class Engine(RuleBasedStateMachine):
    """The model; each rule is a call that somebody makes."""

    def __init__(self, sessions: Sessions) -> None:
        super().__init__()
        self.sessions = sessions
        self.observer = sessions.observer
        self.ledger = Ledger()
        self.ids = 0

    @initialize()
    def start(self) -> None:
        self.sessions.reset()
        self.apps = [Party(session) for session in self.sessions.apps]
        self.crews = [Crew(session) for session in self.sessions.crews]
        self.ghosts: list[Crew] = []

    # Applications

    @rule(app=APP)
    def app_begins(self, app: int) -> None:
        if not self.apps[app].is_open:
            self.apps[app].begin()

    @rule(app=APP, commits=st.booleans())
    def app_ends_its_transaction(self, app: int, commits: bool) -> None:
        if self.apps[app].is_open:
            self.apps[app].commit() if commits else self.apps[app].rollback()

    @rule(
        app=APP,
        is_workflow=st.booleans(),
        delay=st.sampled_from([0, 0, 20]),
        priority=st.integers(0, 1),
        retries=st.integers(0, 2),
        is_repeated=st.booleans(),
        key=st.sampled_from([None, None, "a", "b"]),
    )
    def app_enqueues(
        self,
        app: int,
        is_workflow: bool,
        delay: int,
        priority: int,
        retries: int,
        is_repeated: bool,
        key: str | None,
    ) -> None:
        party = self.apps[app]
        options = {
            "id": str(self.new_id()),
            "kind": "workflow" if is_workflow else "task",
            "queue": WORKFLOWS if is_workflow else TASKS,
            "delay": delay,
            "priority": priority,
            "retries": retries,
            "timeout": 30,
        }
        if key and not self.others_open(party):
            options |= {"key": key, "key_scope": "open"}
        arguments = (options["kind"], Jsonb({}), Jsonb(options))
        execution = party.session.call("enqueue", *arguments)
        if is_repeated:
            assert party.session.call("enqueue", *arguments) == execution
        party.then(lambda: self.ledger.promise(execution, is_workflow))

    @rule(app=APP, which=NUMBER, is_repeated=st.booleans())
    def app_signals(self, app: int, which: int, is_repeated: bool) -> None:
        if not self.ledger.workflows:
            return
        party, workflow = self.apps[app], self.pick(self.ledger.workflows, which)
        identity = self.new_id()
        arguments = (workflow, str(identity), None, Jsonb({"id": str(identity)}))
        arrival = party.try_call("signal", *arguments)
        if arrival is None:
            return
        if is_repeated:
            assert party.session.call("signal", *arguments) == arrival
        party.then(lambda: self.ledger.signals.add((workflow, str(identity))))

    @rule(app=APP, which=NUMBER)
    def app_cancels(self, app: int, which: int) -> None:
        executions = self.executions()
        if not executions:
            return
        party, execution = self.apps[app], self.pick(executions, which)
        status = party.session.call("cancel", execution)
        if status not in ("completed", "failed"):
            party.then(lambda: self.ledger.stopped.add(execution))
        if status == "cancelled":
            party.then(lambda: self.ledger.cancelled.add(execution))

    @rule(app=APP, which=NUMBER)
    def app_retries(self, app: int, which: int) -> None:
        executions = self.executions("exists (select from currant.outcomes where execution_id = id)")
        party = self.apps[app]
        if executions and not self.others_open(party):
            execution = self.pick(executions, which)
            again = party.try_call("retry", execution)
            if again is not None:
                is_workflow = execution in self.ledger.workflows
                party.then(lambda: self.ledger.promise(again, is_workflow))

    @rule(app=APP)
    def app_ticks(self, app: int) -> None:
        self.apps[app].session.call("tick", "due")

    # Workers

    @rule(crew=CREW)
    def worker_begins(self, crew: int) -> None:
        if not self.crews[crew].is_open:
            self.crews[crew].begin()

    @rule(crew=CREW, commits=st.booleans())
    def worker_ends_its_transaction(self, crew: int, commits: bool) -> None:
        if self.crews[crew].is_open:
            self.crews[crew].commit() if commits else self.crews[crew].rollback()

    @rule(
        crew=CREW, tasks=st.integers(0, 3), workflows=st.integers(0, 3), is_lost=st.booleans()
    )
    def worker_claims(self, crew: int, tasks: int, workflows: int, is_lost: bool) -> None:
        party = self.crews[crew]
        if not self.is_admitted(party):
            return
        stopped = set(self.ledger.stopped)
        leases = party.worker.claim(tasks, workflows)
        for lease in leases:
            assert lease.kind == "workflow" or lease.execution_id not in stopped
        if not is_lost:
            party.held += leases

    @rule(crew=CREW)
    def worker_resumes(self, crew: int) -> None:
        party = self.crews[crew]
        if self.is_admitted(party):
            known = {lease.token for lease in party.held}
            found = party.session.rows("resume", party.worker.id)
            party.held = found
            party.former = [lease for lease in party.former if lease.token not in known]

    @rule(crew=CREW, which=NUMBER, verb=st.sampled_from(["complete", "fail", "release"]))
    def worker_ends_a_task(self, crew: int, which: int, verb: str) -> None:
        party = self.crews[crew]
        tasks = [lease for lease in party.held if lease.kind == "task"]
        if tasks:
            lease = self.pick(tasks, which)
            word = party.say(verb, lease, self.ledger)
            if which % 3 == 0:
                again = party.say(verb, lease, self.ledger)
                assert again == {"accepted": "already"}.get(word, word) or verb == "release"

    @rule(crew=CREW, verb=st.sampled_from(["complete", "fail"]))
    def worker_ends_all_its_tasks(self, crew: int, verb: str) -> None:
        party = self.crews[crew]
        tasks = [lease for lease in party.held if lease.kind == "task"]
        if tasks:
            party.say_many(verb, tasks, self.ledger, {"type": "E", "retryable": len(tasks) < 3})

    @rule(
        crew=CREW,
        which=NUMBER,
        what=st.lists(
            st.sampled_from(["task", "timer", "cancel", "signal", "queue", "end", "fail"]),
            max_size=3,
        ),
    )
    def worker_advances_a_workflow(self, crew: int, which: int, what: list[str]) -> None:
        party = self.crews[crew]
        workflows = [lease for lease in party.held if lease.kind == "workflow"]
        if not workflows or not self.is_admitted(party):
            return
        lease = self.pick(workflows, which)
        commands = self.commands(lease, what, which)
        read = {event["name"] for event in lease.inbox}
        unread = {name for at, name in self.ledger.signals if at == lease.execution_id} - read
        word = party.say("advance", lease, self.ledger, *commands)
        if word == "accepted" and commands and commands[-1]["kind"] in ("complete", "fail"):
            seen = {row.name for row in party.session.rows("history", lease.execution_id)}
            assert unread <= seen or self.is_impatient(lease)
        if word == "accepted":
            dropped = {c["number"] for c in commands if c["kind"] == "cancel"}
            for command in commands:
                is_task = command["kind"] == "task" and command["number"] not in dropped
                has_ended = commands[-1]["kind"] in ("complete", "fail")
                if command["kind"] == "queue" and "key" not in command["payload"]["options"]:
                    is_task = True
                elif has_ended:
                    is_task = False
                if is_task:
                    child = uuid.UUID(command["payload"]["id"])
                    party.then(lambda child=child: self.ledger.promise(child, False))  # type: ignore[misc]

    @rule(crew=CREW, which=NUMBER, is_blocked=st.booleans())
    def worker_gives_a_workflow_back(self, crew: int, which: int, is_blocked: bool) -> None:
        party = self.crews[crew]
        workflows = [lease for lease in party.held if lease.kind == "workflow"]
        if not workflows or not self.is_admitted(party):
            return
        lease = self.pick(workflows, which)
        if is_blocked:
            party.say("advance", lease, self.ledger, blocked="no such code")
        else:
            party.say("release", lease, self.ledger, "no such code" if which % 2 else None)

    @rule(
        crew=CREW,
        which=NUMBER,
        verb=st.sampled_from(["complete", "fail", "release", "advance"]),
    )
    def worker_says_a_late_word(self, crew: int, which: int, verb: str) -> None:
        party = self.crews[crew]
        leases = [
            lease for lease in party.former if verb != "advance" or lease.kind == "workflow"
        ]
        if leases and self.is_admitted(party):
            word = party.say(verb, self.pick(leases, which), self.ledger)
            assert word in ("already", "lost", "busy")

    @precondition(lambda self: any(ghost.held for ghost in self.ghosts))
    @rule(which=NUMBER, verb=st.sampled_from(["complete", "fail", "release"]))
    def ghost_of_a_worker_says_a_word(self, which: int, verb: str) -> None:
        ghost = self.pick([ghost for ghost in self.ghosts if ghost.held], which)
        lease = self.pick(ghost.held, which)
        if lease.kind == "task":
            ghost.say(verb, lease, self.ledger)

    @rule(crew=CREW)
    def worker_sends_a_heartbeat(self, crew: int) -> None:
        party = self.crews[crew]
        if self.is_admitted(party):
            self.heartbeat(party)

    @rule(crew=CREW, is_orderly=st.booleans())
    def worker_stops(self, crew: int, is_orderly: bool) -> None:
        party = self.crews[crew]
        if party.is_open:
            party.rollback()
        if is_orderly:
            party.session.call("deregister_worker", party.worker.id)
        self.ghosts.append(party)
        self.crews[crew] = Crew(party.session)

    # Maintenance and time

    @rule(duty=st.sampled_from(["due", "recover", None]))
    def tick(self, duty: str | None) -> None:
        self.observer.call("tick", duty)

    @rule(seconds=st.sampled_from([0.2, 3.0, 30.0, 4000.0, -20.0]))
    def clock_jumps(self, seconds: float) -> None:
        pass_time(self.observer, seconds)

    @rule(beats=st.booleans())
    def time_goes_by(self, beats: bool) -> None:
        for _ in range(8):
            pass_time(self.observer, 8)
            for party in self.crews:
                if beats and self.is_admitted(party):
                    self.heartbeat(party)
            self.observer.call("tick")

    @rule()
    def functions_are_registered(self) -> None:
        functions = [{"name": "task", "kind": "task"}, {"name": "workflow", "kind": "workflow"}]
        self.observer.call("register_functions", Jsonb(functions))

    @invariant()
    def everything_is_in_its_place(self) -> None:
        check_always(self.observer)

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
        self.check_ledger()

    def check_ledger(self) -> None:
        """Assert that every promise was kept."""
        ledger = self.ledger
        ended = {
            row.execution_id: row
            for row in self.observer.execute(
                "select execution_id, status, token, attempt from currant.outcomes"
            )
        }
        assert ledger.promised <= ended.keys()
        for execution, token in ledger.completed.items():
            assert (ended[execution].status, ended[execution].token) == ("completed", token)
        assert all(ended[execution].status == "cancelled" for execution in ledger.cancelled)
        assert not ledger.refused & {row.token for row in ended.values()}
        tokens = {row[0] for row in self.observer.execute("select token from currant.attempts")}
        assert ledger.failed <= tokens
        assert not tokens & ledger.spent.keys() - ledger.failed
        signals: dict[tuple[uuid.UUID, str], int] = {}
        for row in self.observer.execute("select execution_id, name from currant.workflow_signals"):
            signals[row] = signals.get(row, 0) + 1
        assert set(signals.values()) <= {1}
        assert ledger.signals <= signals.keys()

    # Helpers

    def commands(self, lease: Any, what: list[str], which: int) -> list[dict[str, Any]]:
        """The commands of an activation."""
        commands: list[dict[str, Any]] = []
        number = lease.last_command
        for kind in what:
            number += kind in ("task", "timer", "signal", "queue")
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
            elif kind == "signal":
                other = self.pick(self.ledger.workflows, which)
                command["name"] = identity
                command["payload"] = {"id": identity, "execution": str(other)}
            elif kind == "end":
                return [*commands, {"kind": "complete", "payload": {"result": which}}]
            elif kind == "fail":
                return [*commands, {"kind": "fail", "payload": {"error": {"type": "E"}}}]
            commands.append(command)
        return commands

    def heartbeat(self, party: Crew) -> None:
        """Send one from another connection than the worker's own, as workers do."""
        tokens = [lease.token for lease in party.held]
        answers = self.observer.rows(
            "heartbeat", party.worker.id, [lease.execution_id for lease in party.held], tokens
        )
        assert {answer.token for answer in answers} <= set(tokens)
        assert {answer.answer for answer in answers} <= {"lost", "cancel"}

    def is_admitted(self, party: Crew) -> bool:
        """Whether the worker is alive; one that was declared dead comes back as another."""
        is_alive: bool = self.observer.value(
            "select count(*) > 0 from currant.workers where id = %s and died_at is null",
            party.worker.id,
        )
        if not is_alive and not party.is_open:
            self.ghosts.append(party)
            self.crews[self.crews.index(party)] = Crew(party.session)
        return is_alive

    def is_impatient(self, lease: Any) -> bool:
        """Whether a workflow's end may have been accepted over an unread signal."""
        return list(self.ledger.spent.values()).count("advance") >= 3

    def others_open(self, party: Party) -> bool:
        """Whether anybody else has a transaction open."""
        return any(other.is_open for other in [*self.apps, *self.crews] if other is not party)

    def executions(self, where: str = "true") -> list[uuid.UUID]:
        """What is committed, in order."""
        return [
            row[0]
            for row in self.observer.execute(
                f"select id from currant.executions where {where} order by id"
            )
        ]

    def new_id(self) -> uuid.UUID:
        """An id that is the same when the example is run again."""
        self.ids += 1
        return uuid.UUID(int=self.ids)

    @staticmethod
    def pick(choices: list[Any], which: int) -> Any:
        """One of them."""
        return choices[which % len(choices)]


@pytest.fixture
def sessions(database_url: str) -> Iterator[Sessions]:
    """The sessions of all parties, on a database of their own."""
    sessions = Sessions(database_url)
    yield sessions
    for session in sessions.all:
        session.close()


@pytest.mark.timeout(0 if os.environ.get("HYPOTHESIS_PROFILE") else 120)
def test_whatever_happens_every_promise_is_kept(sessions: Sessions) -> None:
    run_state_machine_as_test(lambda: Engine(sessions), settings=settings())
