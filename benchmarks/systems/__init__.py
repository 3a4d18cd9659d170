"""The systems that are compared, in the order of the tables."""

from __future__ import annotations

import importlib
from typing import Final

from benchmarks.systems.base import System

NAMES: Final = (
    "currant",
    "pgqueuer",
    "oban",
    "awa",
    "procrastinate",
    "absurd",
    "dbos",
    "celery",
)


def load(name: str) -> type[System]:
    """The class of a system; it is the one in its module that has its name."""
    module = importlib.import_module(f"benchmarks.systems.{name}")
    for value in vars(module).values():
        if isinstance(value, type) and issubclass(value, System) and value is not System:
            return value
    raise LookupError(f"no system in {module.__name__}")
