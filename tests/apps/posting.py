"""A small application for the tests of the command line: parcels that are packed and sent."""

import asyncio

from currant import continue_as_new, get_version, side_effect, task, wait_for_signal, workflow

print("posting is being imported")  # as applications do

WEIGH = 2


@task(name="posting.pack", queue="posting", retries=0)
async def pack(parcel: str) -> str:
    if parcel == "broken":
        raise ValueError("it is in pieces")
    if parcel == "heavy":
        await asyncio.sleep(3600)
    return f"packed {parcel}"


@workflow(name="posting.ship", queue="posting")
async def ship(parcel: str) -> str:
    packed = await pack.run(parcel)
    await wait_for_signal("picked up")
    return packed


@workflow(name="posting.send_all", queue="posting")
async def send_all(parcels: list[str]) -> list[str]:
    def choose_van() -> int:
        return 7

    print("workflow code prints")
    side_effect(choose_van)
    get_version("weigh", 1, WEIGH)
    return list(await asyncio.gather(*(ship.run(parcel) for parcel in parcels)))


@workflow(name="posting.count", queue="posting")
async def count(total: int = 0) -> None:
    total += int(await wait_for_signal("more"))
    continue_as_new(total)


@workflow(name="posting.label", queue="posting")
async def label(parcel: str) -> None:
    """Follows the order of a set of texts, which is that of the installation's hash seed."""
    for letter in set("abcdefghij"):
        await pack.run(f"{parcel} {letter}")
