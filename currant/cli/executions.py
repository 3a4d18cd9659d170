"""The commands that set something going or change it: enqueue, signal, cancel, retry."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import click
import psycopg

from currant import database
from currant.cli import parameters
from currant.cli.session import FAILED, Session, command, complain, pass_session
from currant.errors import DatabaseUnavailable
from currant.models import Status

_EXECUTIONS = click.argument(
    "executions", metavar="ID...", nargs=-1, required=True, type=parameters.execution_id
)


@command()
@click.argument("function", metavar="NAME")
@click.argument("arguments", metavar="[JSON]", default="{}", type=parameters.json_arguments)
@click.option("-q", "--queue", metavar="NAME", help="Put it in this queue.")
@click.option("--priority", type=int, help="Higher goes first.")
@click.option("--delay", metavar="DURATION", type=parameters.duration, help="Start so much later.")
@click.option("--run-at", metavar="TIME", type=parameters.moment, help="Start then.")
@click.option(
    "--retries", metavar="N", type=click.IntRange(min=0), help="Attempts after the first."
)
@click.option("--timeout", metavar="DURATION", type=parameters.duration, help="Of one attempt.")
@click.option("--key", metavar="TEXT", help="The same key again returns the same execution.")
@click.option("--id", "given_id", metavar="UUID", type=parameters.own_id, help="Its id.")
@click.option(
    "--workflow", "kind", flag_value="workflow", help="It is a workflow that nobody registered yet."
)
@click.option(
    "--options",
    "further",
    metavar="JSON",
    type=parameters.json_object,
    default="{}",
    help='Further options of currant.enqueue(), e.g. \'{"key_scope": "open"}\'.',
)
@pass_session
def enqueue(
    session: Session,
    /,
    function: str,
    arguments: str,
    *,
    run_at: datetime | None,
    given_id: UUID | None,
    further: dict[str, Any],
    **given: Any,
) -> None:
    """Ask for a task or workflow and print its id.

    JSON is an object of named arguments or an array of positional ones; - reads it from standard
    input. The function has to be registered, by a worker or with 'currant register'; else --queue
    says who is to run it.
    """
    named = {
        **given,
        "run_at": run_at and run_at.isoformat(),
        "id": given_id and str(given_id),
    }
    options = {**further, **{name: value for name, value in named.items() if value is not None}}
    with session.connection() as connection:
        execution = database.run_sync(connection, database.enqueue(function, arguments, options))
    click.echo(str(execution))


@command()
@click.argument("words", metavar="[ID] NAME [JSON]", nargs=-1)
@click.option(
    "--to",
    "holder",
    metavar="FUNCTION KEY",
    nargs=2,
    help="Instead of an ID: the run of this workflow that was enqueued with this key.",
)
@click.option(
    "--key",
    metavar="TEXT",
    help="Of the signal: sent again with the same one, it is delivered once.",
)
@click.option(
    "--id",
    "given_id",
    metavar="UUID",
    type=parameters.own_id,
    help="The signal's own id, for the same purpose.",
)
@pass_session
def signal(
    session: Session,
    words: Sequence[str],
    holder: tuple[str, str] | None,
    key: str | None,
    given_id: UUID | None,
) -> None:
    """Send a signal to a workflow. JSON is what it carries; - reads it from standard input."""
    if key is not None and given_id is not None:
        raise click.UsageError("--key and --id do not go together: one of them is enough")
    given = {"key": key, "id": given_id and str(given_id)}
    options = {name: value for name, value in given.items() if value is not None}
    execution, name, payload = _signal_of(words, to_holder=holder is not None)
    if holder is None:
        assert execution is not None
        call = database.signal(execution, name, payload, options)
        receiver = str(execution)
    else:
        call = database.signal_by_key(*holder, name, payload, options)
        receiver = f"{holder[0]} with key {holder[1]}"
    with session.connection() as connection:
        database.run_sync(connection, call)
    click.echo(f"signal {name} sent to {receiver}")


def _signal_of(words: Sequence[str], *, to_holder: bool) -> tuple[UUID | None, str, str]:
    """Read what stands on the command line: an ID unless --to says who, a name, and JSON."""
    expected = "NAME [JSON]" if to_holder else "ID NAME [JSON]"
    rest = list(words)
    if not rest and not to_holder:
        raise click.UsageError(f"missing the ID of the workflow; expected {expected}")
    execution = None if to_holder else parameters.execution_id(rest.pop(0))
    if not 1 <= len(rest) <= 2:
        problem = "missing the NAME of the signal" if not rest else f"too many words: {rest[-1]!r}"
        raise click.UsageError(f"{problem}; expected {expected}")
    try:
        payload = parameters.json_value(rest[1]) if len(rest) == 2 else "null"
    except click.BadParameter as error:
        error.param_hint = "'[JSON]'"
        raise
    return execution, rest[0], payload


@command()
@_EXECUTIONS
@click.option("--reason", metavar="TEXT", help="Stored with the cancellation.")
@click.option(
    "--force",
    is_flag=True,
    help="End them at once, and what they have started, whatever runs: no clean-up.",
)
@pass_session
def cancel(session: Session, executions: Sequence[UUID], reason: str | None, *, force: bool) -> int:
    """Cancel executions.

    What has not begun ends at once; what runs is asked to stop. Exits with 1 if one of them is
    unknown or had already ended another way.
    """
    options = {"force": True} if force else {}
    asked = ", ends as soon as its row is free" if force else ", asked to stop"

    def cancel_one(connection: Any, execution: UUID) -> bool:
        status = database.run_sync(connection, database.cancel(execution, reason, options))
        if status in (Status.COMPLETED, Status.FAILED):
            complain(f"{execution} has already {_ended(status)}, nothing to cancel")
            return False
        click.echo(f"{execution} {status}" + ("" if status == Status.CANCELLED else asked))
        return True

    return _each(session, executions, cancel_one)


@command()
@_EXECUTIONS
@pass_session
def retry(session: Session, executions: Sequence[UUID]) -> int:
    """Run failed executions again.

    Each failed or cancelled one becomes a new execution, whose id is printed.
    """

    def retry_one(connection: Any, execution: UUID) -> bool:
        click.echo(str(database.run_sync(connection, database.retry(execution, {}))))
        return True

    return _each(session, executions, retry_one)


def _each(session: Session, executions: Sequence[UUID], act: Callable[[Any, UUID], bool]) -> int:
    # One that cannot be done must not keep the others from being done.
    is_done = True
    with session.connection() as connection:
        for execution in dict.fromkeys(executions):
            try:
                is_done &= act(connection, execution)
            except psycopg.Error as error:
                known = database.translate(error)
                if isinstance(known, DatabaseUnavailable):
                    raise
                complain(str(known))
                is_done = False
    return 0 if is_done else FAILED


def _ended(status: str) -> str:
    return "failed" if status == Status.FAILED else str(status)
