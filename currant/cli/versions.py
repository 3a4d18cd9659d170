"""The versions command: which versions of changed code the open runs follow."""

from collections.abc import Iterator, Sequence

import click

from currant import database
from currant.cli.inspection import document, json_option
from currant.cli.render import Column, Screen, short_ids
from currant.cli.session import FAILED, Session, command, complain, pass_session
from currant.models import WorkflowVersion

_UNRECORDED = (
    "Runs that have not recorded a change have yet to come to it,",
    "or went past before it was there and follow its oldest version.",
)


@command()
@click.argument("change", metavar="[CHANGE]", required=False)
@click.option(
    "--function",
    "functions",
    metavar="NAME",
    multiple=True,
    help="Only runs of this workflow, the one that has the change; may be repeated.",
)
@json_option
@pass_session
def versions(session: Session, change: str | None, functions: Sequence[str], as_json: bool) -> int:
    """Show which versions of changed code open workflows follow.

    CHANGE is what get_version() is called with; with it, exits with 1 as long as open runs may need
    more than one version of it. If none has recorded it, that may be any: --function says which.
    """
    with session.connection() as connection:
        found = database.run_sync(connection, database.workflow_versions())
    if functions:
        found = [row for row in found if row.function in functions]
    if change is not None and all(row.change_id != change for row in found):
        # Old code that nobody needs looks just like a name that nobody ever used.
        complain(f"no open run has recorded {change!r}: is it spelled as in get_version()?")
    shown = of_change(found, change) if change is not None else of_changes(found)
    screen = Screen()
    if as_json:
        screen.json([document(row) for row in shown])
    elif not shown:
        which = " or ".join(functions)
        screen.line(
            f"no run of {which} is open" if functions else f"no workflow is open{session.place}"
        )
    else:
        _show(screen, shown)
    return FAILED if change is not None and not all(map(_may_go, _by_change(shown))) else 0


def of_changes(found: Sequence[WorkflowVersion]) -> list[WorkflowVersion]:
    """Return the lines of every change; runs without any only where their function has none."""
    changed = {row.function for row in found if row.change_id is not None}
    return [row for row in found if row.change_id is not None or row.function not in changed]


def of_change(found: Sequence[WorkflowVersion], change: str) -> list[WorkflowVersion]:
    """Return the lines of one change.

    If nobody has recorded it, any open run may be before it or past it: each function has a line.
    """
    if recorded := [row for row in found if row.change_id == change]:
        return recorded
    unrecorded: list[WorkflowVersion] = []
    for rows in _by_change(of_changes(found)):
        function = rows[0].function
        # The lines of any change count every run of the function.
        if all(row.function != function for row in unrecorded):
            runs, oldest = sum(row.runs for row in rows), min(row.oldest_id for row in rows)
            unrecorded.append(WorkflowVersion(function, change, None, runs, oldest))
    return unrecorded


def conclusions(shown: Sequence[WorkflowVersion]) -> Iterator[str]:
    """Say of each change of each function whether the code of its older versions may go."""
    for rows in _by_change(shown):
        function, change = rows[0].function, rows[0].change_id
        if change is None:
            yield f"{function}: no open run has recorded a change"
            continue
        newest = max((row.version for row in rows if row.version is not None), default=None)
        if _may_go(rows):
            yield f"{change} of {function}: the code before version {newest} may go"
            continue
        reasons = [
            f"{_runs(row.runs, 'has', 'have')} not recorded it"
            if row.version is None
            else f"{_runs(row.runs, 'follows', 'follow')} version {row.version}"
            for row in rows
            if row.version is None or row.version != newest
        ]
        yield f"{change} of {function}: keep the old code: {', '.join(reasons)}"


def _show(screen: Screen, shown: Sequence[WorkflowVersion]) -> None:
    screen.table(
        (
            Column("FUNCTION", shrinks_to=12),
            Column("CHANGE", shrinks_to=10),
            Column("VERSION"),
            Column("RUNS", is_right=True),
            Column("OLDEST RUN", keep=1, short=short_ids),
        ),
        [
            (
                row.function,
                row.change_id or "",
                "not recorded" if row.version is None else str(row.version),
                f"{row.runs:,}",
                str(row.oldest_id),
            )
            for row in shown
        ],
    )
    screen.line()
    for line in conclusions(shown):
        screen.line(line)
    if any(row.version is None for row in shown):
        screen.line()
        for line in _UNRECORDED:
            screen.line(line, style="dim")


def _by_change(rows: Sequence[WorkflowVersion]) -> list[list[WorkflowVersion]]:
    grouped: dict[tuple[str, str | None], list[WorkflowVersion]] = {}
    for row in rows:
        grouped.setdefault((row.function, row.change_id), []).append(row)
    return list(grouped.values())


def _may_go(rows: Sequence[WorkflowVersion]) -> bool:
    """Tell whether all of them follow the same version, so that no other is needed."""
    return len(rows) == 1 and rows[0].version is not None


def _runs(count: int, one: str, many: str) -> str:
    return f"1 run {one}" if count == 1 else f"{count:,} runs {many}"
