"""How fast a backlog of tasks that do nothing is worked off: from the first call of a function
to the moment when SQL shows that every one has durably ended."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.runs import Run
from benchmarks.workloads.base import RATE, Bars, Case, Workload


def measure(run: Run, case: Case) -> Mapping[str, float]:
    """Enqueue first, then start the workers."""
    run.enqueue_many(case["count"])
    run.system.settle()
    with run.workers(case["processes"], concurrency=case["concurrency"]):
        end = run.until_ended(case["limit_seconds"])
    ended = run.check_tasks(range(case["count"]), end)
    seconds = (end.at - run.first_stamp()) / 1e9
    return {"rate": ended / seconds, "ended": ended, "seconds": seconds}


def _cases(counts: Mapping[int, int], limit_seconds: float) -> dict[str, Case]:
    more = {"limit_seconds": limit_seconds}
    cases: dict[str, Case] = {
        f"concurrency {concurrency}": {
            "count": count,
            "concurrency": concurrency,
            "processes": 1,
            **more,
        }
        for concurrency, count in counts.items()
    }
    return {
        **cases,
        "2 processes": {"count": counts[100], "concurrency": 100, "processes": 2, **more},
    }


WORKLOAD = Workload(
    name="drain",
    title="Draining a backlog of no-op tasks",
    needs=frozenset({"tasks"}),
    cases={
        "smoke": _cases({100: 200}, 30),
        "quick": _cases({100: 10_000, 10: 3_000, 1: 500}, 4),
        "full": _cases({100: 50_000, 10: 20_000, 1: 5_000}, 20),
    },
    measure=measure,
    metrics={"rate": RATE},
    headline=[("concurrency 100", "rate")],
    plots=[Bars("rate", ["concurrency 100", "2 processes"])],
)
