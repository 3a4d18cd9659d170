"""Workers on the test's own event loop: quick to start, and tasks can talk to the test."""

from __future__ import annotations

import asyncio
from typing import Any

from currant.settings import Settings
from currant.worker import Worker

QUICK = {
    "worker_heartbeat_interval": 0.2,
    "worker_heartbeat_timeout": 10.0,
    "worker_poll_interval": 0.5,
    "worker_strict_replay": True,
    "worker_shutdown_grace": 5.0,
}


class InlineWorker:
    """A worker that runs as a task of this event loop."""

    def __init__(self, url: str, *queues: str, **settings: Any) -> None:
        self.settings = Settings(database_url=url, **{**QUICK, **settings})
        self.worker = Worker(self.settings, queues=queues or ("default",))
        self.ended = asyncio.get_running_loop().create_task(self.worker.run())

    async def stop(self) -> int:
        """Stop it as one SIGTERM does; its exit code."""
        self.worker.stop()
        return await self.ended

    async def finish(self) -> None:
        """Stop it at once, whatever it is doing."""
        self.worker.stop()
        self.worker.stop()
        await asyncio.gather(self.ended, return_exceptions=True)
