"""A workflow that kills the worker it runs in."""

from __future__ import annotations

import os
import signal

from currant import workflow
from tests.apps import effects as effects  # what goes on all the same


@workflow(queue="work")
async def deadly() -> None:
    """Kill -9 of this process."""
    os.kill(os.getpid(), signal.SIGKILL)
