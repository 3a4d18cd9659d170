"""The exchange with a database that is played by the test."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg
import pytest

from currant import database, models
from currant.engine import Engine
from currant.models import Completion, Failure, Release, Report, Step, Word, new_id
from currant.reports import calls_of, is_bad_data, replacement

START = datetime(2030, 1, 1, tzinfo=UTC)


class Refused(psycopg.Error):
    def __init__(self, state: str) -> None:
        super().__init__(state)
        self.sqlstate = state


class Connection:
    closed = False

    async def close(self) -> None:
        self.closed = True


class Server:
    """Answers exchanges: completions as the test says, everything else as if there were nothing."""

    def __init__(self) -> None:
        self.exchanges: list[list[str]] = []
        self.completed: list[str] = []
        self.answer: Callable[[str], str] = lambda result: "accepted"
        self.refuse: Callable[[list[str]], str | None] = lambda results: None
        self.leases: list[models.Claimed] = []
        self.claims: list[tuple[int, int, dict[str, Any]]] = []  # tasks, workflows, hints
        self.claim: Callable[[], list[models.Claimed]] = list
        self.directs: list[int] = []
        self.gate = asyncio.Event()  # what comes first is answered once it is open
        self.gate.set()
        self.can_follow = True
        self.step: Callable[[Sequence[Report]], models.Stepped] = _all_accepted

    def can_send_behind(self, _: Connection) -> bool:
        return True

    def send_behind(self, _: Connection, calls: Sequence[database.Call[Any]]) -> Any:
        return calls if self.can_follow else None

    async def receive(self, connection: Connection, sent: Any) -> list[Any]:
        return await self.exchange(connection, sent)

    async def exchange(self, _: Connection, calls: Sequence[database.Call[Any]]) -> list[Any]:
        await self.gate.wait()
        # Answers before anything is counted as stored, as in one transaction.
        results = [result for call in calls for result in _results(call)]
        state = self.refuse(results)
        if state is not None:
            raise Refused(state) if state != "lost" else psycopg.OperationalError("gone")
        self.exchanges.append(results)
        answers: list[Any] = []
        for call in calls:
            name = _name(call)
            if name in ("complete_many", "fail_many", "release_many"):
                words = [self.answer(result) for result in _results(call)]
                self.completed += [
                    result
                    for result, word in zip(_results(call), words, strict=True)
                    if word == "accepted"
                ]
                answers.append(words)
            elif name == "step_many":
                reports, direct = call.params
                self.directs.append(direct[1] if direct else 0)
                answers.append(self.step(reports))
            elif name == "claim":
                _, _, tasks, workflows, hints = call.params
                self.claims.append((tasks, workflows, json.loads(hints or "{}")))
                answers.append(self.claim())
            else:
                answers.append([])
        return answers

    async def run(self, _: Connection, call: database.Call[Any]) -> Any:
        match _name(call):
            case "tick":
                return models.TickResult(0, False, None)
            case "resume":
                return self.leases
            case "register_worker":
                return new_id()
            case _:
                return 0


def _name(call: database.Call[Any]) -> str:
    return call.sql.split("currant.", 1)[1].split("(", 1)[0]


def _results(call: database.Call[Any]) -> list[str]:
    """What tells the reports of a call apart."""
    if _name(call) == "step_many":
        return [f"step {-one.token}" for one in call.params[0]]
    if _name(call) not in ("complete_many", "fail_many"):
        return []
    return [str(one) for one in call.params]


def _complete_many(_: UUID, reports: Sequence[Completion]) -> database.Call[Any]:
    return database.Call("currant.complete_many()", [one.result for one in reports], list)


def _step_many(_: UUID, reports: Sequence[Report], direct: Any = None) -> database.Call[Any]:
    return database.Call("currant.step_many()", (reports, direct), list)


def _all_accepted(reports: Sequence[Report]) -> models.Stepped:
    completed = [one for each in reports if isinstance(each, Step) for one in each.completions]
    return models.Stepped(["accepted"] * len(reports), ["accepted"] * len(completed), [])


def _fail_many(_: UUID, reports: Sequence[Failure]) -> database.Call[Any]:
    return database.Call("currant.fail_many()", [one.error for one in reports], list)


class Worker:
    def __init__(self) -> None:
        self.settled_words: dict[int, Word] = {}
        self.started: list[models.Claimed] = []
        self.lost_tokens: list[int] = []
        self.holds: dict[int, UUID] = {}
        self.slots = (1, 1)
        self.steps = 0

    def free_slots(self) -> tuple[int, int]:
        return self.slots

    def steps_under_way(self) -> int:
        return self.steps

    def start(self, claimed: Sequence[models.Claimed]) -> None:
        self.started += claimed

    def settled(self, report: Report, word: Word) -> None:
        assert report.token not in self.settled_words, "settled twice"
        self.settled_words[report.token] = word

    def held(self) -> Mapping[int, UUID]:
        return self.holds

    def lost(self, token: int) -> None:
        self.lost_tokens.append(token)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    server = Server()
    monkeypatch.setattr(database, "exchange", server.exchange)
    monkeypatch.setattr(database, "can_send_behind", server.can_send_behind)
    monkeypatch.setattr(database, "send_behind", server.send_behind)
    monkeypatch.setattr(database, "receive", server.receive)
    monkeypatch.setattr(database, "run", server.run)
    monkeypatch.setattr(database, "complete_many", _complete_many)
    monkeypatch.setattr(database, "fail_many", _fail_many)
    monkeypatch.setattr(database, "step_many", _step_many)
    return server


@pytest.fixture
def worker() -> Worker:
    return Worker()


def engine_of(worker: Worker, *, concurrency: int) -> Engine:
    async def connect() -> Any:
        return Connection()

    return Engine(
        worker,
        connect=connect,
        registration=lambda identity: {"id": str(identity)},
        queues=["q"],
        concurrency=concurrency,
        poll_interval=3600,
        recover_interval=3600,
    )


@pytest.fixture
def engine(worker: Worker, server: Server) -> Engine:
    return engine_of(worker, concurrency=10)


def completion(token: int, result: str | None = None) -> Completion:
    return Completion(new_id(), token, str(token) if result is None else result)


async def finish(engine: Engine) -> None:
    """Let it send everything, and end."""
    engine.stop()
    async with asyncio.timeout(20):
        await engine.run()


async def test_what_was_reported_together_travels_together(
    engine: Engine, server: Server, worker: Worker
) -> None:
    for token in (1, 2, 3):
        engine.report(completion(token))

    await finish(engine)

    assert server.exchanges == [["1", "2", "3"]]
    assert worker.settled_words == dict.fromkeys((1, 2, 3), Word.ACCEPTED)


@pytest.mark.parametrize("bad", [{1}, {8}, {4}, {1, 2}, {3, 8}, set(range(1, 9))], ids=str)
async def test_bad_data_is_found_and_everything_else_is_stored_and_settled(
    engine: Engine, server: Server, worker: Worker, bad: set[int]
) -> None:
    texts = {str(token) for token in bad}
    server.refuse = lambda results: "22P02" if texts & set(results) else None
    for token in range(1, 9):
        engine.report(completion(token))

    await finish(engine)

    stored = [result for result in server.completed if result in map(str, range(1, 9))]
    assert sorted(stored) == [str(n) for n in range(1, 9) if n not in bad]
    # Those that were refused end as failures.
    assert set(worker.settled_words) == set(range(1, 9))
    assert sum(text.startswith("{") for text in server.completed) == len(bad)


@pytest.mark.parametrize("at", [1, 2, 3, 4])
async def test_a_connection_lost_while_it_looks_for_bad_data_forgets_nothing(
    engine: Engine, server: Server, worker: Worker, at: int
) -> None:
    calls = 0

    def refuse(results: list[str]) -> str | None:
        nonlocal calls
        calls += 1
        if calls == at + 1:
            return "lost"
        return "22P02" if "5" in results else None

    server.refuse = refuse
    for token in range(1, 9):
        engine.report(completion(token))

    await finish(engine)

    assert set(worker.settled_words) == set(range(1, 9))
    assert sorted(r for r in server.completed if r.isdigit()) == list("1234678")


@pytest.mark.parametrize("state", ["42883", "42501", "57014", "55P03", "XX000", "40001", "57P01"])
async def test_what_says_nothing_about_a_report_is_waited_for(
    engine: Engine, server: Server, worker: Worker, state: str
) -> None:
    await_refusals = 2

    def refuse(results: list[str]) -> str | None:
        nonlocal await_refusals
        if results and await_refusals:
            await_refusals -= 1
            return state
        return None

    server.refuse = refuse
    engine.report(completion(1))

    await finish(engine)

    assert server.completed == ["1"]
    assert worker.settled_words == {1: Word.ACCEPTED}


async def test_a_busy_report_is_sent_again_after_a_while(
    engine: Engine, server: Server, worker: Worker
) -> None:
    answers = iter(["busy", "busy", "accepted"])
    server.answer = lambda result: next(answers)
    engine.report(completion(1))

    await finish(engine)

    assert server.exchanges == [["1"]] * 3
    assert worker.settled_words == {1: Word.ACCEPTED}


async def test_nothing_that_has_been_reported_is_taken_up_again(
    engine: Engine, server: Server, worker: Worker, claimed: Callable[[int], models.Claimed]
) -> None:
    """Neither what waits to be sent, nor what was busy when the connection was lost."""
    steps = iter(["busy", "lost", "accepted"])

    def refuse(results: list[str]) -> str | None:
        if results and (step := next(steps)) == "lost":
            return "lost"
        server.answer = lambda result: step
        return None

    server.refuse = refuse
    server.leases = [claimed(1), claimed(2)]
    worker.holds = {2: new_id()}
    engine.report(completion(1))

    await finish(engine)

    assert worker.started == []
    assert worker.settled_words == {1: Word.ACCEPTED}


async def test_leases_of_an_answer_that_never_came_are_taken_up(
    engine: Engine, server: Server, worker: Worker, claimed: Callable[[int], models.Claimed]
) -> None:
    server.leases = [claimed(1), claimed(2)]
    worker.holds = {2: new_id(), 3: new_id()}
    engine.report(completion(9))

    await finish(engine)

    assert [one.token for one in worker.started] == [1]
    assert worker.lost_tokens == [3]


async def test_declared_dead_it_gives_everything_up_and_registers_anew(
    engine: Engine, server: Server, worker: Worker
) -> None:
    before = engine.worker_id
    refusals = iter(["KR002"])
    server.refuse = lambda results: next(refusals, None)
    worker.holds = {2: new_id()}
    engine.report(completion(1))

    await finish(engine)

    assert engine.worker_id != before
    assert worker.settled_words == {1: Word.LOST}
    assert worker.lost_tokens[-1] == 2


# --- Steps


def step(*tokens: int, tasks: int = 0) -> Step:
    """A step that takes in the completions of these tokens."""
    completions = tuple(completion(token) for token in tokens)
    return Step(new_id(), -tokens[0], 1, START, completions, "[]", tasks=tasks)


async def test_a_step_and_each_of_its_completions_is_answered(
    engine: Engine, server: Server, worker: Worker
) -> None:
    server.step = lambda reports: models.Stepped(
        ["refused", "accepted"], ["accepted", "lost", "accepted"], []
    )
    engine.report(step(1, 2))
    engine.report(step(3))

    await finish(engine)

    assert worker.settled_words == {
        1: Word.ACCEPTED, 2: Word.LOST, 3: Word.ACCEPTED, -1: Word.REFUSED, -3: Word.ACCEPTED
    }  # fmt: skip


async def test_steps_come_before_what_else_their_workflows_are_told(
    engine: Engine, server: Server
) -> None:
    engine.report(completion(1))
    engine.report(step(2))

    await finish(engine)

    assert server.exchanges == [["step 2", "1"]]


async def test_a_busy_completion_of_a_step_is_sent_again_by_itself(
    engine: Engine, server: Server, worker: Worker
) -> None:
    server.step = lambda reports: models.Stepped(["refused"], ["accepted", "busy"], [])
    engine.report(step(1, 2))

    await finish(engine)

    assert server.exchanges == [["step 1"], ["2"]]
    assert worker.settled_words == {1: Word.ACCEPTED, 2: Word.ACCEPTED, -1: Word.REFUSED}


@pytest.mark.parametrize("state", ["KR005", "22P05", "54000"])
async def test_a_step_that_cannot_be_stored_leaves_its_completions(
    engine: Engine, server: Server, worker: Worker, state: str
) -> None:
    server.refuse = lambda results: state if "step 3" in results else None
    for first in (1, 3, 5):
        engine.report(step(first, first + 1))
    engine.report(completion(9))

    await finish(engine)

    assert sorted(server.completed) == ["3", "4", "9"]
    assert worker.settled_words.pop(-3) is Word.REFUSED
    assert set(worker.settled_words) == {1, 2, 3, 4, 5, 6, 9, -1, -5}
    assert set(worker.settled_words.values()) == {Word.ACCEPTED}


async def test_answer_to_a_step_is_lost_and_nothing_of_it_is(
    engine: Engine, server: Server, worker: Worker, claimed: Callable[[int], models.Claimed]
) -> None:
    """It was stored, and a task began with it; its own lease was the last thing known of it."""

    def refuse(results: list[str]) -> str | None:
        if results and not server.leases:
            server.leases = [claimed(7)]
            return "lost"
        return None

    server.refuse = refuse
    server.step = lambda reports: models.Stepped(["refused"], ["already"], [])
    worker.slots = (2, 1)
    engine.report(step(1, tasks=1))

    await finish(engine)

    assert [one.token for one in worker.started] == [7]
    assert worker.lost_tokens == []
    assert worker.settled_words == {1: Word.ALREADY, -1: Word.REFUSED}


async def test_what_a_step_completes_is_not_taken_up_again(
    engine: Engine, server: Server, worker: Worker, claimed: Callable[[int], models.Claimed]
) -> None:
    server.leases = [claimed(1), claimed(2)]
    engine.report(step(1, 2))

    await finish(engine)

    assert worker.started == []


async def test_declared_dead_it_loses_steps_with_all_their_completions(
    engine: Engine, server: Server, worker: Worker
) -> None:
    refusals = iter(["KR002"])
    server.refuse = lambda results: next(refusals, None)
    engine.report(step(1, 2))

    await finish(engine)

    assert worker.settled_words == dict.fromkeys((1, 2, -1), Word.LOST)


async def serve_until(engine: Engine, condition: Callable[[], bool]) -> None:
    """Let it work until something is so, and then end."""
    running = asyncio.create_task(engine.run())
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0)
        engine.stop()
        await running


@pytest.mark.parametrize("free", [0, 1, 3, 9])
async def test_a_step_gets_no_more_tasks_than_there_are_slots(
    engine: Engine, server: Server, worker: Worker, free: int
) -> None:
    worker.slots = (free, 5)
    running = asyncio.create_task(engine.run())
    async with asyncio.timeout(20):
        # A claim has found that nothing waits.
        while not server.claims:  # noqa: ASYNC110
            await asyncio.sleep(0)
        server.claims.clear()
        engine.report(step(1, tasks=4))
        while not server.directs:  # noqa: ASYNC110
            await asyncio.sleep(0)
        engine.stop()
        await running

    (direct,) = server.directs
    assert direct == min(free, 4)
    assert sum(tasks for tasks, _, _ in server.claims[:1]) in (free - direct, 0)


async def test_slots_of_steps_under_way_are_kept_for_them(
    engine: Engine, server: Server, worker: Worker
) -> None:
    worker.slots, worker.steps = (5, 1), 2

    await serve_until(engine, lambda: bool(server.claims))

    assert {tasks for tasks, _, _ in server.claims} == {3}


async def test_new_workflows_that_were_held_back_begin_when_there_is_room(
    engine: Engine, server: Server, worker: Worker
) -> None:
    """They have been announced, and nobody will do so again."""

    async def until(condition: Callable[[], bool]) -> None:
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0)

    def rooms() -> list[int]:
        """For how many new workflows there was room in each claim."""
        return [hints.get("fresh", workflows) for _, workflows, hints in server.claims]

    worker.slots = (2, 5)
    engine.listening(True)
    running = asyncio.create_task(engine.run())
    async with asyncio.timeout(20):
        await until(lambda: engine._appetite.is_declared)
        engine._appetite._direct_until = 0.0  # as after a while
        engine.report(step(1, tasks=2))
        engine.notified(is_work=True)
        await until(lambda: 0 in rooms())
        engine.report(completion(2))
        await until(lambda: rooms()[-1] > 0)
        engine.stop()
        await running


# --- Sleeping and waking


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0)


async def test_woken_it_claims_once_stays_declared_and_completes_without_a_claim(
    engine: Engine, server: Server, worker: Worker, claimed: Callable[[int], models.Claimed]
) -> None:
    worker.slots = (5, 5)
    engine.listening(True)
    running = asyncio.create_task(engine.run())
    await until(lambda: engine._appetite.is_declared)
    server.claims.clear()

    server.claim = lambda: [claimed(1)] if not worker.started else []
    engine.notified(is_work=True)
    await until(lambda: bool(worker.started))
    engine.report(completion(1))
    await until(lambda: 1 in worker.settled_words)

    ((_, _, hints),) = server.claims
    assert hints["wait"] > 0
    assert engine._appetite.is_declared
    engine.stop()
    await running


async def test_a_claim_that_comes_back_full_ends_the_declaration(
    engine: Engine, server: Server, worker: Worker, claimed: Callable[[int], models.Claimed]
) -> None:
    worker.slots = (1, 0)
    engine.listening(True)
    running = asyncio.create_task(engine.run())
    await until(lambda: engine._appetite.is_declared)
    server.claims.clear()

    server.claim = lambda: [claimed(1)] if len(server.claims) == 1 else []
    engine.notified(is_work=True)
    await until(lambda: len(server.claims) >= 2)

    assert ["wait" in hints for _, _, hints in server.claims[:2]] == [True, False]
    engine.stop()
    await running


async def test_what_is_announced_while_a_claim_is_under_way_is_asked_for(
    engine: Engine, server: Server, worker: Worker, claimed: Callable[[int], models.Claimed]
) -> None:
    """The claim may have looked before it was there."""

    def claim() -> list[models.Claimed]:
        if len(server.claims) == 1:
            engine.notified(is_work=True)
        return [claimed(1)] if len(server.claims) == 2 else []

    engine.listening(True)
    running = asyncio.create_task(engine.run())
    await until(lambda: engine._appetite.is_declared)
    server.claims.clear()
    server.claim = claim

    engine.notified(is_work=True)
    await until(lambda: bool(worker.started))

    engine.stop()
    await running


async def test_asked_to_stop_while_it_declares_its_sleep_it_takes_nothing_more(
    engine: Engine, server: Server
) -> None:
    """It looks twice, since a producer may not have seen the declaration yet."""

    def claim() -> list[models.Claimed]:
        if "wait" in server.claims[-1][2]:
            engine.stop_claiming()
        return []

    server.claim = claim
    engine.listening(True)
    running = asyncio.create_task(engine.run())
    await until(lambda: not engine._claiming)
    engine.report(completion(1))
    await until(lambda: bool(server.completed))

    assert ["wait" in hints for _, _, hints in server.claims].count(True) == 1
    engine.stop()
    await running


async def test_who_hears_nothing_does_not_ask_to_be_told(engine: Engine, server: Server) -> None:
    running = asyncio.create_task(engine.run())
    await until(lambda: engine._appetite.poll_at > 0)
    engine.report(completion(1))
    await until(lambda: len(server.claims) >= 2)

    assert not any("wait" in hints for _, _, hints in server.claims)
    engine.stop()
    await running


# --- Reports


@pytest.fixture
def claimed() -> Callable[[int], models.Claimed]:
    from tests.unit.test_executor import claimed as make

    return lambda token: make("f", token=token)


@pytest.mark.parametrize(
    ("state", "is_bad"),
    [
        *[(state, True) for state in ("22023", "22P05", "23505", "54000", "KR005")],
        *[(state, False) for state in ("KR002", "KR008", "42501", "42883", "40001", "57014", "")],
    ],
)
def test_only_some_errors_are_about_the_data(state: str, is_bad: bool) -> None:
    assert is_bad_data(Refused(state)) is is_bad


def test_a_replacement_that_is_refused_has_no_replacement() -> None:
    reason = database.translate(Refused("22P05"))
    failure = replacement(completion(1), reason)
    assert isinstance(failure, Failure)
    last = replacement(failure, reason)
    assert isinstance(last, Failure)
    assert replacement(last, reason) is None
    assert replacement(Release(new_id(), 1), reason) is None


def test_there_is_one_call_for_each_kind_of_report() -> None:
    one, two = completion(1), completion(3)
    given_back = Release(new_id(), 2)

    calls = calls_of(new_id(), [one, given_back, two])

    assert [list(reports) for reports, _ in calls] == [[one, two], [given_back]]


# --- What is sent behind an exchange that is under way


@pytest.fixture
async def busy(worker: Worker, server: Server) -> AsyncIterator[Engine]:
    """An engine whose first exchange, with report 0, is not answered before the gate opens."""

    worker.slots = (0, 0)
    engine = engine_of(worker, concurrency=100)
    server.gate.clear()
    running = asyncio.create_task(engine.run())
    engine.report(completion(0))
    async with asyncio.timeout(20):
        while engine._flight is None:  # noqa: ASYNC110
            await asyncio.sleep(0)
        yield engine
        engine.stop()
        server.gate.set()
        with suppress(ZeroDivisionError):
            await running


def numbers(first: int, end: int) -> list[str]:
    return [str(number) for number in range(first, end)]


async def settled(worker: Worker, count: int) -> None:
    while len(worker.settled_words) < count:  # noqa: ASYNC110
        await asyncio.sleep(0)


async def test_as_much_as_goes_at_once_goes_behind_what_is_under_way(
    busy: Engine, server: Server, worker: Worker
) -> None:
    for token in range(1, 120):
        busy.report(completion(token))
    assert busy._behind is not None

    server.gate.set()
    await settled(worker, 120)

    assert server.exchanges == [["0"], numbers(1, 51), numbers(51, 101), numbers(101, 120)]
    assert set(worker.settled_words.values()) == {Word.ACCEPTED}


async def test_less_than_that_waits_for_the_answer(busy: Engine) -> None:
    for token in range(1, 50):
        busy.report(completion(token))

    assert busy._behind is None


async def test_what_cannot_be_sent_behind_is_sent_later(
    busy: Engine, server: Server, worker: Worker
) -> None:
    server.can_follow = False
    for token in range(1, 101):
        busy.report(completion(token))
    assert busy._behind is None

    server.gate.set()
    await settled(worker, 101)

    assert server.exchanges == [["0"], numbers(1, 51), numbers(51, 101)]


async def test_maintenance_is_not_kept_waiting(
    busy: Engine, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    duties: list[object] = []
    run = server.run

    async def noted(connection: Connection, call: database.Call[Any]) -> Any:
        duties.append(call.params[0])
        return await run(connection, call)

    monkeypatch.setattr(database, "run", noted)
    busy.notified(is_work=False)
    for token in range(1, 60):
        busy.report(completion(token))
    assert busy._behind is None

    server.gate.set()
    while "due" not in duties:  # noqa: ASYNC110
        await asyncio.sleep(0)


async def test_both_are_sent_again_in_their_order_after_the_connection_was_lost(
    busy: Engine, server: Server, worker: Worker
) -> None:
    losses = iter(["lost", "lost"])
    server.refuse = lambda results: next(losses, None)
    for token in range(1, 51):
        busy.report(completion(token))

    server.gate.set()
    await settled(worker, 51)

    assert [text for texts in server.exchanges for text in texts] == numbers(0, 51)


@pytest.mark.parametrize("bad", ["0", "7"], ids=["first", "second"])
async def test_bad_data_in_one_is_no_trouble_for_the_other(
    busy: Engine, server: Server, worker: Worker, bad: str
) -> None:
    server.refuse = lambda results: "22P02" if bad in results else None
    for token in range(1, 51):
        busy.report(completion(token))

    server.gate.set()
    await settled(worker, 51)

    good = [text for text in server.completed if text.isdigit()]
    assert sorted(good, key=int) == [text for text in numbers(0, 51) if text != bad]


async def test_a_worker_that_was_declared_dead_has_lost_both(
    busy: Engine, server: Server, worker: Worker
) -> None:
    deaths = iter(["KR002", "KR002"])
    server.refuse = lambda results: next(deaths, None)
    before = busy.worker_id
    for token in range(1, 51):
        busy.report(completion(token))

    server.gate.set()
    await settled(worker, 51)

    assert set(worker.settled_words.values()) == {Word.LOST}
    assert busy.worker_id != before


async def test_what_follows_asks_for_none_of_the_slots_that_are_asked_for_already(
    worker: Worker, server: Server, claimed: Callable[[int], models.Claimed]
) -> None:
    worker.slots = (100, 0)
    engine = engine_of(worker, concurrency=100)
    server.gate.clear()
    running = asyncio.create_task(engine.run())
    async with asyncio.timeout(20):
        while engine._flight is None:  # noqa: ASYNC110
            await asyncio.sleep(0)
        assert engine._flight.claim.tasks == 50
        engine.nudge()
        for token in range(1, 51):
            engine.report(completion(token))
        assert engine._behind is not None
        assert engine._behind.claim.tasks == 50
        server.claim = lambda: [claimed(token) for token in range(1000, 1050)]

        engine.stop()
        server.gate.set()
        await running

    assert len(worker.started) == 100


async def test_an_error_of_the_worker_ends_it(
    busy: Engine, server: Server, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def settled(report: Report, word: Word) -> None:
        raise ZeroDivisionError

    for token in range(1, 60):
        busy.report(completion(token))
    monkeypatch.setattr(worker, "settled", settled)

    server.gate.set()
    with pytest.raises(ZeroDivisionError):
        await busy.run()
