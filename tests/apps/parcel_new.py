"""The service of `parcel_old` after a deployment; both run side by side for a while."""

from __future__ import annotations

import currant
from currant import task, workflow


@task(queue="work", retry_delay=0)
async def do(what: str) -> str:
    """A step."""
    return what


@task(queue="work", retry_delay=0)
async def insure(name: str) -> str:
    """A step that the old code did not have."""
    return f"insure {name}"


@workflow(queue="work", version=2)
async def parcel(name: str) -> list[str]:
    """Weighed before it is packed, insured before it is sent."""
    done = []
    if currant.get_version("weigh", 1, 2) == 2:
        done.append(await do.run(f"weigh {name}"))
    done.append(await do.run(f"pack {name}"))
    await currant.wait_for_signal("paid")
    if currant.get_version("insure", 1, 2) == 2:
        done.append(await insure.run(name))
    done.append(await do.run(f"send {name}"))
    return done


@workflow(queue="work", version=2)
async def label(name: str) -> str:
    """Something that a parcel has."""
    author = "the new" if currant.get_version("print", 1, 2) == 2 else "the old"
    await currant.wait_for_signal("printed")
    return await do.run(f"label {name} by {author}")


@workflow(queue="work", version=2)
async def tour(stops: list[str]) -> list[str]:
    """Labels for some parcels, one after the other."""
    found = []
    for stop in stops:
        await currant.wait_for_signal("next")
        found.append(await label.options(key=stop).run(stop))
    return found


@workflow(queue="work", version=2)
async def rounds(left: int, done: list[str]) -> list[str]:
    """Round after round, each a run of its own."""
    round_ = "new round" if currant.get_version("round", 1, 2) == 2 else "old round"
    await currant.wait_for_signal("round")
    done = [*done, await do.run(round_)]
    if left > 1:
        currant.continue_as_new(left - 1, done)
    return done


@workflow(queue="work")
async def refund(name: str) -> str:
    """Something that only the new code can do."""
    return await insure.run(name)
