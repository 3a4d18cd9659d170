"""The shape of a workload, and what its figures mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.runs import Run

Case = Mapping[str, Any]


@dataclass(frozen=True)
class Metric:
    """One of the figures.

    Args:
        unit: such as "/s" or "ms".
        more_is_better: for the reading of ratios.
    """

    unit: str
    more_is_better: bool


RATE = Metric("/s", more_is_better=True)
MILLISECONDS = Metric("ms", more_is_better=False)


@dataclass(frozen=True)
class Workload:
    """Something to measure, alike with every system that can do it.

    Args:
        name: as on the command line; the name of the module.
        title: for the report.
        needs: the capabilities it takes.
        cases: for "smoke", "quick" and "full", what is run: parameters by the name of the case.
            Each run of a case has a database of its own.
        measure: gives the figures by the names of `metrics`, or more.
        metrics: what the report shows.
        headline: (case, metric) for the summary, if any; case as in "full" and "quick".
    """

    name: str
    title: str
    needs: frozenset[str]
    cases: Mapping[str, Mapping[str, Case]]
    measure: Callable[[Run, Case], Mapping[str, Any]]
    metrics: Mapping[str, Metric]
    headline: Sequence[tuple[str, str]] = ()
