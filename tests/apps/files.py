"""A task that talks to the test through files, and needs no database meanwhile."""

from __future__ import annotations

import asyncio
from pathlib import Path

import currant
from currant import task


@task(queue="work", retry_delay=0)
async def wait_for_file(path: str) -> int:
    """Run until the file is there."""
    info = currant.task_info()
    Path(f"{path}.{info.id}.begun").touch()
    while not Path(path).exists():  # noqa: ASYNC110, ASYNC240
        await asyncio.sleep(0.01)
    Path(f"{path}.{info.id}.ended").touch()
    return info.attempt
