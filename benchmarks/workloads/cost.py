"""What a task and a step take of the machine, and what an idle worker does. A worker that has
worked before is held (SIGSTOP) while a backlog is enqueued, then works it off. Per task: WAL and
the server's CPU time of enqueueing (in bulk) and working together, the CPU time of the client that
enqueues and of the worker, and the commits of working alone. Per step the same of workflows of five
steps, all that a workflow takes included. Idle: statements of one worker that nobody gives anything
to do, its CPU time and the server's, and its memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from benchmarks.processes import cpu_seconds, held, memory_bytes
from benchmarks.runs import Failed, Run, Side
from benchmarks.server import Usage
from benchmarks.workloads.base import Bars, Case, Metric, Workload

_CONCURRENCY = 100
_WARM_UP = 100
_WARM_UP_SECONDS = 60
# Every look is a commit too.
_POLL_SECONDS = 0.2


def measure(run: Run, case: Case) -> Mapping[str, float]:
    """Of one of the three kinds."""
    match case["kind"]:
        case "tasks":
            return _tasks(run, case)
        case "steps":
            return _steps(run, case)
        case _:
            return _idle(run, case)


def _tasks(run: Run, case: Case) -> Mapping[str, float]:
    count = case["count"]

    def enqueue(count: int, first: int) -> Side:
        arguments = {"first": first, "count": count}
        return run.start_call("benchmarks.clients:enqueue_many", arguments)

    figures, remaining = _worked(run, case, enqueue, count)
    if remaining:
        raise Failed(f"{remaining} not ended within {case['limit_seconds']:.0f} s")
    run.check_tasks(range(_WARM_UP + count))
    return {name: value / count for name, value in figures.items()}


def _steps(run: Run, case: Case) -> Mapping[str, float]:
    workflows, steps = case["workflows"], case["steps"]

    def enqueue(count: int, first: int) -> Side:
        arguments = {"first": first, "count": count, "steps": steps}
        return run.start_call("benchmarks.clients:enqueue_workflows", arguments)

    figures, remaining = _worked(run, case, enqueue, workflows)
    if remaining:
        raise Failed(f"{remaining} not ended within {case['limit_seconds']:.0f} s")
    run.check_steps(_WARM_UP + workflows, steps)
    return {name: value / (workflows * steps) for name, value in figures.items()}


def _worked(
    run: Run, case: Case, enqueue: Callable[[int, int], Side], count: int
) -> tuple[dict[str, float], int]:
    """What enqueueing and working took in all, and how many are left."""
    with run.workers(concurrency=_CONCURRENCY) as workers:
        enqueue(_WARM_UP, 0).result()
        if run.until_ended(_WARM_UP_SECONDS).remaining:
            raise Failed("the worker does not begin")
        with held(workers):
            start = _usage(run)
            client = enqueue(count, _WARM_UP)
            client.until_ready()
            client_start = cpu_seconds([client])
            client.result()
            enqueued = _usage(run)
            run.system.settle()
            worker_start, begin = cpu_seconds(workers), _usage(run)
        end = run.until_ended(case["limit_seconds"], poll_seconds=_POLL_SECONDS)
        worker_seconds = cpu_seconds(workers) - worker_start
    # Sessions that have ended have reported all they did.
    finish = _usage(run)
    figures = {
        "worker_us": worker_seconds * 1e6,
        "client_us": (client.cpu_seconds - client_start) * 1e6,
    }
    if start and enqueued and begin and finish:
        enqueueing, working = enqueued - start, finish - begin
        figures |= {
            "commits": working.commits,
            "wal_bytes": enqueueing.wal_bytes + working.wal_bytes,
            "server_us": (enqueueing.cpu_seconds + working.cpu_seconds) * 1e6,
        }
    return figures, end.remaining


def _idle(run: Run, case: Case) -> Mapping[str, float]:
    if _is_on_postgres(run):
        run.server.count_statements(run.url)
    with run.workers(concurrency=_CONCURRENCY) as workers:
        run.enqueue_many(_WARM_UP)
        if run.until_ended(_WARM_UP_SECONDS).remaining:
            raise Failed("the worker does not begin")
        run.system.close()  # its session is one that other sessions see
        time.sleep(case["pause_seconds"])
        before, again = _usage(run), _usage(run)
        worker_begin, begin = cpu_seconds(workers), time.monotonic()
        time.sleep(case["seconds"])
        seconds = time.monotonic() - begin
        worker_seconds = cpu_seconds(workers) - worker_begin
        after = _usage(run)
        memory = memory_bytes(workers)
    run.check_tasks(range(_WARM_UP))
    figures = {"idle_worker": worker_seconds / seconds * 1e3, "memory": memory / 1e6}
    if before and again and after:
        used, looking = after - again, again - before
        figures["idle_server"] = used.cpu_seconds / seconds * 1e3
        if used.statements is not None and looking.statements is not None:
            figures["statements"] = (used.statements - looking.statements) / seconds * 60
    return figures


def _usage(run: Run) -> Usage | None:
    return run.server.usage(run.url) if _is_on_postgres(run) else None


def _is_on_postgres(run: Run) -> bool:
    return run.system.service == "postgres"


def _cases(
    count: int, workflows: int, limit_seconds: float, *, pause_seconds: float, seconds: float
) -> dict[str, Case]:
    limit: Case = {"limit_seconds": limit_seconds}
    return {
        "per task": {"kind": "tasks", "count": count, **limit},
        "per step": {
            "kind": "steps",
            "workflows": workflows,
            "steps": 5,
            "needs": ["workflows"],
            **limit,
        },
        "idle worker": {"kind": "idle", "pause_seconds": pause_seconds, "seconds": seconds},
    }


def _less(unit: str, title: str) -> Metric:
    return Metric(unit, more_is_better=False, title=title)


WORKLOAD = Workload(
    name="cost",
    title="Cost of a task, of a step, and of a worker that is idle",
    needs=frozenset({"tasks"}),
    cases={
        "smoke": _cases(100, 20, 30, pause_seconds=0.1, seconds=1),
        "quick": _cases(5_000, 200, 30, pause_seconds=2, seconds=15),
        "full": _cases(50_000, 2_000, 180, pause_seconds=10, seconds=60),
    },
    measure=measure,
    metrics={
        "commits": _less("", "commits"),
        "wal_bytes": _less("bytes", "WAL"),
        "server_us": _less("µs", "server's CPU"),
        "worker_us": _less("µs", "worker's CPU"),
        "client_us": _less("µs", "client's CPU"),
        "statements": _less("/min", "statements"),
        "idle_server": _less("ms/s", "server's CPU"),
        "idle_worker": _less("ms/s", "worker's CPU"),
        "memory": _less("MB", "memory"),
    },
    headline=[("per task", "wal_bytes"), ("idle worker", "statements")],
    plots=[Bars("wal_bytes", ["per task", "per step"]), Bars("statements", ["idle worker"])],
)
