"""Workflows that do not do the same twice are found."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from currant import NonDeterminism, task, wait_for_signal, workflow
from currant.testing import Environment


@task(name="kit.ship")
async def ship(item: str) -> str:
    return item


async def test_order_that_changes_is_found(currant_worker: Environment) -> None:
    seeds = itertools.count()

    @workflow
    async def ship_all(items: list[str]) -> list[str]:
        # As a set of texts does under another hash seed.
        swapped = items[::-1] if next(seeds) % 2 else items
        return list(await asyncio.gather(*(ship.run(item) for item in swapped)))

    with pytest.raises(NonDeterminism, match=r"does not follow its history"):
        await currant_worker.run(ship_all, ["a", "b"])


@pytest.mark.currant(replay=False)
async def test_order_that_changes_is_not_noticed_without_replays(
    currant_worker: Environment,
) -> None:
    seeds = itertools.count()

    @workflow
    async def ship_all(items: list[str]) -> list[str]:
        swapped = items[::-1] if next(seeds) % 2 else items
        return [await ship.run(item) for item in swapped]

    assert await currant_worker.run(ship_all, ["a", "b"]) == ["a", "b"]


async def test_arguments_that_change_are_found_in_the_end(currant_worker: Environment) -> None:
    seeds = itertools.count()

    @workflow
    async def ship_numbered() -> str:
        return await ship.run(f"number {next(seeds)}")

    with pytest.raises(NonDeterminism, match="number"):
        await currant_worker.run(ship_numbered)


async def test_step_that_disappears_is_found(currant_worker: Environment) -> None:
    seeds = itertools.count()

    @workflow
    async def sometimes() -> str:
        if next(seeds) == 0:
            await ship.run("first")
        return await ship.run("last") + str(await wait_for_signal("go"))

    handle = await sometimes.queue()

    with pytest.raises(NonDeterminism, match=r"sometimes .* does not follow its history"):
        await currant_worker.result(handle)


async def test_long_run_is_checked_too(currant_worker: Environment) -> None:
    rounds: list[int] = []

    @workflow
    async def long() -> int:
        rounds.append(1)
        for number in range(100):
            await ship.run(f"number {number}" if number < 90 else f"round {len(rounds)}")
        return 100

    with pytest.raises(NonDeterminism, match="round"):
        await currant_worker.run(long)

    # Far less often than there are steps.
    assert 50 < len(rounds) < 100


def test_what_was_only_drained_is_found_when_the_test_ends(currant_db: str) -> None:
    seeds = itertools.count()

    @workflow
    async def ship_numbered() -> str:
        await ship.run(f"number {next(seeds)}")
        return str(await wait_for_signal("go"))

    environment = Environment(currant_db)
    environment.__enter__()
    ship_numbered.queue_sync()
    environment.drain_sync()

    with pytest.raises(NonDeterminism, match="number"):
        environment.__exit__(None, None, None)


def test_blocked_workflow_is_told_when_the_test_ends(currant_db: str) -> None:
    seeds = itertools.count()

    @workflow
    async def ship_all() -> str:
        if next(seeds):
            await asyncio.sleep(1)
        return await ship.run("a")

    environment = Environment(currant_db)
    environment.__enter__()
    ship_all.queue_sync()
    environment.drain_sync()

    with pytest.raises(NonDeterminism, match="produced timer #1"):
        environment.__exit__(None, None, None)


async def test_test_that_knows_is_not_told_again(currant_db: str) -> None:
    seeds = itertools.count()

    @workflow
    async def ship_all(items: list[str]) -> list[str]:
        swapped = items[::-1] if next(seeds) % 2 else items
        return [await ship.run(item) for item in swapped]

    async with Environment(currant_db) as environment:
        with pytest.raises(NonDeterminism):
            await environment.run(ship_all, ["a", "b"])


async def test_replay_against_the_code_as_it_is(currant_worker: Environment) -> None:
    @workflow(name="kit.changing")
    async def first() -> str:
        return await ship.run("a")

    handle = await first.queue()
    await currant_worker.result(handle)
    await currant_worker.replay(handle)

    @workflow(name="kit.changing")
    async def second() -> str:
        return await ship.run("b")

    with pytest.raises(NonDeterminism, match=r"kit\.changing"):
        await currant_worker.replay(handle)


def test_ended_run_is_checked_against_the_code_that_ran_it(currant_worker: Environment) -> None:
    @workflow(name="kit.rewritten")
    async def first() -> str:
        return await ship.run("a")

    currant_worker.run_sync(first)

    @workflow(name="kit.rewritten")
    async def second() -> str:
        return await ship.run("b")

    assert currant_worker.run_sync(second) == "b"
