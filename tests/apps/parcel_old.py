"""A service before a deployment; `parcel_new` is what it becomes."""

from __future__ import annotations

import currant
from currant import task, workflow


@task(queue="work", retry_delay=0)
async def do(what: str) -> str:
    """A step."""
    return what


@workflow(queue="work")
async def parcel(name: str) -> list[str]:
    """Pack, wait for the money, send."""
    done = [await do.run(f"pack {name}")]
    await currant.wait_for_signal("paid")
    done.append(await do.run(f"send {name}"))
    return done


@workflow(queue="work")
async def label(name: str) -> str:
    """Something that a parcel has."""
    await currant.wait_for_signal("printed")
    return await do.run(f"label {name} by the old")


@workflow(queue="work")
async def tour(stops: list[str]) -> list[str]:
    """Labels for some parcels, one after the other."""
    found = []
    for stop in stops:
        await currant.wait_for_signal("next")
        found.append(await label.options(key=stop).run(stop))
    return found


@workflow(queue="work")
async def rounds(left: int, done: list[str]) -> list[str]:
    """Round after round, each a run of its own."""
    await currant.wait_for_signal("round")
    done = [*done, await do.run("old round")]
    if left > 1:
        currant.continue_as_new(left - 1, done)
    return done
