"""`currant worker` as a process of its own, to be stopped, killed and frozen."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

from tests.support.worker_database import Database, until

ROOT = Path(__file__).resolve().parents[2]
_MAIN = "from currant.cli import main; main()"
HEARTBEAT_TIMEOUT = 1.0
QUICK = {
    "CURRANT_WORKER_HEARTBEAT_INTERVAL": "0.2",
    "CURRANT_WORKER_HEARTBEAT_TIMEOUT": str(HEARTBEAT_TIMEOUT),
    "CURRANT_WORKER_POLL_INTERVAL": "0.5",
    "CURRANT_WORKER_STRICT_REPLAY": "1",
    "CURRANT_WORKER_SHUTDOWN_GRACE": "10",
}


class WorkerProcess:
    """A worker of one of the applications in tests/apps.

    Args:
        database: where it works; it is registered there when this returns, unless `is_awaited` is
            false.
        log: the file for what it prints.
        app: the application's module.
        arguments: of `currant worker`.
        environment: variables besides those of a quick worker.
    """

    def __init__(
        self,
        database: Database,
        log: Path,
        app: str,
        *arguments: str,
        environment: Mapping[str, str] = {},
        is_awaited: bool = True,
    ) -> None:
        self._database = database
        self._log = log
        self._is_collected = False
        seed = database.value("select hash_seed from currant.configuration")
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _MAIN, "worker", "--app", app, *arguments],
                cwd=ROOT,
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env={
                    **os.environ,
                    **QUICK,
                    "CURRANT_DATABASE_URL": database.url,
                    # Otherwise it starts itself anew with it.
                    "PYTHONHASHSEED": str(seed % 2**32),
                    **environment,
                },
            )
        if is_awaited:
            self.id: UUID = until(self._registered, self.log)

    @property
    def pid(self) -> int:
        return self.process.pid

    def _registered(self) -> Any:
        assert self.process.poll() is None, self.log()
        return self._database.value(
            "select id from currant.workers where pid = %s and died_at is null", self.pid
        )

    def log(self) -> str:
        """What it has printed."""
        return self._log.read_text()

    def lines(self, part: str) -> list[str]:
        """The lines of its log that contain this."""
        return [line for line in self.log().splitlines() if part in line]

    def kill(self) -> None:
        """Kill -9, and wait until it is gone."""
        self._signal(signal.SIGKILL)
        self.process.wait(10)

    def terminate(self) -> None:
        """Ask it to stop."""
        self._signal(signal.SIGTERM)

    def freeze(self) -> None:
        """Let none of its threads go on."""
        self._signal(signal.SIGSTOP)
        until(lambda: "\nState:\tT" in Path(f"/proc/{self.pid}/status").read_text(), "a stop")

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def wait(self, patience: float = 30) -> int:
        """Wait for its end; its exit code."""
        return self.process.wait(patience)

    def _signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def clean_up(self) -> None:
        """Kill what is still there of it, processes that it started included."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait(10)
