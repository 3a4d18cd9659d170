"""Tasks that talk to the test through files, and need no database meanwhile."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import currant
from currant import task


class _Files:
    """The file a task waits for, and those by which it says where it is."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._attempt = currant.task_info().attempt
        Path(f"{path}.begun.{self._attempt}").touch()

    def is_there(self) -> bool:
        return Path(self._path).exists()

    def end(self) -> int:
        Path(f"{self._path}.ended.{self._attempt}").touch()
        return self._attempt


@task(queue="work", retry_delay=0)
async def until_file(path: str) -> int:
    """Run until the file is there."""
    files = _Files(path)
    while not files.is_there():  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    return files.end()


@task(queue="work", retry_delay=0)
async def until_file_rudely(path: str) -> int:
    """The same without ever letting anything else run on the event loop."""
    files = _Files(path)
    while not files.is_there():
        time.sleep(0.01)  # noqa: ASYNC251
    return files.end()


@task(queue="work", retry_delay=0)
def until_file_sync(path: str) -> int:
    """The same in a thread."""
    files = _Files(path)
    pause = threading.Event()
    while not files.is_there():
        pause.wait(0.01)
    return files.end()


@task(queue="work")
async def quick(n: int) -> int:
    """Nothing to speak of."""
    return n


@task(queue="work", timeout=0.2, retries=0)
def hang() -> None:
    """Never end."""
    threading.Event().wait()
