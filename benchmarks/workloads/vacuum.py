"""What happens while vacuum can remove nothing: tasks come at a steady rate, first freely, then
beside one transaction that has an xid and one that keeps a snapshot, as a forgotten session or a
long dump does, then freely again. Rate, latency from the call that enqueues a task to the start of
its function, the server's time per task in the statements that take tasks out of the queue, and the
server's CPU time for all of it: at the end of each phase, and over time."""

from __future__ import annotations

import asyncio
import bisect
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg

from benchmarks.runs import End, Run
from benchmarks.systems.base import System
from benchmarks.workloads.base import Case, Metric, Series, Workload
from benchmarks.workloads.growth import claims
from benchmarks.workloads.pickup import percentiles

_CONCURRENCY = 100
_TICK_SECONDS = 0.02
_PATIENCE_SECONDS = 30.0
_PHASES = ("free", "held", "after")


@dataclass(frozen=True)
class Sample:
    """Counters at one moment."""

    at: int
    claiming: float
    cpu_seconds: float


def measure(run: Run, case: Case) -> Mapping[str, Any]:
    """Three phases, one after the other, without a break."""
    is_counted = run.server.count_statements(run.url)
    lengths = [float(case[phase]) for phase in _PHASES]
    with run.workers(concurrency=_CONCURRENCY):
        producer = run.start_call(
            "benchmarks.workloads.vacuum:produce", {"rate": case["rate"], "seconds": sum(lengths)}
        )
        producer.until_ready()
        watch = Watch(run, seconds=case["sample"], is_counted=is_counted)
        watch.go_on(lengths[0])
        with _held_back(run.url):
            watch.go_on(lengths[1])
        watch.go_on(lengths[2])
        batches = producer.result()
        end = _wait(run)
    return Account(run, watch.samples, batches, lengths, end, is_counted=is_counted).figures()


async def produce(system: System, *, rate: int, seconds: float) -> list[tuple[int, int, int]]:
    """In a client: enqueue at a steady rate.

    Returns:
        For each call the first number, how many, and when it began.
    """
    batches = []
    begin = time.monotonic()
    done = 0
    while (elapsed := time.monotonic() - begin) < seconds:
        due = round(elapsed * rate)
        if due > done:
            batches.append((done, due - done, time.monotonic_ns()))
            await system.enqueue_many(range(done, due))
            done = due
        # Late ones are made up for by larger batches.
        await asyncio.sleep(_TICK_SECONDS)
    return batches


class Watch:
    """Takes samples as time goes by."""

    def __init__(self, run: Run, *, seconds: float, is_counted: bool) -> None:
        self._run = run
        self._seconds = seconds
        self._is_counted = is_counted
        self._begin = time.monotonic()
        self._until = self._begin
        self.samples: list[Sample] = []
        self._take()

    def go_on(self, seconds: float) -> None:
        """For so long; what was late before is not added."""
        self._until += seconds
        while (left := self._until - time.monotonic()) > 0:
            time.sleep(min(left, self._seconds))
            self._take()

    def _take(self) -> None:
        claiming = claims(self._run)[1] if self._is_counted else 0.0
        self.samples.append(Sample(time.monotonic_ns(), claiming, self._run.server.cpu_seconds()))


@contextmanager
def _held_back(url: str) -> Iterator[None]:
    with ExitStack() as stack:
        writer = stack.enter_context(psycopg.connect(url, application_name="benchmark writer"))
        writer.execute("select pg_current_xact_id()")
        reader = stack.enter_context(psycopg.connect(url, application_name="benchmark reader"))
        reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        reader.execute("select count(*) from pg_class")
        yield


def _wait(run: Run) -> End:
    return run.until_ended(_PATIENCE_SECONDS, poll_seconds=0.05)


class Account:
    """Makes figures of samples and stamps, once the worker has ended."""

    def __init__(
        self,
        run: Run,
        samples: Sequence[Sample],
        batches: Sequence[tuple[int, int, int]],
        lengths: Sequence[float],
        end: End,
        *,
        is_counted: bool,
    ) -> None:
        self._samples = samples
        self._lengths = lengths
        self._is_counted = is_counted
        count = batches[-1][0] + batches[-1][1]
        run.check_tasks(range(count), end)
        enqueued = {
            number: begin for first, size, begin in batches for number in range(first, first + size)
        }
        started = sorted((times[0], number) for number, times in run.stamps().items())
        self._started = [at for at, _ in started]
        self._latencies = [at - enqueued[number] for at, number in started]

    def figures(self) -> dict[str, Any]:
        """By phase, and over time."""
        begin = self._samples[0].at
        figures: dict[str, Any] = {}
        passed = 0.0
        for phase, length in zip(_PHASES, self._lengths, strict=True):
            passed += length
            last = begin + int(passed * 1e9)
            first = last - int(length / 3 * 1e9)
            found = self._between(self._near(first), self._near(last))
            figures |= {f"{name}_{phase}": value for name, value in found.items()}
        for name in ("rate", "p50", "claim", "cpu"):
            for phase in ("held", "after"):
                value, free = figures.get(f"{name}_{phase}"), figures.get(f"{name}_free")
                if value is not None and free:
                    figures[f"{name}_{phase}_ratio"] = value / free
        return figures | self._series()

    def _series(self) -> dict[str, list[tuple[float, float]]]:
        series: dict[str, list[tuple[float, float]]] = {}
        for one, other in zip(self._samples, self._samples[1:], strict=False):
            seconds = (other.at - self._samples[0].at) / 1e9
            for name, value in self._between(one, other).items():
                series.setdefault(f"{name}_over_time", []).append((seconds, value))
        return series

    def _near(self, at: int) -> Sample:
        return min(self._samples, key=lambda sample: abs(sample.at - at))

    def _between(self, one: Sample, other: Sample) -> dict[str, float]:
        first = bisect.bisect_left(self._started, one.at)
        last = bisect.bisect_left(self._started, other.at)
        seconds = (other.at - one.at) / 1e9
        if last == first or seconds <= 0:
            return {"rate": 0.0}
        latencies = percentiles(self._latencies[first:last])
        cpu = (other.cpu_seconds - one.cpu_seconds) * 1e6 / (last - first)
        figures = {"rate": (last - first) / seconds, "cpu": cpu}
        figures |= {"p50": latencies["p50"], "p99": latencies["p99"]}
        if self._is_counted:
            figures["claim"] = (other.claiming - one.claiming) * 1e3 / (last - first)
        return figures


def _case(rate: int, free: float, held: float, after: float, sample: float) -> dict[str, Case]:
    return {
        f"{rate:,} tasks a second": {
            "rate": rate,
            "free": free,
            "held": held,
            "after": after,
            "sample": sample,
        }
    }


_FULL = "1,000 tasks a second"

WORKLOAD = Workload(
    name="vacuum",
    title="Vacuum held back",
    needs=frozenset({"tasks", "postgres"}),
    cases={
        "smoke": _case(100, 1, 1, 1, 0.25),
        "quick": _case(1_000, 6, 18, 6, 1),
        "full": _case(1_000, 30, 600, 120, 5),
    },
    measure=measure,
    metrics={
        "rate_held": Metric("/s", more_is_better=True, title="while held"),
        "rate_held_ratio": Metric("×", more_is_better=True, title="rate, of that before"),
        "p50_free": Metric("ms", more_is_better=False, title="latency before"),
        "p50_held": Metric("ms", more_is_better=False, title="latency while held"),
        "p50_after": Metric("ms", more_is_better=False, title="latency after"),
        "claim_held_ratio": Metric("×", more_is_better=False, title="claim, of that before"),
        "cpu_held_ratio": Metric("×", more_is_better=False, title="server CPU, of that before"),
        "cpu_after_ratio": Metric("×", more_is_better=False, title="server CPU after, of before"),
    },
    headline=[(_FULL, "rate_held_ratio"), (_FULL, "cpu_held_ratio")],
    plots=[
        Series("cpu_over_time", _FULL, ("seconds", "server CPU, µs per task")),
        Series("p50_over_time", _FULL, ("seconds", "latency p50, ms")),
    ],
)
