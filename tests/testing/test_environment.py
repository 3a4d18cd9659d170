"""Opening and closing environments, and what they say when something is wrong."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta

import psycopg
import pytest

from currant import (
    Cancelled,
    Client,
    DatabaseUnavailable,
    ExecutionFailed,
    ExecutionNotFound,
    NotAllowedInLoop,
    SchemaMissing,
    task,
    wait_for_signal,
    workflow,
)
from currant.engine import Engine
from currant.testing import Environment, KitError, Stalled, Stuck, UnfitDatabase, databases


@task(name="kit.double")
async def double(n: int) -> int:
    return 2 * n


@workflow(name="kit.waits")
async def waits() -> str:
    return str(await wait_for_signal("approved"))


@workflow(name="kit.fails")
async def fails() -> None:
    raise ValueError("no")


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What a blocked task waits for."""
    gate = threading.Event()
    yield gate
    gate.set()


def test_environment_is_usable_without_pytest(currant_db: str) -> None:
    with Environment(currant_db) as environment:
        assert environment.run_sync(double, 21) == 42
        assert environment.run_sync("kit.double", 4) == 8
        assert environment.run_sync(double.options(priority=3), 1) == 2


async def test_environment_is_usable_in_a_loop(currant_db: str) -> None:
    async with Environment(currant_db) as environment:
        assert await environment.run(double, 21) == 42
        both = await asyncio.gather(environment.run(double, 1), environment.run(double, 2))

    assert both == [2, 4]


async def test_results_come_without_driving_where_no_time_is_needed(
    currant_worker: Environment,
) -> None:
    assert await double.run(3) == 6


def test_results_come_by_id_too(currant_worker: Environment) -> None:
    handle = double.queue_sync(4)

    assert currant_worker.result_sync(str(handle)) == 8
    assert currant_worker.result_sync(handle.id) == 8


def test_failure_comes_as_in_production(currant_worker: Environment) -> None:
    with pytest.raises(ExecutionFailed, match="ValueError: no"):
        currant_worker.run_sync(fails)


def test_cancelled_comes_as_in_production(currant_worker: Environment) -> None:
    handle = waits.queue_sync()
    currant_worker.drain_sync()

    handle.cancel_sync("enough")

    with pytest.raises(Cancelled, match="enough"):
        currant_worker.result_sync(handle)


def test_history_says_what_happened(currant_worker: Environment) -> None:
    @workflow
    async def steps() -> int:
        return await double.run(await double.run(1))

    handle = steps.queue_sync()
    currant_worker.result_sync(handle)

    kinds = [entry.kind for entry in currant_worker.history_sync(handle)]
    assert kinds == ["started", "task", "task_completed", "task", "task_completed", "complete"]


def test_two_environments_one_after_the_other(currant_db: str) -> None:
    with Environment(currant_db) as first:
        handle = waits.queue_sync()
        first.drain_sync()

    with Environment(currant_db) as second:
        handle.signal_sync("approved", "ada")
        assert second.result_sync(handle) == "ada"


def test_one_environment_at_a_time(currant_worker: Environment) -> None:
    with pytest.raises(UnfitDatabase, match="another environment"):
        Environment(currant_worker.url).__enter__()

    assert currant_worker.run_sync(double, 1) == 2


def test_environment_left_behind_is_cleared_away(currant_db: str) -> None:
    with psycopg.connect(currant_db) as connection:
        connection.execute(
            "create schema currant_testing; create table currant_testing.clock as"
            " select timestamptz '2001-01-01' as stands_at,"
            " pg_get_functiondef('currant._now()'::regprocedure) as original"
        )

    with Environment(currant_db) as environment:
        assert environment.now().year > 2001


def test_database_in_use_is_left_alone(currant_db: str) -> None:
    with psycopg.connect(currant_db) as connection:
        template = connection.info.dbname
    with psycopg.connect(databases.with_database(currant_db, "postgres"), autocommit=True) as admin:
        in_use = f"production_{os.getpid()}"
        admin.execute(f"create database {in_use} template {template}")
        try:
            url = databases.with_database(currant_db, in_use)
            with Client(url) as client:
                client.enqueue_sync("kit.double", {"n": 1}, {"queue": "default", "kind": "task"})

            with pytest.raises(UnfitDatabase, match=f"{in_use} is in use"):
                Environment(url).__enter__()

            with psycopg.connect(url) as connection:
                row = connection.execute("select to_regnamespace('currant_testing')").fetchone()
            assert row == (None,)
        finally:
            admin.execute(f"drop database {in_use} with (force)")


def test_database_without_the_schema(empty_database_url: str) -> None:
    with pytest.raises(SchemaMissing):
        Environment(empty_database_url).__enter__()


def test_database_that_is_not_there(currant_db: str) -> None:
    with pytest.raises(DatabaseUnavailable, match="nowhere"):
        Environment(databases.with_database(currant_db, "nowhere")).__enter__()


def test_role_that_may_not_replace_the_clock(currant_db: str) -> None:
    role = f"kit_{os.getpid()}"
    with psycopg.connect(currant_db, autocommit=True) as connection:
        connection.execute(f"create role {role} login in role currant_admin")
        try:
            connection.execute(f"grant select on currant.executions to {role}")
            url = currant_db.replace("://currant@", f"://{role}@")
            with pytest.raises(UnfitDatabase, match="may not replace the clock"):
                Environment(url).__enter__()
        finally:
            connection.execute(f"drop owned by {role}")
            connection.execute(f"drop role {role}")


def test_environment_that_does_not_open_leaves_nothing_behind(
    currant_db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_engine: Engine) -> None:
        raise RuntimeError("no engine today")

    before = os.environ["CURRANT_DATABASE_URL"]
    with monkeypatch.context() as patch:
        patch.setattr(Engine, "run", broken)
        with pytest.raises(RuntimeError, match="no engine today"):
            Environment(currant_db).__enter__()

    assert os.environ["CURRANT_DATABASE_URL"] == before
    assert not [one for one in threading.enumerate() if one.name == "currant-testing"]
    with psycopg.connect(currant_db) as connection:
        row = connection.execute(
            "select to_regnamespace('currant_testing'), count(*) from pg_stat_activity"
            " where datname = current_database() and application_name = 'currant testing'"
        ).fetchone()
    assert row == (None, 0)


def test_default_client_and_variables_come_back(
    currant_db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CURRANT_DATABASE_URL", "postgresql://elsewhere/prod")
    monkeypatch.setenv("CURRANT_DATABASE_LISTEN_URL", "postgresql://elsewhere/prod")
    monkeypatch.setenv("CURRANT_DEFAULT_RETRIES", "7")

    with Environment(currant_db) as environment:
        inside = os.environ["CURRANT_DATABASE_URL"], os.environ.get("CURRANT_DATABASE_LISTEN_URL")
        handle = double.queue_sync(1)
        environment.result_sync(handle)
        state = handle.state_sync()

    assert inside == (currant_db, None)
    assert state.max_attempts == 8
    assert os.environ["CURRANT_DATABASE_URL"] == "postgresql://elsewhere/prod"
    assert os.environ["CURRANT_DATABASE_LISTEN_URL"] == "postgresql://elsewhere/prod"


def test_closed_environment_says_so(currant_db: str) -> None:
    environment = Environment(currant_db)

    for use in (environment.drain_sync, lambda: environment.calls(double)):
        with pytest.raises(KitError, match="not open"):
            use()


async def test_sync_form_in_a_loop_is_refused(currant_worker: Environment) -> None:
    with pytest.raises(NotAllowedInLoop, match="await run"):
        currant_worker.run_sync(double, 1)


def test_start_needs_a_time_zone() -> None:
    with pytest.raises(TypeError, match="time zone"):
        Environment("postgresql:///x", start=datetime(2030, 1, 1))  # noqa: DTZ001


# --- What does not get on


async def test_wait_for_a_signal_that_nobody_sends(currant_worker: Environment) -> None:
    with pytest.raises(Stuck, match=r"kit\.waits .* waits for signal approved, and nothing is due"):
        await currant_worker.run(waits)


async def test_wait_for_a_child_that_waits_for_a_signal(currant_worker: Environment) -> None:
    @workflow
    async def parent() -> str:
        return await waits.run()

    with pytest.raises(Stuck, match=r"parent .*kit\.waits .* waits for signal approved"):
        await currant_worker.run(parent)


async def test_wait_for_longer_than_allowed(currant_worker: Environment) -> None:
    @workflow
    async def long() -> None:
        await asyncio.sleep(86400)

    handle = await long.queue()

    with pytest.raises(Stuck, match="the next thing due is at"):
        await currant_worker.result(handle, within=timedelta(hours=23))
    assert await currant_worker.result(handle, within=timedelta(hours=24)) is None


def test_function_that_nobody_knows(currant_worker: Environment) -> None:
    with Client(currant_worker.url) as client:
        handle = client.enqueue_sync("kit.nobody", {}, {"queue": "q", "kind": "task"})

    with pytest.raises(Stuck, match=r"kit\.nobody .* a worker that knows the task kit\.nobody"):
        currant_worker.result_sync(handle)


def test_name_that_nobody_knows(currant_worker: Environment) -> None:
    with pytest.raises(KitError, match=r"no task or workflow is called 'kit\.nobody'"):
        currant_worker.run_sync("kit.nobody")


def test_execution_that_is_not_there(currant_worker: Environment) -> None:
    with pytest.raises(ExecutionNotFound):
        currant_worker.result_sync("01890000-0000-7000-8000-000000000000")
    with pytest.raises(ExecutionNotFound):
        currant_worker.history_sync("01890000-0000-7000-8000-000000000000")


@pytest.mark.currant(patience=0.3)
def test_task_that_takes_too_long(currant_worker: Environment, gate: threading.Event) -> None:
    currant_worker.replace(double, lambda n: gate.wait(30))

    with pytest.raises(Stalled, match=r"running: task kit\.double .*replace a task"):
        currant_worker.run_sync(double, 1)


def test_worker_that_crashes(currant_worker: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    async def crash(*_args: object, **_kwargs: object) -> int:
        raise RuntimeError("the worker is broken")

    monkeypatch.setattr(Engine, "_exchange", crash)

    with pytest.raises(RuntimeError, match="the worker is broken"):
        currant_worker.run_sync(double, 1)
    # It is told once more when the environment is closed.
    with pytest.raises(RuntimeError, match="the worker is broken"):
        currant_worker.__exit__(None, None, None)
    monkeypatch.undo()
    currant_worker.__enter__()


async def test_test_that_gives_up_can_go_on(
    currant_worker: Environment, gate: threading.Event
) -> None:
    with currant_worker.replace(double, lambda n: gate.wait(30)):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(currant_worker.run(double, 1), 0.2)
        gate.set()

    assert await currant_worker.run(double, 2) == 4
