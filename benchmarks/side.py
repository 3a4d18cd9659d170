"""One role of one system in a process of its own.

    python -m benchmarks.side SYSTEM VARIANT ROLE JSON

    prepare  {"url"}                                put the schema into an empty database
    work     {"url", "concurrency", "queues"}       be a worker until SIGTERM
    call     {"url", "connections", "function", "arguments"}
             be a client: await `function(system, **arguments)`, given as "module:name"

Prints JSON, a line each: {"ready": true} when it begins, and in the end {"result": …,
"cpu_seconds": of this process and its children}. Whatever else is printed goes to stderr.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from benchmarks import stamps, systems
from benchmarks.systems.base import System


class Reporter:
    """Keeps standard output for ourselves: libraries print what they like."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w")
        os.set_inheritable(self._out.fileno(), False)
        os.dup2(2, 1)

    def say(self, **values: Any) -> None:
        """One line."""
        self._out.write(json.dumps(values) + "\n")
        self._out.flush()


class _Stopped(BaseException):
    """A worker was stopped before it had begun."""


def _stop(_number: int, _frame: object) -> None:
    raise _Stopped


def _call(system: System, given: Mapping[str, Any], reporter: Reporter) -> Any:
    module, _, name = given["function"].partition(":")
    function = getattr(importlib.import_module(module), name)

    async def main() -> Any:
        async with system.client(given["connections"]):
            reporter.say(ready=True)
            return await function(system, **given["arguments"])

    return system.run_client(main)


def main() -> None:
    """Play the role."""
    reporter = Reporter()
    name, variant, role, text = sys.argv[1:]
    given = json.loads(text)
    system = systems.load(name)(given["url"], variant)
    result = None
    match role:
        case "prepare":
            system.prepare()
        case "work":
            # Until the system has its own handler, for a worker that others leave nothing to do.
            signal.signal(signal.SIGTERM, _stop)
            with suppress(_Stopped):
                system.work(
                    concurrency=given["concurrency"],
                    queues=given["queues"],
                    ready=lambda: reporter.say(ready=True),
                )
        case "call":
            result = _call(system, given, reporter)
        case _:
            raise SystemExit(f"no such role: {role}")
    stamps.flush()
    reporter.say(result=result, cpu_seconds=cpu_seconds())


def cpu_seconds() -> float:
    """What this process and its ended children have used."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


if __name__ == "__main__":
    main()
