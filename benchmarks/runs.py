"""One run: one system in one variant does one case of a workload, on a database of its own."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import orphans, stamps
from benchmarks.server import Server
from benchmarks.systems.base import QUEUE, System, step_number

TOP = Path(__file__).resolve().parents[1]
_POLL_SECONDS = 0.01
_READY_SECONDS = 60.0
_STOP_SECONDS = 60.0
_CALL_SECONDS = 1800.0


class Failed(Exception):
    """This run has no figures: the reason."""


class WrongResult(Failed):
    """Something ran more than once, or not at all, or did not end well."""


@dataclass(frozen=True)
class End:
    """When a run was seen to have ended, or its time was up.

    Attributes:
        at: `time.monotonic_ns` after the look that saw it.
        remaining: how many had not durably ended.
    """

    at: int
    remaining: int


class Side:
    """A process that plays one role of a system; `benchmarks.side` is its other end."""

    def __init__(self, command: Sequence[str], stamps_directory: Path, log: Path) -> None:
        self._log = log
        self.cpu_seconds = 0.0
        with log.open("ab") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.side", *command],
                cwd=TOP,
                env={**os.environ, stamps.DIRECTORY: str(stamps_directory), "PYTHONHASHSEED": "0"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                preexec_fn=orphans.end_with_parent,
            )
        assert self._process.stdout is not None
        self._out = self._process.stdout
        self.pid = self._process.pid

    def until_ready(self, seconds: float = _READY_SECONDS) -> None:
        """Wait until it says that it begins.

        Raises:
            Failed: it ends, or takes too long.
        """
        self._line(seconds)

    def result(self, seconds: float = _CALL_SECONDS) -> Any:
        """Wait until it ends well; what its function has returned.

        Raises:
            Failed: it does not.
        """
        while "result" not in (line := self._line(seconds)):
            pass
        self.cpu_seconds = line["cpu_seconds"]
        try:
            code = self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise Failed("its process does not end") from None
        if code != 0:
            raise Failed(f"ended with {code}: {self._last_words()}")
        return line["result"]

    def stop(self) -> None:
        """Ask a worker to finish, with SIGTERM, and wait until it has.

        Raises:
            Failed: it does not.
        """
        self._process.send_signal(signal.SIGTERM)
        self.result(_STOP_SECONDS)

    def kill(self) -> None:
        """End it and all that it has started, if it still runs."""
        if self._process.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()
        self._out.close()

    def _line(self, seconds: float) -> Any:
        with selectors.DefaultSelector() as selector:
            selector.register(self._out, selectors.EVENT_READ)
            if not selector.select(seconds):
                raise Failed(f"silent for {seconds:.0f} s: {self._last_words()}")
        line = self._out.readline()
        if not line:
            raise Failed(f"ended with {self._process.wait()}: {self._last_words()}")
        return json.loads(line)

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return lines[-1].strip() if lines else "it said nothing"


class Run:
    """What a workload gets: a system, a fresh database, and processes to start.

    Attributes:
        system: the driver's instance, to ask what is left.
        url: of the database, or of Redis.
        size: "smoke", "quick" or "full".
        server: the Postgres server, for its counters; runs on Redis have it too.
    """

    def __init__(
        self, system: System, *, size: str, server: Server, directory: Path, log: Path
    ) -> None:
        self.system = system
        self.url = system.url
        self.size = size
        self.server = server
        self.log = log
        self._stamps = directory
        self._sides = ExitStack()
        self._found: dict[int, list[int]] | None = None

    def close(self) -> None:
        """End every process that is left."""
        self._sides.close()
        self.system.close()

    # --- Processes

    def start_call(
        self, function: str, arguments: Mapping[str, Any], *, connections: int = 1
    ) -> Side:
        """Start a client that awaits `function(system, **arguments)`.

        Args:
            function: "module:name".
            arguments: what JSON can carry.
            connections: that the client opens before.
        """
        return self._start(
            "call", connections=connections, function=function, arguments=dict(arguments)
        )

    def call(self, function: str, arguments: Mapping[str, Any], *, connections: int = 1) -> Any:
        """`start_call`, and wait for the result."""
        return self.start_call(function, arguments, connections=connections).result()

    def enqueue_many(self, count: int, *, first: int = 0, **options: Any) -> float:
        """Enqueue many tasks, numbered from `first`; the seconds it took."""
        arguments = {"first": first, "count": count, **options}
        return float(self.call("benchmarks.clients:enqueue_many", arguments))

    def start_worker(self, *, concurrency: int, queues: Sequence[str] = (QUEUE,)) -> Side:
        """Start a worker that ends at the latest with the run."""
        worker = self._start("work", concurrency=concurrency, queues=list(queues))
        worker.until_ready()
        return worker

    @contextmanager
    def workers(
        self, count: int = 1, *, concurrency: int, queues: Sequence[str] = (QUEUE,)
    ) -> Iterator[list[Side]]:
        """Workers, a process each, that are stopped in the end; stamps can be read after that."""
        workers = [
            self._start("work", concurrency=concurrency, queues=list(queues)) for _ in range(count)
        ]
        for worker in workers:
            worker.until_ready()
        yield workers
        for worker in workers:
            worker.stop()

    def _start(self, role: str, **given: Any) -> Side:
        text = json.dumps({"url": self.url, **given})
        command = [self.system.name, self.system.variant, role, text]
        side = Side(command, self._stamps, self.log)
        self._sides.callback(side.kill)
        self._found = None
        return side

    # --- What has happened

    def until_ended(self, limit_seconds: float, *, poll_seconds: float = _POLL_SECONDS) -> End:
        """Wait until SQL shows that everything has durably ended, or the time is up."""
        limit = time.monotonic_ns() + int(limit_seconds * 1e9)
        while True:
            is_pending = self.system.is_pending()
            at = time.monotonic_ns()
            if not is_pending or at > limit:
                remaining = self.system.remaining()
                if remaining == 0 or at > limit:
                    return End(at, remaining)
            time.sleep(poll_seconds)

    def stamps(self) -> dict[int, list[int]]:
        """When each number ran, once the workers have ended."""
        if self._found is None:
            self._found = stamps.read(self._stamps)
        return self._found

    def first_stamp(self) -> int:
        """When the first function was called."""
        if not self.stamps():
            raise Failed("nothing ran")
        return min(times[0] for times in self.stamps().values())

    def check_tasks(self, numbers: Iterable[int], end: End | None = None) -> int:
        """Check that each of these ran once and ended well; how many had ended by the end.

        Where the time was up, those that had not ended need not have run.

        Raises:
            WrongResult: it is not so.
        """
        wanted = set(numbers)
        remaining = 0 if end is None else end.remaining
        found = self.stamps()
        repeated = [number for number, times in found.items() if len(times) > 1]
        if repeated:
            raise WrongResult(f"{len(repeated)} ran more than once, such as {repeated[0]}")
        if unknown := found.keys() - wanted:
            raise WrongResult(f"{len(unknown)} ran that nobody had enqueued")
        if len(found) < len(wanted) - remaining:
            raise WrongResult(f"{len(wanted)} enqueued, {remaining} left, but {len(found)} ran")
        if failed := self.system.failed():
            raise WrongResult(f"{failed} did not end well")
        return len(wanted) - remaining

    def check_steps(self, workflows: int, steps: int, end: End | None = None) -> int:
        """The same for workflows numbered from 0; how many workflows had ended by the end.

        Raises:
            WrongResult: it is not so.
        """
        remaining = 0 if end is None else end.remaining
        if remaining == 0:
            numbers = (step_number(n, step) for n in range(workflows) for step in range(steps))
            self.check_tasks(numbers)
        elif len(self.stamps()) < (workflows - remaining) * steps:
            raise WrongResult(f"{workflows - remaining} ended, but {len(self.stamps())} steps ran")
        return workflows - remaining


def prepare(system_class: type[System], variant: str, url: str, log: Path) -> None:
    """Put a system's schema into an empty database, in a process of its own.

    Raises:
        Failed: it cannot.
    """
    with tempfile.TemporaryDirectory(prefix="currant-stamps-") as directory:
        command = [system_class.name, variant, "prepare", json.dumps({"url": url})]
        side = Side(command, Path(directory), log)
        try:
            side.result()
        finally:
            side.kill()
