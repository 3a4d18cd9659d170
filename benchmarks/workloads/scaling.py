"""How the rate changes with the number of worker processes on one machine. All are started and have
worked, then they are held (SIGSTOP) while a backlog is enqueued, and go on at the same moment: from
the first call of a function to the moment when SQL shows that every task has durably ended."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.processes import held
from benchmarks.runs import Failed, Run
from benchmarks.workloads.base import RATE, Case, Lines, Workload

_WARM_UP_SECONDS = 60
_PER_PROCESS = 20


def measure(run: Run, case: Case) -> Mapping[str, float]:
    """The rate of a backlog."""
    processes, count = case["processes"], case["count"]
    warm = processes * _PER_PROCESS
    with run.workers(processes, concurrency=case["concurrency"]) as workers:
        run.enqueue_many(warm)
        if run.until_ended(_WARM_UP_SECONDS).remaining:
            raise Failed("the workers do not begin")
        with held(workers):
            run.enqueue_many(count, first=warm)
            run.system.settle()
        end = run.until_ended(case["limit_seconds"])
    ended = run.check_tasks(range(warm + count), end) - warm
    begun = min(times[0] for number, times in run.stamps().items() if number >= warm)
    return {"rate": ended / (end.at - begun) * 1e9, "ended": ended}


def _cases(processes: tuple[int, ...], count: int, limit_seconds: float) -> dict[str, Case]:
    more: Case = {"concurrency": 100, "count": count, "limit_seconds": limit_seconds}
    return {
        f"{number} process{'es' if number > 1 else ''}": {"processes": number, **more}
        for number in processes
    }


WORKLOAD = Workload(
    name="scaling",
    title="Worker processes",
    needs=frozenset({"tasks"}),
    cases={
        "smoke": _cases((1, 2), 100, 30),
        "quick": _cases((1, 2, 4), 10_000, 5),
        "full": _cases((1, 2, 4, 8, 16), 100_000, 20),
    },
    measure=measure,
    metrics={"rate": RATE},
    headline=[("4 processes", "rate"), ("16 processes", "rate")],
    plots=[Lines("rate", "processes", "worker processes")],
)
