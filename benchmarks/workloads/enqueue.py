"""How fast tasks can be enqueued: in bulk by one call, and singly with a commit each by several
connections of one process. Nobody is listening, or a worker that was idle works them off, or
a worker is there that has its hands full."""

from __future__ import annotations

import time
from collections.abc import Mapping

from benchmarks.runs import Run, WrongResult
from benchmarks.workloads.base import RATE, Bars, Case, Workload

_ENDING_SECONDS = 60
# Until the client has started.
_START_SECONDS = 2.0


def measure(run: Run, case: Case) -> Mapping[str, float]:
    """Enqueue, and see that all is there."""
    if "count" in case:
        seconds = run.enqueue_many(case["count"])
        _check_all_there(run, case["count"])
        return {"rate": case["count"] / seconds}
    if case["workers"] == 0:
        done = _enqueue_single(run, case)
        _check_all_there(run, done["count"])
        return done
    if case["is_busy"]:
        return _beside_busy(run, case)
    with run.workers(case["workers"], concurrency=100):
        done = _enqueue_single(run, case)
        # A peer that cannot keep up is not what this is about.
        end = run.until_ended(_ENDING_SECONDS)
    run.check_tasks(range(int(done["count"])), end)
    return done


def _enqueue_single(run: Run, case: Case) -> dict[str, float]:
    connections = case["connections"]
    found: dict[str, float] = run.call(
        "benchmarks.clients:enqueue_single",
        {"first": 0, "seconds": case["seconds"], "connections": connections},
        connections=connections,
    )
    return found


def _beside_busy(run: Run, case: Case) -> Mapping[str, float]:
    """The worker has one task, its only slot's, that does not let it do anything else."""
    picked_up_seconds = case["picked_up_seconds"]  # by the slowest poll of all
    busy_seconds = picked_up_seconds + _START_SECONDS + case["seconds"] * 1.2
    with run.workers(concurrency=1):
        run.enqueue_many(1, first=-int(busy_seconds * 1000))
        time.sleep(picked_up_seconds)
        done = _enqueue_single(run, case)
        if run.system.remaining() < done["count"]:
            raise WrongResult("the worker was not busy")
    return done


def _check_all_there(run: Run, count: float) -> None:
    if run.system.remaining() != count:
        raise WrongResult(f"{count:.0f} enqueued, but {run.system.remaining()} are there")


def _singly(connections: int, workers: int, seconds: float) -> Case:
    return {"connections": connections, "workers": workers, "is_busy": False, "seconds": seconds}


def _cases(count: int, seconds: float) -> dict[str, Case]:
    busy = {"is_busy": True, "picked_up_seconds": 2.0}
    return {
        "bulk": {"count": count},
        "1 connection": _singly(1, 0, seconds),
        "8 connections": _singly(8, 0, seconds),
        "32 connections": _singly(32, 0, seconds),
        "1 connection, idle worker": _singly(1, 1, seconds),
        "8 connections, idle worker": _singly(8, 1, seconds),
        "32 connections, idle worker": _singly(32, 1, seconds),
        "32 connections, busy worker": {**_singly(32, 1, seconds), **busy},
    }


_SMOKE: dict[str, Case] = {
    "bulk": {"count": 200},
    "8 connections": _singly(8, 0, 0.1),
    "8 connections, idle worker": _singly(8, 1, 0.1),
    "8 connections, busy worker": {
        **_singly(8, 1, 0.1),
        "is_busy": True,
        "picked_up_seconds": 0.1,
    },
}

WORKLOAD = Workload(
    name="enqueue",
    title="Enqueueing tasks",
    needs=frozenset({"tasks"}),
    cases={
        "smoke": _SMOKE,
        "quick": _cases(10_000, 1.5),
        "full": _cases(50_000, 5),
    },
    measure=measure,
    metrics={"rate": RATE},
    headline=[("bulk", "rate"), ("8 connections", "rate")],
    plots=[Bars("rate", ["bulk", "1 connection", "32 connections"])],
)
