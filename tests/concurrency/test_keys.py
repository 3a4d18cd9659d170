"""Those who use the same key or id wait for each other, and nobody else does."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from psycopg.types.json import Jsonb

from tests.concurrency.drain import drain
from tests.concurrency.invariants import check_at_the_end
from tests.concurrency.support import (
    Observer,
    Session,
    Worker,
    enqueue,
    enqueue_workflow,
    pass_time,
    stop_the_clock,
)


def test_the_same_key_gives_the_same_execution_once_the_first_commits(
    app: Session, open_session: Callable[[], Session], observer: Observer
) -> None:
    second = open_session()
    app.begin()
    execution = enqueue(app, key="k")

    waiting = second.start(enqueue, second)
    assert waiting.result() != execution
    waiting = second.start(lambda: enqueue(second, key="k"))
    observer.wait_until_blocked(second, waiting)
    app.commit()

    assert waiting.result() == execution
    assert observer.count("ready") == 2


def test_a_key_is_free_again_when_its_first_user_rolls_back(
    app: Session, open_session: Callable[[], Session], observer: Observer
) -> None:
    second = open_session()
    app.begin()
    execution = enqueue(app, key="k")

    waiting = second.start(lambda: enqueue(second, key="k"))
    observer.wait_until_blocked(second, waiting)
    app.rollback()

    assert waiting.result() != execution
    assert observer.count("ready", waiting.result()) == 1


def test_batches_with_the_same_keys_in_another_order_do_not_deadlock(
    app: Session, open_session: Callable[[], Session], observer: Observer
) -> None:
    second = open_session()

    def enqueue_both(session: Session, keys: list[str]) -> list[uuid.UUID]:
        options = Jsonb({"queue": "tasks", "keys": keys})
        rows = session.rows("enqueue_many", "f", [Jsonb({}), Jsonb({})], options)
        return [row[0] for row in rows]

    app.begin()
    first = enqueue_both(app, ["a", "b"])
    waiting = second.start(enqueue_both, second, ["b", "a"])
    observer.wait_until_blocked(second, waiting)
    app.commit()

    assert waiting.result() == first[::-1]


def test_the_same_id_gives_one_execution(
    app: Session, open_session: Callable[[], Session], observer: Observer
) -> None:
    second = open_session()
    execution = str(uuid.uuid4())
    app.begin()
    enqueue(app, id=execution)

    waiting = second.start(lambda: enqueue(second, id=execution))
    observer.wait_until_blocked(second, waiting)
    app.commit()

    assert str(waiting.result()) == execution
    assert observer.count("ready") == 1


def test_a_key_that_is_free_when_its_execution_ended_goes_to_one_of_two(
    app: Session, worker: Worker, open_session: Callable[[], Session], observer: Observer
) -> None:
    second = open_session()
    enqueue(app, key="k", key_scope="open")
    worker.complete(worker.claim()[0])

    app.begin()
    execution = enqueue(app, key="k", key_scope="open")
    waiting = second.start(lambda: enqueue(second, key="k", key_scope="open"))
    observer.wait_until_blocked(second, waiting)
    app.commit()

    assert waiting.result() == execution
    assert observer.count("ready") == 1


def test_two_retries_of_one_execution_give_one(
    app: Session, worker: Worker, open_session: Callable[[], Session], observer: Observer
) -> None:
    second = open_session()
    failed = enqueue(app, retries=0, key="k")
    worker.fail(worker.claim()[0])
    app.begin()
    execution = app.call("retry", failed)

    waiting = second.start(second.call, "retry", failed)
    observer.wait_until_blocked(second, waiting)
    app.commit()

    assert waiting.result() == execution == enqueue(app, key="k")
    assert observer.count("ready") == 1


def test_a_signal_sent_twice_with_one_id_is_delivered_once(
    app: Session, open_session: Callable[[], Session], observer: Observer
) -> None:
    second = open_session()
    workflow = enqueue_workflow(app)
    call = ("signal", workflow, "s", None, Jsonb({"id": str(uuid.uuid4())}))
    app.begin()
    arrival = app.call(*call)

    waiting = second.start(second.call, *call)
    observer.wait_until_blocked(second, waiting)
    app.commit()

    assert waiting.result() == arrival
    assert observer.count("inbox", workflow) == 1


def test_a_workflow_that_queues_under_a_key_in_use_is_asked_to_come_again(
    app: Session, worker: Worker, observer: Observer
) -> None:
    enqueue_workflow(app)
    [lease] = worker.claim()
    payload = {"id": str(uuid.uuid4()), "args": {}, "options": {"queue": "tasks", "key": "k"}}
    command = {"kind": "queue", "number": 1, "name": "f", "payload": payload}
    app.begin()
    enqueue(app, key="k")

    assert worker.advance(lease, command) == "busy"
    app.commit()

    assert worker.advance(lease, command) == "accepted"
    assert observer.value("select count(*) from currant.executions where kind = 'task'") == 1


def test_a_workflow_that_queues_under_the_key_of_an_open_retry_is_asked_to_come_again(
    app: Session, worker: Worker
) -> None:
    failed = enqueue(app, retries=0, key="k")
    worker.fail(worker.claim()[0])
    enqueue_workflow(app)
    [lease] = worker.claim()
    payload = {"id": str(uuid.uuid4()), "args": {}, "options": {"queue": "tasks", "key": "k"}}
    command = {"kind": "queue", "number": 1, "name": "f", "payload": payload}
    app.begin()
    app.call("retry", failed)

    assert worker.advance(lease, command) == "busy"
    app.commit()

    assert worker.advance(lease, command) == "accepted"


def queue_with_key() -> dict[str, Any]:
    """The command that queues a task under the key k."""
    payload = {"id": str(uuid.uuid4()), "args": {}, "options": {"queue": "tasks", "key": "k"}}
    return {"kind": "queue", "number": 1, "name": "f", "payload": payload}


def test_a_workflow_that_asks_for_a_key_in_use_is_not_taken_for_lost(
    app: Session, worker: Worker, observer: Observer
) -> None:
    stop_the_clock(observer)
    workflow = enqueue_workflow(app)
    app.begin()
    enqueue(app, key="k")

    words = []
    for _ in range(60):
        for lease in worker.claim() or worker.session.rows("resume", worker.id):
            words.append(worker.advance(lease, queue_with_key()))
        pass_time(observer, 5)
        worker.heartbeat()
        observer.call("tick")
    assert set(words) == {"busy", "refused"}
    assert words.count("refused") >= 5
    assert observer.count("attempts") == 0
    app.commit()
    pass_time(observer, 5)
    observer.call("tick")

    [lease] = [one for one in worker.claim() if one.kind == "workflow"] or worker.session.rows(
        "resume", worker.id
    )
    assert lease.execution_id == workflow
    assert worker.advance(lease, queue_with_key()) == "accepted"
    drain(observer, worker)
    check_at_the_end(observer)


def test_a_repeated_advance_is_known_whoever_has_the_key_now(
    app: Session, worker: Worker, other_worker: Worker
) -> None:
    enqueue_workflow(app)
    [lease] = worker.claim()
    command = queue_with_key()
    assert worker.advance(lease, command) == "accepted"
    app.begin()
    enqueue(app, key="k")

    assert worker.advance(lease, command) == "already"
    assert other_worker.advance(lease, command) == "already"
