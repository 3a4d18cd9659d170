"""Lines about what went well: each while they are few, then a count."""

from __future__ import annotations

import asyncio
import logging

import pytest

from currant.loglines import Lines


@pytest.fixture(autouse=True)
def _everything_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="currant")


async def test_a_few_are_all_allowed(caplog: pytest.LogCaptureFixture) -> None:
    lines = Lines()

    assert all(lines.allow("completed f") for _ in range(50))
    lines.flush()
    assert not caplog.messages


async def test_beyond_that_they_are_counted_by_name(caplog: pytest.LogCaptureFixture) -> None:
    lines = Lines()

    allowed = [lines.allow(f"completed {name}") for name in "fg" for _ in range(150)]
    lines.flush()

    assert allowed == [True] * 100 + [False] * 200
    assert caplog.messages == ["completed f 50 more times", "completed g 150 more times"]


async def test_the_count_comes_by_itself_and_the_next_second_begins_anew(
    caplog: pytest.LogCaptureFixture,
) -> None:
    said = asyncio.Event()

    class Told(logging.Handler):
        def emit(self, _: logging.LogRecord) -> None:
            said.set()

    lines = Lines()
    for _ in range(101):
        lines.allow("completed f")

    told = Told()
    logging.getLogger("currant").addHandler(told)
    try:
        async with asyncio.timeout(30):
            await said.wait()
    finally:
        logging.getLogger("currant").removeHandler(told)

    assert caplog.messages == ["completed f 1 more time"]
    assert lines.allow("completed f")


async def test_once_said_it_is_not_said_again(caplog: pytest.LogCaptureFixture) -> None:
    lines = Lines()
    for _ in range(101):
        lines.allow("completed f")

    lines.flush()
    lines.flush()

    assert caplog.messages == ["completed f 1 more time"]
