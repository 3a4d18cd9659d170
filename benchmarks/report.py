"""The results as Markdown: a summary, a table for each workload, what failed, and what ran."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from benchmarks.results import Cell, Results, SystemInfo, cell, is_able

_HOW_TO_READ = """\
Each figure is the median of {rounds}; ± is half the distance between the least and the most.
In brackets: how many times better Currant was than that, in the same round (median of the rounds'
ratios): twice the rate, or half the time, is 2×. Below 1× Currant was worse. Best in bold.
A dash: the system cannot do it."""


def markdown(results: Results) -> str:
    """The whole report."""
    parts = [
        f"# Benchmark of {results.date}",
        _circumstances(results),
        _how_to_read(results),
        "## Summary",
        _summary_table(results),
    ]
    for name, workload in results.workloads.items():
        parts += [f"## {workload.title}", workload.description]
        parts += [_parameters(workload.cases), _workload_table(results, name)]
        parts += [
            f"![{workload.title}]({name}-{number}.svg)"
            for number, _ in enumerate(workload.plots, 1)
        ]
    parts += ["## What failed", _failures(results)]
    parts += ["## What ran", _systems(results.systems.values())]
    return "\n\n".join(part for part in parts if part) + "\n"


def summary(results: Results) -> str:
    """One table."""
    return "\n\n".join([_summary_table(results), _circumstances(results)]) + "\n"


def machine_line(results: Results) -> str:
    """The machine and the server in a few words."""
    machine = results.machine
    return (
        f"{machine['cores']} cores of {machine['processor']}, {machine['memory_gb']:.0f} GB, "
        f"fdatasync {machine['fdatasync_ms']:.2g} ms ({machine['filesystem']}), "
        f"PostgreSQL {results.server['version']}, Python {machine['python']}"
    )


def _circumstances(results: Results) -> str:
    settings = ", ".join(f"{name} = {value}" for name, value in results.server["settings"].items())
    foreign = [record.foreign_share for record in results.records if record.failure is None]
    stolen = [record.stolen_share for record in results.records]
    disturbed = ""
    if foreign:
        disturbed = (
            f" Of the processors' time, processes other than the benchmark's took "
            f"{statistics.median(foreign):.1%} (at most {max(foreign):.0%} during one run), "
            f"other machines of the host {statistics.median(stolen):.1%} "
            f"(at most {max(stolen):.0%})."
        )
    return (
        f"{results.date}, Currant at {results.commit}, size {results.size}, "
        f"{rounds(results)}. {machine_line(results)}, {results.machine['system']}"
        f"{', a virtual machine' if results.machine['is_virtual'] else ''}. "
        f"Settings of the server: {settings}; all else as it comes, so all is "
        f"durable.{disturbed}"
    )


def _how_to_read(results: Results) -> str:
    return _HOW_TO_READ.format(rounds=rounds(results))


def rounds(results: Results) -> str:
    """How many there were."""
    return f"{results.rounds} round{'s' if results.rounds > 1 else ''}"


def _summary_table(results: Results) -> str:
    columns = [
        (name, case, metric)
        for name, workload in results.workloads.items()
        for case, metric in workload.headline
        if case in workload.cases
    ]
    return _table(results, columns, is_across=True) if columns else ""


def _workload_table(results: Results, name: str) -> str:
    workload = results.workloads[name]
    columns = [
        (name, case, metric)
        for case in workload.cases
        for metric in workload.metrics
        if any(
            record.figures.get(metric) is not None
            for record in results.records
            if (record.workload, record.case) == (name, case)
        )
    ]
    return _table(results, columns, is_across=False)


def _table(results: Results, columns: Sequence[tuple[str, str, str]], *, is_across: bool) -> str:
    """Systems down, figures across.

    Args:
        is_across: the columns are of several workloads, which their titles then name.
    """
    rows = [["system", *(_column_title(results, column, is_across) for column in columns)]]
    rows.append(["---", *("--:" for _ in columns)])
    everyone = [who for who in results.variants if _has_run(results, who, columns)]
    cells = {(who, column): cell(results, *column, who) for who in everyone for column in columns}
    best = {column: _best(results, column, cells) for column in columns}
    for who in everyone:
        shown = [
            _shown(cells[who, column], is_best=best[column] == who)
            if is_able(results, *column[:2], who)
            else "–"
            for column in columns
        ]
        rows.append([_row_title(results, who), *shown])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _has_run(
    results: Results, who: tuple[str, str], columns: Iterable[tuple[str, str, str]]
) -> bool:
    cases = {(workload, case) for workload, case, _ in columns}
    return any(
        (record.system, record.variant) == who and (record.workload, record.case) in cases
        for record in results.records
    )


def _best(
    results: Results,
    column: tuple[str, str, str],
    cells: dict[tuple[tuple[str, str], tuple[str, str, str]], Cell],
) -> tuple[str, str] | None:
    found = {
        who: one.median
        for (who, its_column), one in cells.items()
        if its_column == column and one.median is not None
    }
    if not found:
        return None
    more_is_better = results.workloads[column[0]].metrics[column[2]].more_is_better
    return (max if more_is_better else min)(found, key=lambda who: found[who])


def _column_title(results: Results, column: tuple[str, str, str], is_across: bool) -> str:
    name, case, metric = column
    info = results.workloads[name].metrics[metric]
    words = [f"{name}:" if is_across else "", case]
    words += [f"{info.title}" if info.title else "", info.unit]
    return " ".join(word for word in words if word)


def _row_title(results: Results, who: tuple[str, str]) -> str:
    name, variant = who
    info = results.systems[name]
    if list(info.variants) == ["default"]:
        return info.title
    return f"{info.title}, {variant}"


def _shown(one: Cell, *, is_best: bool) -> str:
    if one.median is None:
        return "failed" if one.failures else "not run"
    text = number(one.median)
    if is_best:
        text = f"**{text}**"
    if one.rounds - len(one.failures) > 1:
        text += f" ±{one.spread:.0%}"
    if one.advantage is not None:
        text += f" ({number(one.advantage)}×)"
    if one.failures:
        text += f", {len(one.failures)} of {one.rounds} failed"
    return text


def number(value: float) -> str:
    """Three significant digits or all that are before the point."""
    if value == 0:
        return "0"
    digits = 0
    while digits < 4 and abs(value) * 10**digits < 100:
        digits += 1
    return f"{value:,.{digits}f}"


def _parameters(cases: dict[str, dict[str, object]]) -> str:
    lines = []
    for name, case in cases.items():
        shown = ", ".join(f"{key} {value}" for key, value in case.items() if key != "needs")
        lines.append(f"- *{name}*: {shown.replace('_', ' ')}")
    return "\n".join(lines)


def _failures(results: Results) -> str:
    lines = [f"- {name} could not be used: {why}" for name, why in results.unusable.items()]
    lines += [
        f"- {record.workload}, {record.case}: {record.system} {record.variant}, "
        f"round {record.round + 1}: {record.failure}"
        for record in results.records
        if record.failure is not None
    ]
    return "\n".join(lines) or "Nothing."


def _systems(systems: Iterable[SystemInfo]) -> str:
    lines = []
    for one in systems:
        notes = f": {one.notes}" if one.notes else ""
        lines.append(f"- **{one.title} {one.version}**{notes}")
        for variant, settings in one.variants.items():
            if settings:
                shown = ", ".join(f"{key} = {value}" for key, value in settings.items())
                lines.append(f"  - {variant}: {shown}")
    return "\n".join(lines)
