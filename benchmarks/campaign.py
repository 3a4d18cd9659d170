"""Everything that was asked for, in an order that is fair, whatever fails on the way."""

from __future__ import annotations

import datetime
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg

from benchmarks import broker, machine, runs, systems, workloads
from benchmarks.results import Record, Results, SystemInfo, WorkloadInfo
from benchmarks.server import Server
from benchmarks.side import cpu_seconds
from benchmarks.systems.base import System
from benchmarks.workloads.base import Case, Workload

Variant = tuple[str, str]


@dataclass(frozen=True)
class Plan:
    """What was asked for; no names of cases or variants mean all of them."""

    workloads: Sequence[str]
    systems: Sequence[str]
    size: str
    rounds: int
    cases: Sequence[str] = ()
    variants: Sequence[str] = ()

    def cases_of(self, workload: Workload) -> dict[str, Case]:
        """What is run of a workload."""
        return {
            name: case
            for name, case in workload.cases[self.size].items()
            if not self.cases or name in self.cases
        }


class Campaign:
    """Runs a plan.

    Args:
        server: that the databases are made on.
        logs: a directory for what the processes of failed runs have printed.
        say: is told of every run.
    """

    def __init__(
        self, plan: Plan, server: Server, *, logs: Path, say: Callable[[str], None]
    ) -> None:
        self._plan = plan
        self._server = server
        self._logs = logs
        self._say = say
        self._templates: dict[Variant, str] = {}
        self._systems: dict[str, type[System]] = {}
        self._infos: dict[str, SystemInfo] = {}
        self._unusable: dict[str, str] = {}
        for name in plan.systems:
            self._load(name)
        self._workloads = {name: workloads.load(name) for name in plan.workloads}

    def _load(self, name: str) -> None:
        try:
            system = systems.load(name)
            version = system.version()
        except Exception as error:
            self._unusable[name] = _reason(error)
            self._say(f"{name} cannot be used: {_reason(error)}")
            return
        self._systems[name] = system
        # A system that has none of those asked for takes part as it comes.
        wanted = self._plan.variants or system.variants
        chosen = [key for key in system.variants if key in wanted]
        variants = {key: dict(system.variants[key]) for key in chosen or ["default"]}
        capabilities = sorted(system.capabilities | {system.service})
        self._infos[name] = SystemInfo(system.title, version, system.notes, variants, capabilities)

    def results(self) -> Results:
        """All there is to tell before the first run."""
        return Results(
            date=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
            commit=machine.commit(),
            size=self._plan.size,
            rounds=self._plan.rounds,
            machine=machine.describe(self._server.directory),
            server={"version": self._server.version(), "settings": self._server.settings},
            systems=self._infos,
            unusable=self._unusable,
            workloads={
                name: _info_of(one, self._plan.cases_of(one))
                for name, one in self._workloads.items()
            },
        )

    def records(self) -> Iterator[Record]:
        """Run it all.

        All systems do one case, one directly after the other, before the next case; in every
        other round in the opposite order, so that whatever changes slowly cancels out.
        """
        for workload in self._workloads.values():
            for number in range(self._plan.rounds):
                for name, case in self._plan.cases_of(workload).items():
                    able = self._able(workload.needs | frozenset(case.get("needs", ())))
                    for who in reversed(able) if number % 2 else able:
                        yield self._record(workload, name, case, who, number)

    def _able(self, needs: frozenset[str]) -> list[Variant]:
        return [
            (name, variant)
            for name, info in self._infos.items()
            if needs <= {*info.capabilities}
            for variant in info.variants
        ]

    def _record(
        self, workload: Workload, name: str, case: Case, who: Variant, number: int
    ) -> Record:
        what = f"{workload.name}, {name}: {' '.join(who)}"
        log = self._logs / (re.sub(r"\W+", "-", f"{what} {number}") + ".log")
        log.unlink(missing_ok=True)
        processors = machine.Processors()
        begin, begin_cpu = time.monotonic(), self._cpu_seconds()
        figures: Mapping[str, Any] = {}
        failure = None
        try:
            with self._run(who, log) as run:
                figures = workload.measure(run, case)
            log.unlink(missing_ok=True)
        except Exception as error:
            failure = _reason(error)
        foreign, stolen = processors.shares(self._cpu_seconds() - begin_cpu)
        shown = ", ".join(
            f"{key} {figures[key]:,.5g}{metric.unit}"
            for key, metric in workload.metrics.items()
            if figures.get(key) is not None
        )
        self._say(f"{number + 1}  {what}: {shown or failure}")
        return Record(
            workload=workload.name,
            case=name,
            system=who[0],
            variant=who[1],
            round=number,
            seconds=round(time.monotonic() - begin, 2),
            foreign_share=round(foreign, 4),
            stolen_share=round(stolen, 4),
            figures=dict(figures),
            failure=failure,
        )

    def _cpu_seconds(self) -> float:
        """What the benchmark has used by now: this process, those that it has ended, the server."""
        return cpu_seconds() + self._server.cpu_seconds()

    @contextmanager
    def _run(self, who: Variant, log: Path) -> Iterator[runs.Run]:
        """A run with all it needs: a fresh database or a fresh Redis."""
        name, variant = who
        system_class = self._systems[name]
        service = self._redis if system_class.service == "redis" else self._database
        with (
            service(who, log) as url,
            TemporaryDirectory(prefix="currant-stamps-") as stamps,
        ):
            run = runs.Run(
                system_class(url, variant),
                size=self._plan.size,
                server=self._server,
                directory=Path(stamps),
                log=log,
            )
            try:
                yield run
            finally:
                run.close()

    @contextmanager
    def _database(self, who: Variant, log: Path) -> Iterator[str]:
        if who not in self._templates:
            template = self._server.create_database()
            try:
                runs.prepare(self._systems[who[0]], who[1], self._server.url(template), log)
            except Exception:
                self._server.drop_database(template)
                raise
            self._templates[who] = template
        database = self._server.create_database(self._templates[who])
        try:
            yield self._server.url(database)
        finally:
            self._server.drop_database(database)

    @contextmanager
    def _redis(self, who: Variant, log: Path) -> Iterator[str]:
        name, variant = who
        system_class = self._systems[name]
        with broker.running(system_class.variants[variant].get("redis", {})) as url:
            runs.prepare(system_class, variant, url, log)
            yield url


def _info_of(workload: Workload, cases: Mapping[str, Case]) -> WorkloadInfo:
    description = sys.modules[workload.measure.__module__].__doc__ or ""
    return WorkloadInfo(
        title=workload.title,
        description=" ".join(description.split()),
        needs=sorted(workload.needs),
        cases={name: dict(case) for name, case in cases.items()},
        metrics=dict(workload.metrics),
        headline=list(workload.headline),
        plots=list(workload.plots),
    )


def _reason(error: Exception) -> str:
    if isinstance(error, runs.Failed):
        return str(error)
    if isinstance(error, psycopg.Error):
        return f"the driver's look at the database failed: {error}".strip()
    return f"{type(error).__name__}: {error}"
