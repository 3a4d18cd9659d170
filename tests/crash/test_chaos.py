"""Workers killed at random under every kind of workflow at once: all end right, and only once.

CHAOS_SECONDS says for how long; CHAOS_CACHE with how many workflows in memory (0, for example)
instead of a different number in each worker; CHAOS_SEED repeats the choices, not the timing.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from currant import Client, replaying
from tests.concurrency.invariants import AT_THE_END
from tests.crash.chaos import Killer, Load
from tests.support.worker_database import Database

SECONDS = float(os.environ.get("CHAOS_SECONDS", "12"))
SEED = int(os.environ.get("CHAOS_SEED", random.randrange(1 << 32)))
CACHES = (os.environ["CHAOS_CACHE"],) if "CHAOS_CACHE" in os.environ else ("0", "3", "1000")
_MOST_REPLAYED = 1000

ONCE = {
    "a lease ends one attempt": """
        select token from (
            select token from currant.outcomes where token is not null
            union all select token from currant.attempts as a where not exists (
                select from currant.outcomes as o where o.token = a.token
            )
        ) as t group by 1 having count(*) > 1
    """,
    "what a task left with its completion is there once": """
        select name from effects group by 1 having count(*) > 1
    """,
    "what a history says of an end is how it ended": """
        select h.workflow_id, h.event, h.kind, o.status
        from currant.history_entries as h
        join currant.outcomes as o on o.execution_id = h.child_id
        where h.position = 0 and h.kind like any (array['%\\_completed', '%\\_failed'])
            and (h.kind like '%\\_completed') <> (o.status = 'completed')
    """,
    "what is to outlive its workflow is not cancelled with it": """
        select e.id, o.status
        from currant.executions as e
        join currant.outcomes as o on o.execution_id = e.id
        where e.on_parent_end = 'abandon' and o.status <> 'completed'
    """,
}


@pytest.fixture
def killer(database: Database, tmp_path: Path) -> Iterator[Killer]:
    """Has workers running."""
    for table in ("outcomes", "history_entries", "attempts", "executions"):
        write_once(database, table)
    killer = Killer(database, tmp_path, random.Random(SEED + 1), CACHES)
    for code in (2, 2, 1):
        killer.start(code, is_awaited=True)
    yield killer
    killer.clean_up()


def write_once(database: Database, table: str) -> None:
    """From now on nobody can change or delete what the table has."""
    database.rows(
        f"""
        create function public.refuse_{table}() returns trigger language plpgsql as $$
        begin
            raise exception '{table} is written once';
        end $$;
        create trigger write_once before update or delete on currant.{table}
        for each row execute function public.refuse_{table}()
        """
    )


@pytest.mark.timeout(SECONDS + 240)
async def test_everything_ends_right_and_once_however_many_workers_die(
    database: Database, killer: Killer
) -> None:
    print(f"seed {SEED}")
    async with Client(database.url):
        load = Load(database, random.Random(SEED))
        loading = asyncio.create_task(load.run(SECONDS))
        killing = asyncio.create_task(killer.run())
        await asyncio.wait([loading, killing], return_when=asyncio.FIRST_COMPLETED)
        killing.cancel()
        with suppress(asyncio.CancelledError):
            await killing
        await loading
        await load.finish()
        killer.calm_down()
        try:
            await database.eventually(
                "select not exists (select from currant.workflows)", patience=SECONDS + 120
            )
        finally:
            show(database, killer, load)

    for sentence, contradiction in AT_THE_END.items():
        await database.eventually(f"select not exists ({contradiction})", patience=30)
        assert database.rows(contradiction) == [], sentence
    killer.stop()
    assert not (broken := load.broken()), broken
    for sentence, contradiction in ONCE.items():
        assert database.rows(contradiction) == [], sentence
    assert unfollowed(database) == []


def unfollowed(database: Database) -> list[str]:
    """What the code at hand does not follow, of the histories that were written."""
    rows = database.rows(
        "select id from currant.executions where kind = 'workflow' order by random() limit %s",
        _MOST_REPLAYED,
    )
    reports = []
    for row in rows:
        document: dict[str, Any] = database.value("select currant.export_history(%s)", row.id)
        reports.append(replaying.replay(document))
    return [str(report) for report in reports if not report.ok]


def show(database: Database, killer: Killer, load: Load) -> None:
    """Print what has happened."""
    print(dict(killer.deeds))
    for row in database.rows(
        """
        select e.function, o.status, count(*) from currant.executions as e
        join currant.outcomes as o on o.execution_id = e.id group by 1, 2 order by 1, 2
        """
    ):
        print(*row)
    for row in database.rows("select * from currant.open_executions order by created_at"):
        print("still open:", *row)
        print(load.history(row.id))
    print(
        "attempts that went wrong:",
        database.rows(
            "select error ->> 'type', count(*) from currant.attempts group by 1 order by 1"
        ),
    )
