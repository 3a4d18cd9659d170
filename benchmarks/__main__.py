"""The command of the benchmark; script/bench runs it in an environment that has the peers."""

from __future__ import annotations

import datetime
import importlib.util
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from benchmarks import campaign, report, results, server, systems, workloads
from benchmarks.environment import HOME


def _names(known: tuple[str, ...]) -> Callable[[Any, Any, str | None], tuple[str, ...]]:
    """A callback that takes names apart, and refuses unknown ones; all if none is given."""

    def chosen(_context: Any, _parameter: Any, text: str | None) -> tuple[str, ...]:
        if text is None:
            return known
        names = [name.strip() for name in text.split(",")]
        for name in names:
            if name not in known:
                raise click.BadParameter(f"{name!r} is none of {', '.join(known)}")
        return tuple(name for name in known if name in names)

    return chosen


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--workloads",
    "chosen_workloads",
    metavar="A,B",
    callback=_names(workloads.NAMES),
    help="Only these.",
)
@click.option(
    "--systems",
    "chosen_systems",
    metavar="A,B",
    callback=_names(systems.NAMES),
    help="Only these.",
)
@click.option(
    "--case",
    "chosen_cases",
    metavar="NAME",
    multiple=True,
    help="Only cases of this name; may be repeated.",
)
@click.option(
    "--variant",
    "chosen_variants",
    metavar="NAME",
    multiple=True,
    help="Only this of a system's variants, if it has it; may be repeated.",
)
@click.option(
    "--size",
    type=click.Choice(["smoke", "quick", "full"]),
    default="quick",
    show_default=True,
    help="How much of it.",
)
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    help="How often everything is run; otherwise once, and 5 times at full size.",
)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="The directory for results.json, results.md, summary.md and the plots.",
)
@click.option("--postgres", metavar="MAJOR", help="Of the system's servers this; or `embedded`.")
@click.option(
    "--python", metavar="PATH", help="For all systems; otherwise the newest (read by script/bench)."
)
@click.option("--list", "is_list", is_flag=True, help="Say what there is, and end.")
@click.option(
    "--report",
    "old",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    help="Run nothing: write the report of such a results.json; of several, all their workloads.",
)
def main(
    *,
    chosen_workloads: tuple[str, ...],
    chosen_systems: tuple[str, ...],
    chosen_cases: tuple[str, ...],
    chosen_variants: tuple[str, ...],
    size: str,
    rounds: int | None,
    output: Path | None,
    postgres: str | None,
    python: str | None,
    is_list: bool,
    old: tuple[Path, ...],
) -> None:
    """Compare Currant with other durable queues and workflow engines of Python."""
    if is_list:
        _list()
        return
    name = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d-%H%M")
    directory = output or HOME / "results" / name
    directory.mkdir(parents=True, exist_ok=True)
    if old:
        write(results.merged([results.load(path) for path in old]), directory)
        return
    # Ended from outside, servers and workers are ended too, and the report is written.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    plan = campaign.Plan(
        workloads=chosen_workloads,
        systems=chosen_systems,
        size=size,
        rounds=rounds or {"smoke": 1, "quick": 1, "full": 5}[size],
        cases=chosen_cases,
        variants=chosen_variants,
    )
    with server.running(server.find_installation(postgres)) as running:
        found = execute(plan, running, directory)
    failures = sum(record.failure is not None for record in found.records)
    click.echo(f"{len(found.records)} runs, {failures} failed: {directory}", err=True)


def execute(plan: campaign.Plan, running: server.Server, directory: Path) -> results.Results:
    """Run the plan; what has been found by then is on disk at any time."""
    logs = directory / "logs"
    logs.mkdir(exist_ok=True)
    one = campaign.Campaign(plan, running, logs=logs, say=lambda line: click.echo(line, err=True))
    found = one.results()
    try:
        for record in one.records():
            found.records.append(record)
            found.save(directory / "results.json")
    except KeyboardInterrupt:
        click.echo("interrupted; this is the report of what has run", err=True)
    write(found, directory)
    if not any(logs.iterdir()):
        logs.rmdir()
    return found


def write(found: results.Results, directory: Path) -> None:
    """Write the report."""
    found.save(directory / "results.json")
    (directory / "results.md").write_text(report.markdown(found))
    (directory / "summary.md").write_text(report.summary(found))
    if importlib.util.find_spec("matplotlib") is None:
        click.echo("no matplotlib, so no plots", err=True)
        return
    from benchmarks import plots

    plots.draw(found, directory)


def _list() -> None:
    for name in systems.NAMES:
        try:
            system = systems.load(name)
            version = system.version()
        except Exception as error:
            click.echo(f"{name:<14} cannot be used: {error}")
            continue
        click.echo(
            f"{name:<14} {version:<10} {', '.join(system.variants):<16} "
            f"{', '.join(sorted(system.capabilities))}"
        )
    for name in workloads.NAMES:
        try:
            workload = workloads.load(name)
        except ModuleNotFoundError:
            continue
        click.echo(f"\n{name}: {workload.title}")
        for case, parameters in workload.cases["full"].items():
            click.echo(f"  {case}: {dict(parameters)}")


if __name__ == "__main__":
    main()
