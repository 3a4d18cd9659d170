"""Tasks that show how a worker process ends."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import currant
from currant import task


def _begin(path: str) -> Path:
    Path(f"{path}.begun.{currant.task_info().attempt}").touch()
    return Path(path)


@task(queue="work", retry_delay=0)
async def until_file(path: str) -> int:
    """Run until the file is there."""
    file = _begin(path)
    while not file.exists():
        await asyncio.sleep(0.01)
    return currant.task_info().attempt


@task(queue="work", retry_delay=0)
def until_file_sync(path: str) -> int:
    """The same in a thread."""
    file = _begin(path)
    while not file.exists():
        threading.Event().wait(0.01)
    return currant.task_info().attempt


@task(queue="work")
async def quick(n: int) -> int:
    """Nothing to speak of."""
    return n


@task(queue="work", timeout=0.2, retries=0)
def hang() -> None:
    """Never end."""
    threading.Event().wait()
