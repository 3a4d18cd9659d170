"""What a system costs when there is much of something, as a multiple of what it costs in the same
database before: a backlog of tasks that are ready, tasks that have ended, delayed tasks, queues
with tasks in them, large arguments. Rates are of function calls, from the first to the last, once a
worker has been through as many before; pickup is as in the workload of that name (median); claim is
the server's time per task in the statements that take tasks out of the queue. Tasks that have ended
are made in the tables, by copying one that a worker has run, because to run millions would take
hours; all others are enqueued by the system's own functions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql

from benchmarks.runs import Failed, Run, WrongResult
from benchmarks.systems.base import QUEUE, System
from benchmarks.workloads.base import Bars, Case, Metric, Workload
from benchmarks.workloads.pickup import percentiles

_CONCURRENCY = 100
_PAUSES = (0.03, 0.06)
_PATIENCE_SECONDS = 3.0
_START_SECONDS = 2.0
_POLL_SECONDS = 0.05
_CHUNK = 10_000
_MOST_BYTES = 200_000_000
_COPIES_AT_A_TIME = 500_000
_OTHER = "bench_other"
_DAY = 86_400.0

# Statements that take tasks out of a queue, in any of the systems.
CLAIMS = r"\m(claim|skip locked|fetch_job|dequeue)"


def measure(run: Run, case: Case) -> Mapping[str, float]:
    """Before and after, on one database."""
    probe = Probe(run, case)
    probe.warm_up()
    return _KINDS[case["kind"]](probe, case)


async def fill(
    system: System,
    *,
    first: int,
    count: int,
    queues: Sequence[str],
    limit_seconds: float,
    delay_seconds: float | None = None,
) -> int:
    """In a client: enqueue many tasks, evenly into queues; how many, if the time is too short."""
    limit = time.monotonic() + limit_seconds
    each = count // len(queues)
    done = 0
    for queue in queues:
        for begin in range(0, each, _CHUNK):
            numbers = range(first + done, first + done + min(_CHUNK, each - begin))
            await system.enqueue_many(numbers, queue=queue, delay_seconds=delay_seconds)
            done += len(numbers)
            if time.monotonic() > limit:
                return done
    return done


class Probe:
    """Measures one database again and again, with new tasks each time."""

    def __init__(self, run: Run, case: Case) -> None:
        self.run = run
        self._case = case
        self._is_counted = is_on_postgres(run) and run.server.count_statements(run.url)
        self._next = 0
        self.count: int = max(case["count"] // 10, 2)
        self._seconds: float = case["limit_seconds"]

    def warm_up(self) -> None:
        """Files get as large, and caches as warm, as they will be; slow systems get less to do."""
        for _ in range(2):
            rate = self.drain()["rate"]
            least, most = self.count, self._case["count"]
            self.count = min(max(round(rate * self._case["seconds"]), least), most)

    def drain(self, *, payload_bytes: int = 0) -> dict[str, float]:
        """Enqueue tasks and work them off; fewer of them, if they are large."""
        count = self.count if not payload_bytes else min(self.count, _MOST_BYTES // payload_bytes)
        numbers = self._numbers(count)
        self.run.enqueue_many(len(numbers), first=numbers.start, payload_bytes=payload_bytes)
        return self.work(numbers, seconds=self._case["limit_seconds"])

    def fill(
        self, count: int, *, queues: Sequence[str] = (QUEUE,), delay_seconds: float | None = None
    ) -> range:
        """Enqueue very many tasks, or as many as can be in some minutes."""
        arguments = {
            "first": self._next,
            "count": count,
            "queues": list(queues),
            "limit_seconds": self._case["fill_seconds"],
            "delay_seconds": delay_seconds,
        }
        return self._numbers(self.run.call("benchmarks.workloads.growth:fill", arguments))

    def work(
        self, numbers: range, queues: Sequence[str] = (QUEUE,), *, seconds: float | None = None
    ) -> dict[str, float]:
        """Work for a while, or until nothing is left.

        Args:
            seconds: by default as long as `drain` works, more or less.
        """
        tidy(self.run)
        claiming = self._claiming()
        with self.run.workers(concurrency=_CONCURRENCY, queues=queues):
            self._wait(self._case["seconds"] + _START_SECONDS if seconds is None else seconds)
        times = sorted(self._stamp(number) for number in numbers if number in self.run.stamps())
        if len(times) < 2:
            raise Failed("nothing ran")
        figures = {"rate": (len(times) - 1) / ((times[-1] - times[0]) / 1e9)}
        if self._is_counted:
            figures["claim"] = (self._claiming() - claiming) * 1e3 / len(times)
        return figures

    def pickup(self, *, queue: str = QUEUE, queues: Sequence[str] = ()) -> dict[str, float]:
        """Ask an idle worker; the median in milliseconds."""
        tidy(self.run)
        numbers = self._numbers(self._case["pickups"])
        arguments = {
            "first": numbers.start,
            "count": len(numbers),
            "pauses": _PAUSES,
            "is_awaited": False,
            "queue": queue,
        }
        with self.run.workers(concurrency=10, queues=queues or [queue]):
            times = self.run.call("benchmarks.clients:ask", arguments)
            self._wait(_PATIENCE_SECONDS)
        waited = [
            self._stamp(number) - begin for number, (begin, _) in zip(numbers, times, strict=True)
        ]
        # The first ones find nothing prepared.
        return {"pickup": percentiles(waited[len(waited) // 10 :])["p50"]}

    def _numbers(self, count: int) -> range:
        self._next += count
        return range(self._next - count, self._next)

    def _wait(self, seconds: float) -> None:
        limit = time.monotonic() + seconds
        while time.monotonic() < limit and self.run.system.is_pending():
            time.sleep(_POLL_SECONDS)

    def _stamp(self, number: int) -> int:
        times = self.run.stamps().get(number, [])
        if len(times) != 1:
            raise WrongResult(f"{number} ran {len(times)} times")
        return times[0]

    def _claiming(self) -> float:
        return 0.0 if not self._is_counted else claims(self.run)[1]


def _backlog(probe: Probe, case: Case) -> dict[str, float]:
    """Tasks that are ready: work at their head; and pickup beside them, in another queue."""
    has_queues = "queues" in probe.run.system.capabilities
    before = probe.drain()
    if has_queues:
        before |= probe.pickup(queue=_OTHER)
    many = probe.fill(case["many"])
    after = probe.pickup(queue=_OTHER) if has_queues else {}
    after |= probe.work(many)
    return _compared(before, after, many=len(many))


def _ended(probe: Probe, case: Case) -> dict[str, float]:
    """Tasks that have ended."""
    before = {**probe.drain(), **probe.pickup()}
    _copy_ended(probe.run, case["many"])
    return _compared(before, {**probe.drain(), **probe.pickup()}, many=case["many"])


def _delayed(probe: Probe, case: Case) -> dict[str, float]:
    """Tasks that are due tomorrow."""
    before = {**probe.drain(), **probe.pickup()}
    many = probe.fill(case["many"], delay_seconds=_DAY)
    return _compared(before, {**probe.drain(), **probe.pickup()}, many=len(many))


def _one_of_queues(probe: Probe, case: Case) -> dict[str, float]:
    """Tasks in other queues."""
    before = {**probe.drain(), **probe.pickup()}
    many = probe.fill(case["many"], queues=_queues(case))
    return _compared(before, {**probe.drain(), **probe.pickup()}, many=len(many))


def _all_queues(probe: Probe, case: Case) -> dict[str, float]:
    """A worker that serves many queues, full and empty."""
    before = {**probe.drain(), **probe.pickup()}
    queues = _queues(case)
    numbers = probe.fill(probe.count, queues=queues)
    after = probe.work(numbers, queues, seconds=case["limit_seconds"])
    after |= probe.pickup(queue=queues[-1], queues=queues)
    return _compared(before, after, many=len(queues))


def _payload(probe: Probe, case: Case) -> dict[str, float]:
    """Large arguments."""
    before = probe.drain()
    after = probe.drain(payload_bytes=case["payload_bytes"])
    return _compared(before, after, many=case["payload_bytes"])


_KINDS: Mapping[str, Callable[[Probe, Case], dict[str, float]]] = {
    "backlog": _backlog,
    "ended": _ended,
    "delayed": _delayed,
    "one of queues": _one_of_queues,
    "all queues": _all_queues,
    "payload": _payload,
}


def _queues(case: Case) -> list[str]:
    return [f"bench_{number}" for number in range(case["queues"])]


def _compared(
    before: Mapping[str, float], after: Mapping[str, float], *, many: int
) -> dict[str, float]:
    figures: dict[str, float] = {"many": many}
    for name, value in after.items():
        figures |= {f"{name}_before": before[name], name: value}
        # No claim is counted of a system whose statements do not look like one.
        if before[name]:
            figures[f"{name}_ratio"] = value / before[name]
    return figures


def _copy_ended(run: Run, count: int) -> None:
    """Copy a task that has ended, with all its rows, so many times."""
    archive = run.system.archive
    assert archive is not None
    new_ids = sql.SQL("create temporary table copy on commit drop as select {} as id ").format(
        sql.SQL(archive.new_id)
    )
    with _connected(run) as connection:
        # Triggers would do over what has been done.
        connection.execute("set session_replication_role = replica")
        table, columns = next(iter(archive.tables.items()))
        statement = sql.SQL("select {} from {} limit 1").format(
            sql.Identifier(columns[0]), _name(table)
        )
        row = connection.execute(statement).fetchone()
        assert row is not None
        for begin in range(0, count, _COPIES_AT_A_TIME):
            size = min(_COPIES_AT_A_TIME, count - begin)
            with connection.transaction():
                connection.execute(
                    new_ids + sql.SQL("from generate_series(1, {})").format(sql.Literal(size))
                )
                for table, columns in archive.tables.items():
                    _copy_row(connection, table, columns, row[0])


def _copy_row(
    connection: psycopg.Connection[Any], table: str, id_columns: Sequence[str], original: Any
) -> None:
    rows = connection.execute(
        """
        select attname from pg_attribute
        where attrelid = %s::regclass and attnum > 0 and not attisdropped
        order by attnum
        """,
        (table,),
    )
    columns = [name for (name,) in rows]
    values = [
        sql.Identifier("copy", "id") if name in id_columns else sql.Identifier("original", name)
        for name in columns
    ]
    connection.execute(
        sql.SQL(
            "insert into {table} ({columns}) overriding system value select {values} from copy"
            " cross join (select * from {table} where {id} = %s) as original"
        ).format(
            table=_name(table),
            columns=sql.SQL(", ").join(map(sql.Identifier, columns)),
            values=sql.SQL(", ").join(values),
            id=sql.Identifier(id_columns[0]),
        ),
        (original,),
    )


def _name(table: str) -> sql.Identifier:
    return sql.Identifier(*table.split("."))


def is_on_postgres(run: Run) -> bool:
    """Whether there is a database to look into."""
    return run.system.service == "postgres"


def tidy(run: Run) -> None:
    """What autovacuum would have done in a minute or so; and what is measured begins with it."""
    if is_on_postgres(run):
        with _connected(run) as connection:
            connection.execute("vacuum (analyze)")
            connection.execute("checkpoint")


def claims(run: Run) -> tuple[int, float]:
    """Statements that claim: how many there were, and their time in milliseconds."""
    with _connected(run) as connection:
        row = connection.execute(
            """
            select coalesce(sum(calls), 0)::bigint, coalesce(sum(total_exec_time), 0)
            from pg_stat_statements
            where dbid = (select oid from pg_database where datname = current_database())
            and query ~* %s
            """,
            (CLAIMS,),
        ).fetchone()
    assert row is not None
    return row[0], row[1]


@contextmanager
def _connected(run: Run) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(run.url, autocommit=True) as connection:
        yield connection


def _cases(
    *,
    count: int,
    pickups: int,
    seconds: float,
    limit_seconds: float,
    many: int,
    ended: int,
    queues: int,
    fill_seconds: float = 10,
) -> dict[str, Case]:
    more: Case = {
        "count": count,
        "pickups": pickups,
        "seconds": seconds,
        "limit_seconds": limit_seconds,
        "fill_seconds": fill_seconds,
    }
    cases: dict[str, Case] = {
        "ready": {"kind": "backlog", "many": many},
        "ended": {"kind": "ended", "many": ended, "needs": ["archive"]},
        "delayed": {"kind": "delayed", "many": many, "needs": ["delay"]},
        "in other queues": {
            "kind": "one of queues",
            "many": many,
            "queues": queues,
            "needs": ["queues"],
        },
        "queues of one worker": {"kind": "all queues", "queues": queues, "needs": ["queues"]},
        "10 KB of arguments": {"kind": "payload", "payload_bytes": 10_000, "needs": ["payload"]},
        "100 KB of arguments": {"kind": "payload", "payload_bytes": 100_000, "needs": ["payload"]},
    }
    return {name: {**more, **case} for name, case in cases.items()}


def _only(names: Sequence[str], cases: Mapping[str, Case]) -> dict[str, Case]:
    return {name: cases[name] for name in names}


def _ratio(title: str, *, more_is_better: bool) -> Metric:
    return Metric("×", more_is_better=more_is_better, title=title)


WORKLOAD = Workload(
    name="growth",
    title="What grows: figures beside much of something, as multiples of those before",
    needs=frozenset({"tasks"}),
    cases={
        "smoke": _only(
            ["ended", "queues of one worker"],
            _cases(count=40, pickups=5, seconds=1, limit_seconds=10, many=90, ended=90, queues=3),
        ),
        "quick": _only(
            ["ready", "ended", "queues of one worker"],
            _cases(
                count=10_000,
                pickups=30,
                seconds=1,
                limit_seconds=6,
                many=50_000,
                ended=50_000,
                queues=100,
            ),
        ),
        "full": _cases(
            count=50_000,
            pickups=100,
            seconds=5,
            limit_seconds=30,
            many=1_000_000,
            ended=10_000_000,
            queues=1_000,
            fill_seconds=180,
        ),
    },
    measure=measure,
    metrics={
        "rate_ratio": _ratio("rate", more_is_better=True),
        "pickup_ratio": _ratio("pickup", more_is_better=False),
        "claim_ratio": _ratio("claim", more_is_better=False),
    },
    headline=[("ended", "rate_ratio"), ("ready", "rate_ratio")],
    plots=[Bars("rate_ratio", ["ready", "ended", "delayed", "in other queues"])],
)
