"""Applications and workers as the model drives them, and the ledger of what they were promised.

A party may have a transaction open. What it was told then counts only from its commit.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from tests.concurrency.support import Session, Worker

TASKS, WORKFLOWS = "tasks", "flows"


@dataclass
class Ledger:
    """What was committed and confirmed, and hence has to be true at the end."""

    promised: set[uuid.UUID] = field(default_factory=set)
    workflows: list[uuid.UUID] = field(default_factory=list)
    completed: dict[uuid.UUID, int] = field(default_factory=dict)
    spent: dict[int, str] = field(default_factory=dict)
    failed: set[int] = field(default_factory=set)
    refused: set[int] = field(default_factory=set)
    cancelled: set[uuid.UUID] = field(default_factory=set)
    stopped: set[uuid.UUID] = field(default_factory=set)
    doomed: set[uuid.UUID] = field(default_factory=set)
    signals: set[tuple[uuid.UUID, str]] = field(default_factory=set)
    sent: set[str] = field(default_factory=set)

    def promise(self, execution: uuid.UUID, is_workflow: bool) -> None:
        """An enqueue was confirmed."""
        if is_workflow and execution not in self.promised:
            self.workflows.append(execution)
        self.promised.add(execution)

    def check(self, observer: Session) -> None:
        """Assert that every promise was kept."""
        query = """
            select o.execution_id, e.kind, o.status, o.token
            from currant.outcomes as o join currant.executions as e on e.id = o.execution_id
        """
        ended = {row.execution_id: row for row in observer.execute(query)}
        assert self.promised <= ended.keys()
        for execution, token in self.completed.items():
            assert (ended[execution].status, ended[execution].token) == ("completed", token)
        assert all(ended[execution].status == "cancelled" for execution in self.cancelled)
        for execution in self.doomed:
            assert ended[execution].kind == "workflow" or ended[execution].status != "failed"
        assert not self.refused & {row.token for row in ended.values()}
        attempts = {row.token for row in observer.execute("select token from currant.attempts")}
        assert self.failed <= attempts
        assert not attempts & self.spent.keys() - self.failed
        query = "select execution_id, name from currant.workflow_signals"
        signals = [tuple(row) for row in observer.execute(query)]
        assert len(signals) == len(set(signals))
        assert self.signals <= set(signals)
        # To whoever holds the key at last: if that one has ended, to its successor. What was sent
        # before somebody asked for the cancellation of a workflow goes with it.
        query = """
            select s.name, count(*) as times
            from (
                select name from currant.history_entries where kind = 'signal_received'
                union all
                select i.name
                from currant.inbox as i
                join currant.outcomes as o on o.execution_id = i.workflow_id
                cross join lateral (
                    select coalesce(min(requested_at), o.finished_at) as at
                    from currant.cancels where execution_id = o.execution_id
                ) as asked
                where i.kind = 'signal_received' and o.status = 'cancelled'
                    and i.arrived_at <= asked.at
            ) as s
            group by s.name
        """
        settled = {row.name: row.times for row in observer.execute(query)}
        assert {name: settled.get(name) for name in self.sent} == dict.fromkeys(self.sent, 1)

    def note_word(self, verb: str, lease: Any, word: str) -> None:
        """A worker was answered."""
        if word in ("accepted", "refused", "stale"):
            self.spent[lease.token] = verb
        if word == "lost" and lease.token not in self.spent:
            self.refused.add(lease.token)
        if (verb, word) == ("complete", "accepted"):
            self.completed[lease.execution_id] = lease.token
        if (verb, word) == ("fail", "accepted"):
            self.failed.add(lease.token)


class Party:
    """A session with at most one open transaction."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.session.refuse_to_wait()
        self.is_open = False
        self._later: list[Callable[[], None]] = []

    def begin(self) -> None:
        """Open a transaction."""
        self.session.begin()
        self.is_open = True

    def commit(self) -> None:
        """End it: what was noted in it counts."""
        self.session.commit()
        self.is_open = False
        for note in self._later:
            note()
        self._later.clear()

    def rollback(self) -> None:
        """Undo it: nothing of it ever happened."""
        self.session.rollback()
        self.is_open = False
        self._later.clear()

    def then(self, note: Callable[[], None]) -> None:
        """Note something, from the commit on."""
        if self.is_open:
            self._later.append(note)
        else:
            note()

    def try_call(self, function: str, *arguments: object) -> Any:
        """Call; an error of Currant's own is None, and costs the open transaction."""
        try:
            return self.session.call(function, *arguments)
        except psycopg.Error as error:
            if not (error.sqlstate or "").startswith(("KR", "22023")):
                raise
            if self.is_open:
                self.rollback()
            return None


class Crew(Party):
    """A worker, what it holds and what it held."""

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self.worker = Worker(session, [TASKS, WORKFLOWS])
        self.held: list[Any] = []
        self.former: list[Any] = []
        self.refusals: list[uuid.UUID] = []
        self._before: tuple[list[Any], list[Any]] = ([], [])

    def begin(self) -> None:
        """Open a transaction."""
        self._before = (list(self.held), list(self.former))
        super().begin()

    def rollback(self) -> None:
        """Undo it: it holds what it held before."""
        super().rollback()
        self.held, self.former = self._before

    def holds(self, kind: str) -> list[Any]:
        """What it holds of a kind."""
        return [lease for lease in self.held if lease.kind == kind]

    def is_refused(self, lease: Any) -> bool:
        """Whether an end of the workflow was refused so often that the next one is not."""
        return self.refusals.count(lease.execution_id) >= 3

    def drop(self, lease: Any) -> None:
        """It holds a lease no more."""
        if lease in self.held:
            self.held.remove(lease)
            self.former.append(lease)

    def say(self, verb: str, lease: Any, ledger: Ledger, *arguments: Any, **options: Any) -> str:
        """End a lease by a word of the protocol; the answer."""
        word: str = getattr(self.worker, verb)(lease, *arguments, **options)
        assert word in ("accepted", "already", "lost", "busy", "refused", "stale"), word
        if word != "busy":
            assert word in ("already", "lost") or lease.token not in ledger.spent, (verb, word)
            assert word in ("already", "lost") or lease.token not in ledger.refused, (verb, word)
            self.drop(lease)
            self.then(lambda: ledger.note_word(verb, lease, word))
        return word

    def say_many(self, verb: str, leases: Sequence[Any], ledger: Ledger, value: Any) -> list[str]:
        """The same for several tasks in one call."""
        words: list[str] = self.session.call(
            f"{verb}_many",
            self.worker.id,
            [lease.execution_id for lease in leases],
            [lease.token for lease in leases],
            [Jsonb(value) for _ in leases],
        )
        for lease, word in zip(leases, words, strict=True):
            if word != "busy":
                assert word in ("already", "lost") or lease.token not in ledger.spent
                self.drop(lease)
                self.then(lambda lease=lease, word=word: ledger.note_word(verb, lease, word))  # type: ignore[misc]
        return words
