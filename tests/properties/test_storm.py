"""Workers and applications on real connections and real time, which are killed at random."""

from __future__ import annotations

import os
import random
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.concurrency.drain import drain
from tests.concurrency.invariants import check_always, check_at_the_end
from tests.concurrency.support import Observer, Session, Worker, cancel, stop_the_clock, task, timer

STORM_SECONDS = float(os.environ.get("STORM_SECONDS", "8"))
WORKERS, APPS = 4, 3
OPTIONS = {"retries": 2, "retry_delay": 0.05, "timeout": 60}


class Storm:
    """Runs everybody, and remembers what was confirmed to them."""

    def __init__(self, url: str, seed: int) -> None:
        self.url = url
        self.seed = seed
        self.is_over = threading.Event()
        self.promised: set[uuid.UUID] = set()
        self.completed: dict[uuid.UUID, int] = {}
        self.signals: set[tuple[uuid.UUID, str]] = set()
        self.errors: list[BaseException] = []
        self.workflows: list[uuid.UUID] = []

    def run(self, observer: Observer) -> None:
        """Let it rage for its time; connections of the others are killed one after the other."""
        bodies: list[Callable[[random.Random], None]] = [self.be_a_worker] * WORKERS
        bodies += [self.be_an_application] * APPS
        threads = [
            threading.Thread(target=self._guarded, args=(body, random.Random(f"{self.seed} {n}")))
            for n, body in enumerate(bodies)
        ]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + STORM_SECONDS
        victims = random.Random(self.seed)
        while time.monotonic() < deadline and not self.errors:
            pids = observer.execute(
                """
                select pid from pg_stat_activity
                where datname = current_database() and pid <> pg_backend_pid()
                    and backend_type = 'client backend'
                """
            )
            if pids:
                observer.execute("select pg_terminate_backend(%s)", victims.choice(pids)[0])
            check_always(observer)
            self.is_over.wait(0.05)
        self.is_over.set()
        for thread in threads:
            thread.join()

    def be_a_worker(self, chance: random.Random) -> None:
        """Claim and end work, tick, and take up the leases after a lost connection."""
        identity, held = uuid.UUID(int=chance.getrandbits(128), version=4), dict[int, Any]()
        session, worker = None, None
        while not self.is_over.is_set():
            try:
                session = session or Session(self.url)
                if worker is None:
                    worker = Worker(
                        session, ["tasks", "flows"], id=str(identity), heartbeat_timeout=2
                    )
                    held = {lease.token: lease for lease in session.rows("resume", identity)}
                if chance.random() < 0.01:
                    # It stops without a word; another takes its place.
                    identity, worker, held = uuid.UUID(int=chance.getrandbits(128)), None, {}
                    continue
                self._work(worker, held, chance)
            except psycopg.OperationalError:
                # Every call may be repeated over the next connection.
                if session is not None:
                    session.close()
                session = worker = None
            except psycopg.Error as error:
                if error.sqlstate != "KR002":
                    raise
                identity, worker, held = uuid.UUID(int=chance.getrandbits(128)), None, {}
        if session is not None:
            session.close()

    def be_an_application(self, chance: random.Random) -> None:
        """Enqueue, signal, cancel and retry, sometimes in a transaction that takes a while."""
        session = None
        while not self.is_over.is_set():
            try:
                session = session or Session(self.url)
                self._ask(session, chance)
            except psycopg.OperationalError:
                if session is not None:
                    session.close()
                session = None
        if session is not None:
            session.close()

    def _work(self, worker: Worker, held: dict[int, Any], chance: random.Random) -> None:
        if chance.random() < 0.3:
            worker.session.call("tick")
        if chance.random() < 0.3:
            worker.heartbeat(*held.values())
        if len(held) < 5:
            held |= {lease.token: lease for lease in worker.claim(3, 3)}
        for lease in list(held.values()):
            if chance.random() < 0.3:
                continue
            if lease.kind == "task":
                word = chance.choices(("complete", "fail", "release"), (8, 2, 1))[0]
                answer = getattr(worker, word)(lease)
                if (word, answer) == ("complete", "accepted"):
                    self.completed[lease.execution_id] = lease.token
            else:
                answer = self._advance(worker, lease, chance)
            if answer != "busy":
                del held[lease.token]

    def _advance(self, worker: Worker, lease: Any, chance: random.Random) -> str:
        if lease.last_event > 6 or chance.random() < 0.1:
            return worker.end(lease)
        number, commands = lease.last_command, []
        if lease.last_event and not lease.inbox:
            return worker.advance(lease)
        for _ in range(chance.randrange(4)):
            number += 1
            choices = [task(number, **OPTIONS), timer(number, chance.random() / 5)]
            commands.append(chance.choice(choices))
        if number and chance.random() < 0.3:
            commands.append(cancel(1 + chance.randrange(number)))
        return worker.advance(lease, *commands)

    def _ask(self, session: Session, chance: random.Random) -> None:
        confirmed: list[Callable[[], None]] = []
        is_transaction = chance.random() < 0.3
        if is_transaction:
            session.begin()
        for _ in range(chance.randrange(1, 5)):
            confirmed.append(self._ask_once(session, chance, is_transaction))
        if is_transaction:
            self.is_over.wait(chance.random() / 10)
            if chance.random() < 0.3:
                session.rollback()
                return
            session.commit()
        for note in confirmed:
            note()

    def _ask_once(
        self, session: Session, chance: random.Random, is_transaction: bool
    ) -> Callable[[], None]:
        what = chance.choices(("task", "workflow", "signal", "cancel", "retry"), (4, 3, 6, 1, 1))[0]
        if what in ("task", "workflow") or not self.workflows:
            return self._enqueue(session, chance, is_workflow=what == "workflow")
        workflow = self.workflows[-1 - chance.randrange(min(len(self.workflows), 20))]
        name = str(uuid.UUID(int=chance.getrandbits(128)))
        arguments: tuple[object, ...] = (workflow,)
        if what == "signal":
            arguments = (workflow, name, None, Jsonb({"id": name}))
        if is_transaction:
            session.execute("savepoint s")
        try:
            session.call(what, *arguments)
        except psycopg.Error as error:
            # It has ended, or has not.
            if error.sqlstate not in ("KR003", "KR006"):
                raise
            if is_transaction:
                session.execute("rollback to savepoint s")
            return lambda: None
        if what == "signal":
            return lambda: self.signals.add((workflow, name))
        return lambda: None

    def _enqueue(
        self, session: Session, chance: random.Random, *, is_workflow: bool
    ) -> Callable[[], None]:
        execution = uuid.UUID(int=chance.getrandbits(128))
        options = {
            **OPTIONS,
            "id": str(execution),
            "queue": "flows" if is_workflow else "tasks",
            "kind": "workflow" if is_workflow else "task",
            "delay": chance.choice((0, 0, 0.1)),
        }
        session.call("enqueue", "f", Jsonb({}), Jsonb(options))

        def confirm() -> None:
            self.promised.add(execution)
            if is_workflow:
                self.workflows.append(execution)

        return confirm

    def _guarded(self, body: Callable[[random.Random], None], chance: random.Random) -> None:
        try:
            body(chance)
        except BaseException as error:  # reported by the test, whichever thread it was
            self.errors.append(error)
            self.is_over.set()


@pytest.mark.timeout(STORM_SECONDS + 110)
def test_a_storm_of_killed_connections_breaks_no_promise(database_url: str) -> None:
    storm = Storm(database_url, seed=int(os.environ.get("STORM_SEED", "1")))
    observer = Observer(database_url)

    storm.run(observer)
    assert not storm.errors, storm.errors

    stop_the_clock(observer)
    drain(observer, Worker(observer, ["tasks", "flows"]))
    check_at_the_end(observer)
    ended = {
        row.execution_id: row
        for row in observer.execute("select execution_id, status, token from currant.outcomes")
    }
    assert storm.promised <= ended.keys()
    for execution, token in storm.completed.items():
        assert (ended[execution].status, ended[execution].token) == ("completed", token)
    query = "select execution_id, name from currant.workflow_signals"
    signals = [tuple(row) for row in observer.execute(query)]
    assert len(signals) == len(set(signals))
    assert storm.signals <= set(signals)
    observer.close()
