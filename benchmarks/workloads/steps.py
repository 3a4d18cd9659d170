"""What durable steps cost: many short workflows at a time, one that takes step after step, and
one that begins many steps at once and joins them."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.runs import Failed, Run
from benchmarks.systems.base import step_number
from benchmarks.workloads.base import Bars, Case, Metric, Workload


def measure(run: Run, case: Case) -> Mapping[str, float]:
    """Of one of the three kinds."""
    match case["kind"]:
        case "many":
            return _measure_many(run, case)
        case "sequence":
            return _measure_sequence(run, case)
        case _:
            return _measure_fan_out(run, case)


def _measure_many(run: Run, case: Case) -> Mapping[str, float]:
    """From the first step to the moment when SQL shows that every workflow has durably ended."""
    workflows, steps = case["workflows"], case["steps"]
    _enqueue(run, first=0, count=workflows, steps=steps)
    run.system.settle()
    with run.workers(concurrency=case["concurrency"]):
        end = run.until_ended(case["limit_seconds"])
    ended = run.check_steps(workflows, steps, end)
    seconds = (end.at - run.first_stamp()) / 1e9
    return {"rate": ended * steps / seconds, "ended": ended, "seconds": seconds}


def _measure_sequence(run: Run, case: Case) -> Mapping[str, float]:
    """From the first step's start to the last one's, per step."""
    steps = case["steps"]
    _enqueue(run, first=0, count=1, steps=steps)
    with run.workers(concurrency=case["concurrency"]):
        end = run.until_ended(case["limit_seconds"])
    if run.check_steps(1, steps, end) == 0:
        raise Failed(f"not ended within {case['limit_seconds']:.0f} s")
    begun = run.stamps()
    first, last = begun[step_number(0, 0)][0], begun[step_number(0, steps - 1)][0]
    return {"per_step": (last - first) / 1e6 / (steps - 1)}


def _measure_fan_out(run: Run, case: Case) -> Mapping[str, float]:
    """From the call that enqueues it to the moment when SQL shows that it has durably ended."""
    width = case["width"]
    with run.workers(concurrency=case["concurrency"]):
        _enqueue(run, first=0, count=1, steps=1)  # code is loaded, connections are open
        run.until_ended(case["limit_seconds"])
        begin = run.call("benchmarks.clients:enqueue_fan_out", {"number": 1, "width": width})
        end = run.until_ended(case["limit_seconds"], poll_seconds=0.005)
    if end.remaining:
        raise Failed(f"not ended within {case['limit_seconds']:.0f} s")
    run.check_tasks([step_number(0, 0), *(step_number(1, step) for step in range(width))])
    return {"join": (end.at - begin) / 1e6}


def _enqueue(run: Run, **arguments: int) -> None:
    run.call("benchmarks.clients:enqueue_workflows", arguments)


def _cases(workflows: int, sequence: int, width: int, limit_seconds: float) -> dict[str, Case]:
    more: Case = {"concurrency": 100, "limit_seconds": limit_seconds}
    return {
        "workflows of 5 steps": {"kind": "many", "workflows": workflows, "steps": 5, **more},
        "one of many steps": {"kind": "sequence", "steps": sequence, **more},
        "fan-out and join": {"kind": "fan_out", "width": width, "needs": ["fan_out"], **more},
    }


WORKLOAD = Workload(
    name="steps",
    title="Durable steps of workflows",
    needs=frozenset({"workflows"}),
    cases={
        "smoke": _cases(20, 20, 20, 30),
        "quick": _cases(300, 200, 200, 8),
        "full": _cases(2_000, 1_000, 1_000, 30),
    },
    measure=measure,
    metrics={
        "rate": Metric("steps/s", more_is_better=True),
        "per_step": Metric("ms", more_is_better=False, title="per step"),
        "join": Metric("ms", more_is_better=False),
    },
    headline=[("workflows of 5 steps", "rate"), ("one of many steps", "per_step")],
    plots=[
        Bars("rate", ["workflows of 5 steps"]),
        Bars("per_step", ["one of many steps"]),
    ],
)
