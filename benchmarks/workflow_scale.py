"""How the cost of one workflow grows with what it does. Run by hand, not part of the suite:

    .venv/bin/python -m benchmarks.workflow_scale                # all, on a server of its own
    .venv/bin/python -m benchmarks.workflow_scale steps signals  # some of it
    .venv/bin/python -m benchmarks.workflow_scale --url postgresql://… --cache 0 steps

Each size runs in a process of its own, with one worker, on a database of its own that has the
schema. Printed are the time that the run took, the time of reading and replaying its history, how
much the process grew at most, and each of these per unit as a multiple of the smallest size: what
grows linearly stays near 1. A wrong result is an error.

    steps      one task after the other
    tasks      as many tasks at once
    children   as many child workflows at once
    signals    as many signals to one workflow that counts them
    days       a day's sleep and a step, as many times, on a clock that is moved
    renewals   continue_as_new, as many times
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import currant
from currant import Client, Handle, migrations, replaying, task, workflow
from tests.support import servers
from tests.support.worker_database import Database
from tests.support.worker_inline import InlineWorker

QUEUE = "scale"
SIZES = {
    "steps": (1000, 2000, 5000, 10000),
    "tasks": (250, 500, 1000, 2000),
    "children": (250, 500, 1000, 2000),
    "signals": (125, 250, 500, 1000),
    "days": (90, 365, 730),
    "renewals": (125, 250, 500),
}
PATIENCE = 3600


@task(queue=QUEUE)
async def add(total: int, number: int) -> int:
    """A step."""
    return total + number


@workflow(queue=QUEUE)
async def climb(size: int) -> int:
    """Step after step."""
    total = 0
    for number in range(size):
        total = await add.run(total, number)
    return total


@workflow(queue=QUEUE)
async def spread(size: int) -> int:
    """Everything at once."""
    return sum(await asyncio.gather(*(add.run(0, number) for number in range(size))))


@workflow(queue=QUEUE)
async def child(number: int) -> int:
    """A child with a step of its own."""
    return await add.run(0, number)


@workflow(queue=QUEUE)
async def raise_children(size: int) -> int:
    """A family."""
    return sum(await asyncio.gather(*(child.run(number) for number in range(size))))


@workflow(queue=QUEUE)
async def count_signals(size: int) -> int:
    """One signal after the other."""
    return sum([await currant.wait_for_signal("number") for _ in range(size)])


@workflow(queue=QUEUE)
async def live(size: int) -> int:
    """A step a day."""
    total, start = 0, currant.now()
    for number in range(size):
        await asyncio.sleep(86400)
        total = await add.run(total, number)
    assert size <= (currant.now() - start).total_seconds() / 86400 < 1.1 * size + 1
    return total


@workflow(queue=QUEUE)
async def renew(size: int, number: int = 0, total: int = 0) -> int:
    """One run after the other."""
    total = await add.run(total, number)
    if number + 1 < size:
        currant.continue_as_new(size, number + 1, total)
    return total


@dataclass
class Measured:
    """What one size cost."""

    size: int
    seconds: float
    replay_seconds: float
    megabytes: float


async def measure(scenario: str, size: int, url: str, cache: int) -> Measured:
    """Run one size in this process."""
    database = Database(url)
    async with Client(url):
        worker = InlineWorker(
            url,
            QUEUE,
            worker_max_concurrent=100,
            worker_workflow_cache=cache,
            worker_heartbeat_timeout=60.0,
        )
        await database.eventually("select true from currant.workers")
        before = _peak_megabytes()
        begin = time.perf_counter()
        handle = await DRIVERS[scenario](size, database)
        result = await handle.result(timeout=PATIENCE)
        seconds = time.perf_counter() - begin
        grown = _peak_megabytes() - before
        await worker.finish()
        assert result == sum(range(size)), result
        assert database.value("select bool_and(status = 'completed') from currant.outcomes")
        replay_seconds = _replay(handle, database)
    database.close()
    return Measured(size, seconds, replay_seconds, grown)


async def _queue(function: Any, size: int, _: Database) -> Handle[int]:
    handle: Handle[int] = await function.options(timeout=PATIENCE).queue(size)
    return handle


async def _send_signals(size: int, database: Database) -> Handle[int]:
    handle = await _queue(count_signals, size, database)
    for number in range(size):
        await handle.signal("number", number)
    return handle


async def _let_days_pass(size: int, database: Database) -> Handle[int]:
    """Move the database's clock to the next timer whenever one is all that there is."""
    database.rows(
        """
        create table public.clock as select interval '0' as ahead;
        create or replace function currant._now() returns timestamptz language sql volatile
        begin atomic select clock_timestamp() + c.ahead from public.clock as c; end
        """
    )
    handle = await _queue(live, size, database)
    for _ in range(size):
        await database.eventually(
            """
            update public.clock set ahead = d.due_at - clock_timestamp()
            from currant.delayed as d
            where d.kind = 'timer' and d.due_at > currant._now() + interval '1 hour'
            returning true
            """,
            patience=PATIENCE,
        )
    return handle


DRIVERS: dict[str, Callable[[int, Database], Awaitable[Handle[int]]]] = {
    "steps": lambda size, database: _queue(climb, size, database),
    "tasks": lambda size, database: _queue(spread, size, database),
    "children": lambda size, database: _queue(raise_children, size, database),
    "signals": _send_signals,
    "days": _let_days_pass,
    "renewals": lambda size, database: _queue(renew, size, database),
}


def _peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _replay(handle: Handle[int], database: Database) -> float:
    """Read the history and have the code follow it, arguments and all."""
    begin = time.perf_counter()
    text = database.value("select currant.export_history(%s)::text", handle)
    report = replaying.replay(text, patience=PATIENCE)
    seconds = time.perf_counter() - begin
    assert report.ok, report
    return seconds


@contextmanager
def own_databases(url: str | None) -> Iterator[Callable[[], str]]:
    """Gives the URL of a fresh database with the schema, or always the given one."""
    if url is not None:
        yield lambda: url
        return
    directory = servers.base_directory()
    server = servers.Server(servers.newest_version(), directory / "pg", servers.FAST)
    server.start()
    try:
        migrations.deploy(server.url("deployed"))
        yield lambda: server.url(server.create_database(template="deployed"))
    finally:
        server.kill()


def run_apart(scenario: str, size: int, url: str, cache: int) -> Measured:
    """Run one size in a process of its own: its peak of memory is that of this size alone."""
    command = [sys.executable, "-m", "benchmarks.workflow_scale", scenario]
    command += ["--one", str(size), "--url", url, "--cache", str(cache)]
    top = Path(__file__).parents[1]
    answer = subprocess.run(command, cwd=top, stdout=subprocess.PIPE, check=True)
    return Measured(**json.loads(answer.stdout))


def show(scenario: str, cache: int, found: list[Measured]) -> None:
    """Print the table of one scenario."""
    print(f"\n{scenario} (cache {cache})")
    print(f"{'size':>8} {'run s':>9} {'x':>6} {'replay s':>9} {'x':>6} {'MB':>8} {'x':>6}")
    first = found[0]
    for one in found:
        cells = [f"{one.size:>8}"]
        for field in ("seconds", "replay_seconds", "megabytes"):
            value, least = getattr(one, field), getattr(first, field)
            growth = value / least / (one.size / first.size) if least else 0.0
            cells.append(f"{value:>{8 if field == 'megabytes' else 9}.3f} {growth:>6.2f}")
        print(" ".join(cells), flush=True)


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("scenarios", nargs="*", choices=[*SIZES, []], help="all by default")
    parser.add_argument("--url", help="a database with the schema and no workers")
    parser.add_argument("--cache", type=int, default=1000, help="workflows kept in memory")
    parser.add_argument("--one", type=int, metavar="SIZE", help="this size, here, as JSON")
    given = parser.parse_args()
    if given.one is not None:
        [scenario] = given.scenarios
        found = asyncio.run(measure(scenario, given.one, given.url, given.cache))
        print(json.dumps(asdict(found)))
        return
    with own_databases(given.url) as database_url:
        for scenario in given.scenarios or SIZES:
            sizes = SIZES[scenario]
            show(
                scenario,
                given.cache,
                [run_apart(scenario, size, database_url(), given.cache) for size in sizes],
            )


if __name__ == "__main__":
    main()
