"""What has a deadline, and one timer for all of it."""

from __future__ import annotations

import asyncio
import time

import pytest

from currant.deadlines import Deadlines


class Limited:
    def __init__(self, seconds: float) -> None:
        self.deadline = time.monotonic() + seconds
        self.expired = asyncio.Event()
        self.times = 0

    def expire(self) -> None:
        self.times += 1
        self.expired.set()


@pytest.fixture
def deadlines() -> Deadlines:
    return Deadlines()


async def test_each_expires_at_its_own_deadline_whatever_the_order(deadlines: Deadlines) -> None:
    late, soon, never = Limited(0.03), Limited(0.01), Limited(float("inf"))
    for each in (never, late, soon):
        deadlines.add(each)

    async with asyncio.timeout(5):
        await soon.expired.wait()
        assert time.monotonic() >= soon.deadline
        await late.expired.wait()

    assert time.monotonic() >= late.deadline
    assert (soon.times, late.times, never.times) == (1, 1, 0)


async def test_what_is_over_does_not_expire_and_the_others_still_do(deadlines: Deadlines) -> None:
    over, later = Limited(0), Limited(0.01)
    deadlines.add(over)
    deadlines.add(later)
    deadlines.discard(over)

    async with asyncio.timeout(5):
        await later.expired.wait()

    assert over.times == 0


async def test_one_timer_serves_all_that_have_the_same_timeout(deadlines: Deadlines) -> None:
    loop = asyncio.get_running_loop()
    before = len(loop._scheduled)  # type: ignore[attr-defined]
    for _ in range(100):
        one = Limited(60)
        deadlines.add(one)
        deadlines.discard(one)

    assert len(loop._scheduled) - before == 1  # type: ignore[attr-defined]
