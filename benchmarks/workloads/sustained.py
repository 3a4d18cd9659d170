"""Latency under load: from the moment at which a task was due to arrive to the start of its
function. Arrivals are random (Poisson) and wait for nobody: what has become due while the client
was busy is enqueued by its next call, in bulk, and its waiting counts. First the peak is measured:
tasks are enqueued in bulk beside the worker, from the first call to the moment when SQL shows that
all have durably ended. Then come loads of half and of nine tenths of this peak, so each system's
own, and one that is the same for all."""

from __future__ import annotations

import asyncio
import random
import time
from array import array
from collections.abc import Mapping, Sequence

from benchmarks.runs import Failed, Run
from benchmarks.systems.base import System
from benchmarks.workloads.base import Bars, Case, Metric, Workload
from benchmarks.workloads.pickup import percentiles

_CONCURRENCY = 100
_PEAK_SECONDS = 120
_MAX_AT_ONCE = 5_000
_LEAD_SECONDS = 0.05


def measure(run: Run, case: Case) -> Mapping[str, float]:
    """The peak, then the loads, with the same worker."""
    figures: dict[str, float] = {}
    loads: dict[str, tuple[int, int, Sequence[float]]] = {}
    with run.workers(concurrency=_CONCURRENCY):
        first = case["first_count"]
        rate = _peak(run, 0, first)
        count = min(int(rate * case["peak_seconds"]), case["most"])
        figures["peak"] = peak = _peak(run, first, count)
        first += count
        for name, rate in {
            "half": peak * 0.5,
            "most": peak * 0.9,
            "same": case["same_rate"],
        }.items():
            due = arrivals(rate, case["seconds"])
            begin = run.call(
                "benchmarks.workloads.sustained:load",
                {"first": first, "rate": rate, "seconds": case["seconds"]},
            )
            end = run.until_ended(case["limit_seconds"])
            if end.remaining:
                raise Failed(f"{end.remaining} of a load of {rate:.0f}/s are left")
            figures[f"rate_{name}"] = rate
            loads[name] = (first, begin, due)
            first += len(due)
    run.check_tasks(range(first))
    for name, (number, begin, due) in loads.items():
        started = (run.stamps()[number + i][0] - begin - int(at * 1e9) for i, at in enumerate(due))
        found = percentiles(list(started))
        figures |= {f"{percentile}_{name}": value for percentile, value in found.items()}
    return figures


def _peak(run: Run, first: int, count: int) -> float:
    begin: int = run.call("benchmarks.workloads.sustained:burst", {"first": first, "count": count})
    end = run.until_ended(_PEAK_SECONDS)
    if end.remaining:
        raise Failed(f"{end.remaining} of {count} not ended within {_PEAK_SECONDS} s")
    return count / (end.at - begin) * 1e9


def arrivals(rate: float, seconds: float) -> Sequence[float]:
    """When tasks are due, in seconds from the beginning; always the same of the same rate."""
    gaps = random.Random(1)
    times = array("d")
    at = gaps.expovariate(rate)
    while at < seconds or not times:
        times.append(at)
        at += gaps.expovariate(rate)
    return times


async def burst(system: System, *, first: int, count: int) -> int:
    """In a client: enqueue as many; when the call began."""
    begin = time.monotonic_ns()
    for at in range(first, first + count, _MAX_AT_ONCE):
        await system.enqueue_many(range(at, min(at + _MAX_AT_ONCE, first + count)))
    return begin


async def load(system: System, *, first: int, rate: float, seconds: float) -> int:
    """In a client: enqueue what is due when it is due; when it began."""
    due = arrivals(rate, seconds)
    begin = time.monotonic_ns() + int(_LEAD_SECONDS * 1e9)
    done = 0
    while done < len(due):
        now = (time.monotonic_ns() - begin) / 1e9
        until = done
        while until < len(due) and until - done < _MAX_AT_ONCE and due[until] <= now:
            until += 1
        match until - done:
            case 0:
                await asyncio.sleep(due[done] - now)
            case 1:
                await system.enqueue(first + done)
            case _:
                await system.enqueue_many(range(first + done, first + until))
        done = until
    return begin


def _case(
    *,
    first_count: int,
    peak_seconds: float,
    seconds: float,
    same_rate: float,
    most: int,
    limit_seconds: float = 60,
) -> dict[str, Case]:
    return {
        "one worker": {
            "first_count": first_count,
            "peak_seconds": peak_seconds,
            "most": most,
            "seconds": seconds,
            "same_rate": same_rate,
            "limit_seconds": limit_seconds,
        }
    }


_LOADS = {"half": "at 50 %", "most": "at 90 %", "same": "at a rate for all"}

WORKLOAD = Workload(
    name="sustained",
    title="Latency of tasks under sustained load",
    needs=frozenset({"tasks"}),
    cases={
        "smoke": _case(first_count=50, peak_seconds=0.1, seconds=0.3, same_rate=50, most=500),
        "quick": _case(first_count=1_000, peak_seconds=2, seconds=5, same_rate=300, most=50_000),
        "full": _case(first_count=2_000, peak_seconds=5, seconds=60, same_rate=300, most=100_000),
    },
    measure=measure,
    metrics={
        "peak": Metric("/s", more_is_better=True, title="peak"),
        **{
            f"{percentile}_{name}": Metric(
                "ms", more_is_better=False, title=f"{percentile} {title}"
            )
            for name, title in _LOADS.items()
            for percentile in ("p50", "p95", "p99")
        },
    },
    headline=[("one worker", "p99_most"), ("one worker", "p99_same")],
    plots=[Bars(f"p99_{name}", ["one worker"]) for name in _LOADS],
)
