"""The worker command: everything before the worker's own loop starts."""

import logging
import os
import sys
from collections.abc import Sequence

import click

from currant import apps, definitions
from currant.cli import logs
from currant.cli.seed import own_hash_seed, share_hash_seed
from currant.cli.session import Session, command, pass_session
from currant.cli.terminal import line_buffered
from currant.settings import Settings, unknown_variables

_LOG = logging.getLogger("currant")


@command()
@click.option(
    "-q",
    "--queue",
    "queues",
    metavar="NAME",
    multiple=True,
    help="Serve this queue; may be repeated. Otherwise all that the application's functions name.",
)
@click.option("--app", metavar="MODULE", help="Where the functions are; otherwise app.py here.")
@click.option(
    "--concurrency",
    metavar="N",
    type=click.IntRange(min=1),
    help="Tasks at a time in each process; otherwise CURRANT_WORKER_MAX_CONCURRENT.",
)
@click.option(
    "--processes",
    metavar="N",
    type=click.IntRange(min=1, max=1024),
    default=1,
    show_default=True,
    help="Worker processes, to use more than one core.",
)
@click.option(
    "--log-level",
    type=click.Choice(logs.LEVELS, case_sensitive=False),
    default="info",
    show_default=True,
    help="What to log to stderr.",
)
@pass_session
def worker(
    session: Session,
    *,
    queues: Sequence[str],
    app: str | None,
    concurrency: int | None,
    processes: int,
    log_level: str,
) -> int:
    """Run tasks and workflows until stopped.

    SIGTERM or Ctrl-C: take nothing new, let what runs finish for a grace period, give back the
    rest. A second one: at once.
    """
    if not all(queue.strip() for queue in queues):
        raise click.BadParameter("the name of a queue is empty", param_hint="--queue")
    session.overrides |= {"app": app, "worker_max_concurrent": concurrency}
    level = "debug" if session.is_debugging else log_level
    # Without a hash seed this process only makes way for another, and leaves the log to that.
    if own_hash_seed() is not None:
        logs.configure(level)
    share_hash_seed(session)
    logs.configure(level)
    for name in unknown_variables(os.environ):
        _LOG.warning("%s is set, but there is no such setting", name)
    line_buffered(sys.stdout)
    # Only this command needs the engine. It is loaded before the application puts its directory on
    # the path, where a module may be called like one of the standard library.
    from currant.worker import run_worker

    settings = session.settings()
    served = _served(settings, queues)
    return run_worker(settings, queues=served, processes=processes)


def _served(settings: Settings, queues: Sequence[str]) -> tuple[str, ...]:
    module = apps.load_app(settings)
    functions = definitions.registry.all()
    if not functions:
        raise apps.AppError(
            f"{module.__name__} defines no task and no workflow",
            hint="decorate functions with @task or @workflow",
        )
    if queues:
        return tuple(dict.fromkeys(queues))
    return apps.queues_of([one.declaration.queue for one in functions])
