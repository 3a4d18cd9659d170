"""The `currant` command line. Each module here holds a group of commands or a tool they share."""

import click

from currant import __version__
from currant.cli import admin, executions, history, inspection, replay, versions, work
from currant.cli.session import Commands


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="currant")
def main() -> None:
    """Durable tasks and workflows on nothing but Postgres.

    CURRANT_DATABASE_URL names the database; without it, Currant runs a Postgres of its own.
    """


for _command in (
    admin.migrate,
    admin.schema,
    admin.url,
    work.worker,
    admin.register,
    executions.enqueue,
    inspection.status,
    inspection.list_executions,
    history.history,
    executions.signal,
    executions.cancel,
    executions.retry,
    inspection.queues,
    inspection.workers,
    versions.versions,
    replay.replay,
):
    main.add_command(_command)
