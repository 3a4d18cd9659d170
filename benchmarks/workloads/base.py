"""The shape of a workload, and what its figures mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from benchmarks.runs import Run

Case = Mapping[str, Any]


class Metric(msgspec.Struct, frozen=True):
    """One of the figures.

    Args:
        unit: such as "/s" or "ms".
        more_is_better: for the reading of ratios.
        title: in the report, beside the case; empty where the case says it all.
    """

    unit: str
    more_is_better: bool
    title: str = ""


RATE = Metric("/s", more_is_better=True)
MILLISECONDS = Metric("ms", more_is_better=False)


class Bars(msgspec.Struct, frozen=True, tag="bars"):
    """A plot with a bar for each system.

    Args:
        metric: its length.
        cases: a panel each.
    """

    metric: str
    cases: Sequence[str]


class Lines(msgspec.Struct, frozen=True, tag="lines"):
    """A plot with a line for each system, over the cases.

    Args:
        metric: y.
        x: the parameter of the cases that is x.
        label: what x is.
    """

    metric: str
    x: str
    label: str


class Series(msgspec.Struct, frozen=True, tag="series"):
    """A plot with a line for each system, from pairs of (x, y) that `measure` has returned.

    Args:
        figure: their name among the figures.
        case: of which case.
        labels: what x and y are.
    """

    figure: str
    case: str
    labels: tuple[str, str]


Plot = Bars | Lines | Series


@dataclass(frozen=True)
class Workload:
    """Something to measure, alike with every system that can do it.

    Args:
        name: as on the command line; the name of the module.
        title: for the report.
        needs: the capabilities it takes; a system's service counts as one.
        cases: for "smoke", "quick" and "full", what is run: parameters by the name of the case.
            Each run of a case has a database of its own. A parameter "needs" lists further
            capabilities that this case takes.
        measure: gives the figures by the names of `metrics`, or more.
        metrics: what the report shows.
        headline: (case, metric) for the summary, if any.
        plots: for the report.
    """

    name: str
    title: str
    needs: frozenset[str]
    cases: Mapping[str, Mapping[str, Case]]
    measure: Callable[[Run, Case], Mapping[str, Any]]
    metrics: Mapping[str, Metric]
    headline: Sequence[tuple[str, str]] = ()
    plots: Sequence[Plot] = ()
