"""The commands of whoever installs and deploys: migrate, schema, register."""

import contextlib
import dataclasses

import click

from currant import apps, database, definitions, migrations
from currant.cli import logs
from currant.cli.inspection import json_option
from currant.cli.render import Screen
from currant.cli.session import FAILED, Session, command, pass_session
from currant.errors import SqitchMissing


@command()
@click.option("--status", "wants_status", is_flag=True, help="Only show what is deployed.")
@click.option("--verify", "wants_verify", is_flag=True, help="Only check what is deployed.")
@json_option
@pass_session
def migrate(session: Session, *, wants_status: bool, wants_verify: bool, as_json: bool) -> int:
    """Bring the database to this version's schema.

    Runs Sqitch, and creates the database first if it does not exist. --status exits with 1 if
    there is something to do.
    """
    if wants_status and wants_verify:
        raise click.UsageError("--status and --verify do not go together")
    if as_json and not wants_status:
        raise click.UsageError("--json needs --status")
    settings = session.settings()
    if not session.is_debugging:
        logs.configure("info")
    url = session.database_url()
    if wants_status:
        return _show_status(session, migrations.status(url), as_json=as_json)
    if wants_verify:
        migrations.verify(url, report=_report)
        click.echo(f"schema {migrations.SCHEMA_VERSION} verified")
        return 0
    try:
        done = migrations.deploy(url, report=_report)
    except SqitchMissing:
        done = migrations.status(url)
        # The embedded server needs no Sqitch for its first set-up, which has just happened.
        if settings.database_url or not done.is_current:
            raise
    how = f"{_changes(len(done.deployed))} deployed" if done.is_managed else "set up without Sqitch"
    click.echo(f"schema {done.version}: {how}")
    return 0


@command(uses_database=False)
def schema() -> None:
    """Print the schema as one SQL script.

    For people who deploy with a migration tool of their own.
    """
    click.echo(migrations.schema_script(), nl=False)


@command()
@pass_session
def url(session: Session) -> None:
    """Print the URL of the database.

    That of the embedded server, which is started if it does not run, lets other programs in: psql,
    or your own with 'export CURRANT_DATABASE_URL=$(currant url)'.
    """
    click.echo(session.database_url())


@command()
@click.option("--app", metavar="MODULE", help="Where the functions are; otherwise app.py here.")
@pass_session
def register(session: Session, app: str | None) -> None:
    """Store what an application declares.

    A deployment step that needs no worker: from then on the functions of the application can be
    enqueued by name, from SQL too, with the queue, retries and timeouts they declare.
    """
    module = apps.load_app(session.settings(app=app))
    functions = definitions.registry.all()
    if not functions:
        raise apps.AppError(
            f"{module.__name__} defines no task and no workflow",
            hint="decorate functions with @task or @workflow",
        )
    with session.connection() as connection:
        count = database.run_sync(
            connection,
            database.register_functions([one.declaration.as_json() for one in functions]),
        )
    click.echo(f"{count} function{'' if count == 1 else 's'} of {module.__name__} registered")


def _show_status(session: Session, status: migrations.SchemaStatus, *, as_json: bool) -> int:
    is_done = status.is_current and not status.pending
    if as_json:
        Screen().json({**dataclasses.asdict(status), "is_current": status.is_current})
        return 0 if is_done else FAILED
    if status.version is None:
        click.echo(f"no schema; {_changes(len(status.pending))} to deploy: run 'currant migrate'")
        return FAILED
    managed = "" if status.is_managed else ", not deployed by Sqitch: 'currant migrate' adopts it"
    click.echo(
        f"schema {status.version}{session.place}, this package needs"
        f" {status.package_version}{managed}"
    )
    click.echo(f"{_changes(len(status.deployed))} deployed, {len(status.pending)} to deploy")
    for change in status.pending if status.is_managed else ():
        click.echo(f"  {change}")
    return 0 if is_done else FAILED


def _changes(count: int) -> str:
    return f"{count} change{'' if count == 1 else 's'}"


def _report(line: str) -> None:
    # Whoever reads along may leave; the changes have to be deployed to the end all the same.
    with contextlib.suppress(BrokenPipeError):
        click.echo(line)
