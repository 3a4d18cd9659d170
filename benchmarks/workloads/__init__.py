"""What is measured; a module each, with a `WORKLOAD`, in the order of the report."""

from __future__ import annotations

import importlib
from typing import Final

from benchmarks.workloads.base import Workload

NAMES: Final = (
    "drain",
    "enqueue",
    "pickup",
    "steps",
    "sustained",
    "growth",
    "vacuum",
    "cost",
    "scaling",
)


def load(name: str) -> Workload:
    """One of them."""
    workload: Workload = importlib.import_module(f"benchmarks.workloads.{name}").WORKLOAD
    return workload
