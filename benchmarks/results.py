"""What a campaign leaves: everything a report needs, and every figure of every round, as JSON."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.workloads.base import Metric, Plot

BASELINE = ("currant", "default")


class SystemInfo(msgspec.Struct):
    """One of the systems."""

    title: str
    version: str
    notes: str
    variants: dict[str, dict[str, Any]]
    capabilities: list[str]


class WorkloadInfo(msgspec.Struct):
    """One of the workloads, with the parameters of its cases."""

    title: str
    description: str
    needs: list[str]
    cases: dict[str, dict[str, Any]]
    metrics: dict[str, Metric]
    headline: list[tuple[str, str]]
    plots: list[Plot]


class Record(msgspec.Struct):
    """One run: its figures, or why there are none.

    Attributes:
        seconds: that it took in all.
        foreign_share: of all processors' time, used by processes that were not ours.
        stolen_share: used by other machines of the same host.
    """

    workload: str
    case: str
    system: str
    variant: str
    round: int
    seconds: float
    foreign_share: float
    stolen_share: float
    figures: dict[str, Any] = {}
    failure: str | None = None


class Results(msgspec.Struct):
    """One campaign.

    Attributes:
        unusable: why systems that were asked for took no part.
    """

    date: str
    commit: str
    size: str
    rounds: int
    machine: dict[str, Any]
    server: dict[str, Any]
    systems: dict[str, SystemInfo]
    workloads: dict[str, WorkloadInfo]
    unusable: dict[str, str] = {}
    records: list[Record] = []

    def save(self, path: Path) -> None:
        """Write it all, so that the file is complete at any time."""
        text = msgspec.json.format(msgspec.json.encode(self), indent=1)
        unfinished = path.with_suffix(".part")
        unfinished.write_bytes(text + b"\n")
        unfinished.rename(path)

    @property
    def variants(self) -> list[tuple[str, str]]:
        """The pairs of system and variant."""
        return [(name, variant) for name, one in self.systems.items() for variant in one.variants]


def load(path: Path) -> Results:
    """What `save` has written."""
    return msgspec.json.decode(path.read_bytes(), type=Results)


def is_able(results: Results, workload: str, case: str, who: tuple[str, str]) -> bool:
    """Whether a system has the capabilities that a case takes."""
    info = results.workloads[workload]
    return {*info.needs, *info.cases[case].get("needs", ())} <= {
        *results.systems[who[0]].capabilities
    }


class Cell(msgspec.Struct):
    """The figures of one system for one metric of one case, over the rounds.

    Attributes:
        median: of the rounds that succeeded.
        spread: half the distance between the least and the most, as a share of the median.
        advantage: the median of what Currant did better in the same round: 2 means twice the rate,
            or half the time; below 1 it was worse. None if there is nothing to compare.
        failures: why rounds failed.
        rounds: how many there were.
    """

    median: float | None
    spread: float
    advantage: float | None
    failures: list[str]
    rounds: int


def cell(results: Results, workload: str, case: str, metric: str, who: tuple[str, str]) -> Cell:
    """Look up and compare."""
    ours = _by_round(results, workload, case, metric, BASELINE)
    own = _by_round(results, workload, case, metric, who)
    records = _records(results, workload, case, who)
    failures = [record.failure for record in records if record.failure is not None]
    if not own:
        return Cell(None, 0.0, None, failures, len(records))
    more_is_better = results.workloads[workload].metrics[metric].more_is_better
    ratios = [
        ours[number] / value if more_is_better else value / ours[number]
        for number, value in own.items()
        if ours.get(number) and value
    ]
    median = statistics.median(own.values())
    spread = (max(own.values()) - min(own.values())) / 2 / median if median else 0.0
    advantage = statistics.median(ratios) if ratios and who != BASELINE else None
    return Cell(median, spread, advantage, failures, len(records))


def _records(results: Results, workload: str, case: str, who: tuple[str, str]) -> Sequence[Record]:
    wanted = (workload, case, *who)
    return [
        one
        for one in results.records
        if (one.workload, one.case, one.system, one.variant) == wanted
    ]


def _by_round(
    results: Results, workload: str, case: str, metric: str, who: tuple[str, str]
) -> dict[int, float]:
    return {
        record.round: record.figures[metric]
        for record in _records(results, workload, case, who)
        if record.figures.get(metric) is not None
    }


def merged(several: Sequence[Results]) -> Results:
    """One of several: of each workload what the last of them has; the machine is the last one's."""
    last = several[-1]
    workloads = {name: info for one in several for name, info in one.workloads.items()}
    systems = {name: info for one in several for name, info in one.systems.items()}
    owner = {name: one for one in several for name in one.workloads}
    records = [
        record for name in workloads for record in owner[name].records if record.workload == name
    ]
    return msgspec.structs.replace(
        last,
        commit=", ".join(dict.fromkeys(one.commit for one in several)),
        size=", ".join(dict.fromkeys(one.size for one in several)),
        rounds=min(one.rounds for one in several),
        workloads=workloads,
        systems=systems,
        records=records,
    )
