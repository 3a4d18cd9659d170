"""An application does something and then sits in its transaction: everybody else goes on.

Every session but the application's has a lock timeout, so that a wait fails the test.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from tests.concurrency.drain import drain
from tests.concurrency.invariants import check_always, check_at_the_end
from tests.concurrency.support import (
    Observer,
    Session,
    Worker,
    cancel,
    child_id,
    enqueue,
    enqueue_and_signal,
    enqueue_workflow,
    pass_time,
    stop_the_clock,
    task,
    timer,
)


@dataclass
class World:
    """Executions in every state."""

    ids: dict[str, uuid.UUID] = field(default_factory=dict)
    leases: dict[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> uuid.UUID:
        return self.ids[name]


@pytest.fixture
def world(observer: Observer, other_app: Session, worker: Worker) -> World:
    """Tasks and workflows in every state; what is running is leased to the worker."""
    stop_the_clock(observer)
    world = World()
    children = [task(1), task(2, delay=3600), task(3, priority=5), timer(4, 3600)]
    world.ids["parent"] = enqueue_workflow(other_app, key="parent")
    worker.advance(worker.claim()[0], *children)
    for name, command in zip(["pending child", "delayed child", "child"], children, strict=False):
        world.ids[name] = child_id(command)
    world.leases["child"] = worker.claim(1)[0]
    world.ids["begun"] = enqueue_workflow(other_app)
    worker.advance(worker.claim(0)[0])
    world.ids["failed"] = enqueue(other_app, priority=5, retries=0)
    worker.fail(worker.claim(1)[0])
    world.ids["leased"] = enqueue_workflow(other_app)
    world.leases["leased"] = worker.claim(0)[0]
    world.ids["task"] = enqueue(other_app, priority=5)
    world.leases["task"] = worker.claim(1)[0]
    world.ids["pending task"] = enqueue(other_app)
    world.ids["delayed task"] = enqueue(other_app, delay=3600)
    world.ids["fresh"] = enqueue_workflow(other_app)
    world.ids["delayed fresh"] = enqueue_workflow(other_app, delay=3600)
    other_app.call("watch", world["parent"], "1 second")
    assert world.leases["child"].execution_id == world["child"]
    assert world.leases["task"].execution_id == world["task"]
    check_always(observer)
    return world


def _cancels(name: str) -> Callable[[Session, World], object]:
    return lambda app, world: app.call("cancel", world[name])


def _forces(name: str) -> Callable[[Session, World], object]:
    return lambda app, world: app.call("cancel", world[name], "now", Jsonb({"force": True}))


def _signals(name: str) -> Callable[[Session, World], object]:
    return lambda app, world: app.call("signal", world[name], "s")


WHAT_IT_DID: dict[str, Callable[[Session, World], object]] = {
    "enqueued": lambda app, _: enqueue(app),
    "enqueued with a key": lambda app, _: enqueue(app, key="its own"),
    "enqueued a workflow": lambda app, _: enqueue_workflow(app),
    "retried": lambda app, world: app.call("retry", world["failed"]),
    "watched": lambda app, world: app.call("watch", world["parent"]),
    "read a status": lambda app, world: app.call("status", world["parent"]),
    "called tick": lambda app, _: app.call("tick"),
    "signalled by key": lambda app, _: app.call("signal_by_key", "f", "parent", "s"),
    "enqueued and signalled": lambda app, _: enqueue_and_signal(app, "its own"),
    "signalled or enqueued": lambda app, _: enqueue_and_signal(app, "parent"),
    **{
        f"cancelled {name}": _cancels(name)
        for name in (
            *("pending task", "delayed task", "task", "failed", "fresh", "delayed fresh"),
            *("leased", "begun", "parent", "child", "pending child", "delayed child"),
        )
    },
    **{
        f"cancelled {name} by force": _forces(name)
        for name in ("pending task", "delayed task", "failed", "fresh", "delayed fresh")
    },
    **{
        f"signalled {name}": _signals(name)
        for name in ("fresh", "delayed fresh", "leased", "begun", "parent")
    },
}


@pytest.mark.parametrize("ending", ["commit", "rollback"])
@pytest.mark.parametrize("deed", WHAT_IT_DID)
def test_nobody_waits_for_an_application_that_sits_in_its_transaction(
    deed: str,
    ending: str,
    world: World,
    app: Session,
    other_app: Session,
    worker: Worker,
    other_worker: Worker,
    observer: Observer,
) -> None:
    app.begin()
    WHAT_IT_DID[deed](app, world)

    _everything_goes_on(world, other_app, worker, other_worker)
    check_always(observer)

    app.execute(ending)
    check_always(observer)
    drain(observer, worker)
    check_at_the_end(observer)


def _everything_goes_on(
    world: World, other_app: Session, worker: Worker, other_worker: Worker
) -> None:
    new = [enqueue(other_app), enqueue_workflow(other_app), enqueue(other_app, key="another")]
    pass_time(other_app, 2)
    other_app.call("watch", world["parent"])
    other_app.call("watch", world["begun"])
    other_app.call("signal", world["parent"], "s")
    other_app.call("signal", world["begun"], "s")
    for duty in ("due", "recover"):
        other_app.call("tick", duty)

    assert worker.heartbeat(*world.leases.values()) is not None
    assert worker.complete(world.leases["child"], 1) == "accepted"
    assert worker.fail(world.leases["task"]) == "accepted"
    assert worker.advance(world.leases["leased"], task(1), timer(2, 3600)) == "accepted"
    claimed = {lease.execution_id: lease for lease in worker.claim(100, 100)}
    assert {world["parent"], world["begun"], *new} <= claimed.keys()

    # A workflow cancels what it has open, and another ends while it has something open.
    assert worker.advance(claimed.pop(world["parent"]), *map(cancel, (1, 2, 4))) == "accepted"
    assert worker.advance(claimed.pop(world["begun"]), task(1), timer(2, 1)) == "accepted"
    for lease in claimed.values():
        if lease.kind == "task":
            assert worker.release(lease) == "accepted"
        else:
            assert worker.end(lease) in ("accepted", "refused")
    for name in ("pending task", "delayed task", "task", "fresh", "delayed fresh", "leased"):
        other_app.call("cancel", world[name], "twice")
        other_app.call("status", world[name])
    other_app.call("signal", world["parent"], "s")
    ending = next(
        lease for lease in other_worker.claim(0, 100) if lease.execution_id == world["parent"]
    )
    assert other_worker.end(ending) == "accepted"
    other_app.call("signal", world["begun"], "s")
    other_app.call("cancel", world["begun"])
    other_app.rows("register_functions", Jsonb([{"name": "f", "kind": "task"}]))
    other_app.call("deregister_worker", other_worker.id)
    pass_time(other_app, 2)
    other_app.call("tick")
