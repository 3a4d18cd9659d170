"""How long a task waits when nothing else is going on: from the call that enqueues it to the
start of its function, and to the moment when the caller knows the result. One task every 50 to
100 ms, at random, for one idle worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.runs import Run
from benchmarks.workloads.base import Bars, Case, Metric, Workload

_WARM_UP = 10
_ENDING_SECONDS = 30


def measure(run: Run, case: Case) -> Mapping[str, float]:
    """Ask an idle worker for one task at a time."""
    count = case["count"] + _WARM_UP
    with run.workers(concurrency=10):
        times = run.call(
            "benchmarks.clients:ask",
            {
                "first": 0,
                "count": count,
                "pauses": case["pauses"],
                "is_awaited": case["is_awaited"],
            },
        )
        end = run.until_ended(_ENDING_SECONDS)
    run.check_tasks(range(count), end)
    started = run.stamps()
    if case["is_awaited"]:
        waited = [known - begin for begin, known in times]
    else:
        waited = [started[number][0] - begin for number, (begin, _) in enumerate(times)]
    return percentiles(waited[_WARM_UP:])


def percentiles(nanoseconds: Sequence[int]) -> dict[str, float]:
    """p50, p95 and p99 in milliseconds."""
    ordered = sorted(nanoseconds)
    return {
        f"p{percent}": ordered[min(len(ordered) * percent // 100, len(ordered) - 1)] / 1e6
        for percent in (50, 95, 99)
    }


def _cases(count: int, pauses: tuple[float, float]) -> dict[str, Case]:
    more: Case = {"count": count, "pauses": pauses}
    return {
        "until it starts": {"is_awaited": False, **more},
        "until its result is known": {"is_awaited": True, "needs": ["results"], **more},
    }


WORKLOAD = Workload(
    name="pickup",
    title="Latency of a task when idle",
    needs=frozenset({"tasks"}),
    cases={
        "smoke": _cases(10, (0.005, 0.01)),
        "quick": _cases(60, (0.05, 0.1)),
        "full": _cases(400, (0.05, 0.1)),
    },
    measure=measure,
    metrics={
        name: Metric("ms", more_is_better=False, title=name) for name in ("p50", "p95", "p99")
    },
    headline=[("until it starts", "p50"), ("until it starts", "p99")],
    plots=[Bars("p50", ["until it starts", "until its result is known"])],
)
