"""The service of `parcel_new`, deployed by somebody who forgot the parcels on their way."""

from __future__ import annotations

import currant
from currant import task, workflow


@task(queue="work", retry_delay=0)
async def do(what: str) -> str:
    """A step."""
    return what


@task(queue="work", retry_delay=0)
async def insure(name: str) -> str:
    """Another."""
    return f"insure {name}"


@workflow(queue="work", version=2)
async def parcel(name: str) -> list[str]:
    """The old branches are gone."""
    currant.get_version("weigh", 2, 2)
    done = [await do.run(f"weigh {name}"), await do.run(f"pack {name}")]
    await currant.wait_for_signal("paid")
    currant.get_version("insure", 3, 3)
    return [*done, await insure.run(name), await do.run(f"send {name} boldly")]
