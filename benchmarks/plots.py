"""The results as pictures, SVG and PNG. Needs matplotlib, which the benchmark's environment has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

from benchmarks.report import machine_line, number, rounds
from benchmarks.results import BASELINE, Cell, Results, cell
from benchmarks.workloads.base import Bars, Lines, Plot, Series

_OURS = "#b3123b"
_DEFAULT = "#9aa5b1"
_TUNED = "#5f6b7a"
_WIDTH = 8.0
# The picture of the README: what most people ask first.
_OVERVIEW = (("drain", "concurrency 100", "rate"), ("steps", "workflows of 5 steps", "rate"))
_STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "currant",
    "figure.dpi": 100,
}


def draw(results: Results, directory: Path) -> None:
    """Draw what the workloads ask for, and an overview, into a directory."""
    with mpl.rc_context(_STYLE):
        for name, workload in results.workloads.items():
            for count, plot in enumerate(workload.plots, 1):
                figure = _draw(results, name, plot)
                if figure is not None:
                    _save(results, figure, directory / f"{name}-{count}")
        panels = [
            one
            for one in _OVERVIEW
            if one[0] in results.workloads and one[1] in results.workloads[one[0]].cases
        ]
        figure = _bars(results, panels, is_best_alone=True)
        if figure is not None:
            _save(results, figure, directory / "overview")


def _draw(results: Results, name: str, plot: Plot) -> Any:
    match plot:
        case Bars(metric=metric, cases=cases):
            known = results.workloads[name].cases
            return _bars(results, [(name, case, metric) for case in cases if case in known])
        case Lines():
            return _lines(results, name, plot)
        case Series():
            return _series(results, name, plot)


def _bars(
    results: Results, panels: Sequence[tuple[str, str, str]], *, is_best_alone: bool = False
) -> Any:
    """A panel below the other.

    Args:
        is_best_alone: of each system only the variant that is better.
    """
    shown = [(panel, cells) for panel in panels if (cells := _cells(results, panel))]
    if is_best_alone:
        shown = [(panel, _best_of_each(cells)) for panel, cells in shown]
    if not shown:
        return None
    heights = [len(cells) for _, cells in shown]
    figure, axes = plt.subplots(
        len(shown),
        1,
        figsize=(_WIDTH, sum(0.26 * height + 0.75 for height in heights)),
        height_ratios=heights,
        squeeze=False,
        layout="constrained",
    )
    for axis, (panel, cells) in zip(axes[:, 0], shown, strict=True):
        _panel(results, axis, panel, cells)
    return figure


def _cells(
    results: Results, panel: tuple[str, str, str]
) -> list[tuple[tuple[str, str], Cell, float]]:
    """Those that have a figure, best first."""
    found = []
    for who in results.variants:
        one = cell(results, *panel, who)
        if one.median is not None:
            found.append((who, one, one.median))
    more_is_better = results.workloads[panel[0]].metrics[panel[2]].more_is_better
    return sorted(found, key=lambda each: each[2], reverse=more_is_better)


def _best_of_each(
    cells: list[tuple[tuple[str, str], Cell, float]],
) -> list[tuple[tuple[str, str], Cell, float]]:
    best: dict[str, tuple[tuple[str, str], Cell, float]] = {}
    for one in cells:
        best.setdefault(one[0][0], one)
    return list(best.values())


def _panel(
    results: Results,
    axis: Any,
    panel: tuple[str, str, str],
    cells: list[tuple[tuple[str, str], Cell, float]],
) -> None:
    workload, case, metric = panel
    info = results.workloads[workload].metrics[metric]
    labels = [_label(results, who) for who, _, _ in cells]
    values = [value for _, _, value in cells]
    errors = [value * one.spread for _, one, value in cells]
    bars = axis.barh(
        labels,
        values,
        xerr=errors if any(errors) else None,
        color=[_colour(who) for who, _, _ in cells],
        error_kw={"elinewidth": 0.8, "ecolor": "#333333"},
    )
    axis.bar_label(bars, [f" {number(value)}" for value in values], padding=2)
    axis.invert_yaxis()
    axis.margins(x=0.12, y=0.02)
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    better = "more is better" if info.more_is_better else "less is better"
    what = " ".join(word for word in (case, info.title) if word)
    axis.set_title(
        f"{results.workloads[workload].title}: {what}, {info.unit} ({better})",
        loc="left",
        fontsize=9,
        fontweight="bold",
    )


def _lines(results: Results, name: str, plot: Lines) -> Any:
    workload = results.workloads[name]
    figure, axis = plt.subplots(figsize=(_WIDTH, 4), layout="constrained")
    is_empty = True
    for who in results.variants:
        points = [
            (parameters[plot.x], one.median, one.spread * one.median)
            for case, parameters in workload.cases.items()
            if plot.x in parameters
            and (one := cell(results, name, case, plot.metric, who)).median is not None
        ]
        if points:
            is_empty = False
            xs, ys, errors = zip(*sorted(points), strict=True)
            axis.errorbar(xs, ys, yerr=errors, label=_label(results, who), **_line_style(who))
    if is_empty:
        plt.close(figure)
        return None
    metric = workload.metrics[plot.metric]
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    axis.yaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    axis.set_xlabel(plot.label)
    axis.set_ylabel(" ".join(word for word in (metric.title, metric.unit) if word))
    axis.set_title(workload.title, loc="left", fontsize=9, fontweight="bold")
    axis.legend(frameon=False, ncols=2)
    return figure


def _series(results: Results, name: str, plot: Series) -> Any:
    figure, axis = plt.subplots(figsize=(_WIDTH, 4), layout="constrained")
    drawn = set()
    for record in results.records:
        points = record.figures.get(plot.figure)
        if (record.workload, record.case) != (name, plot.case) or not points:
            continue
        who = (record.system, record.variant)
        label = None if who in drawn else _label(results, who)
        drawn.add(who)
        axis.plot(*zip(*points, strict=True), label=label, **_line_style(who, marker=""))
    if not drawn:
        plt.close(figure)
        return None
    axis.set_xlabel(plot.labels[0])
    axis.set_ylabel(plot.labels[1])
    axis.set_ylim(bottom=0)
    axis.set_title(
        f"{results.workloads[name].title}: {plot.case}", loc="left", fontsize=9, fontweight="bold"
    )
    axis.legend(frameon=False, ncols=2)
    return figure


def _label(results: Results, who: tuple[str, str]) -> str:
    info = results.systems[who[0]]
    return info.title if list(info.variants) == ["default"] else f"{info.title}, {who[1]}"


def _colour(who: tuple[str, str]) -> str:
    if who[0] == BASELINE[0]:
        return _OURS
    return _DEFAULT if who[1] == "default" else _TUNED


def _line_style(who: tuple[str, str], marker: str = "o") -> dict[str, Any]:
    style: dict[str, Any] = {"marker": marker, "markersize": 3, "linewidth": 1.2}
    if who[0] == BASELINE[0]:
        return style | {"color": _OURS, "linewidth": 2.2, "zorder": 5}
    return style | {"linestyle": "--" if who[1] == "default" else "-"}


def _save(results: Results, figure: Any, path: Path) -> None:
    versions = ", ".join(f"{one.title} {one.version}" for one in results.systems.values())
    foot = (
        f"{results.date}, commit {results.commit}, size {results.size}, {rounds(results)}, "
        f"fsync on. {machine_line(results)}.\n{versions}."
    )
    figure.supxlabel(foot, fontsize=6, color="#666666", x=0.01, ha="left", wrap=True)
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
    figure.savefig(path.with_suffix(".png"), dpi=100)
    plt.close(figure)
