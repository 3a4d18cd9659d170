"""What every command shares: the options all of them take, the settings, one connection.

Also how any error ends: one line on stderr and an exit code (0 done, 1 it failed, 2 wrong usage).
"""

import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import click
import psycopg

from currant import database, embedded, errors, migrations
from currant.cli import logs
from currant.cli.terminal import is_terminal, one_line, prepare_streams, quiet_pipe
from currant.settings import Settings, variable

FAILED, WRONG_USAGE = 1, 2
_INTERRUPTED, _PIPE_CLOSED = 130, 141
_USAGE_ERRORS = (
    click.UsageError,
    errors.SettingsError,
    errors.OptionError,
    errors.InvalidArgument,
)


@dataclass
class Session:
    """One run of the command line."""

    is_debugging: bool = False
    overrides: dict[str, Any] = field(default_factory=dict)

    def settings(self, **overrides: Any) -> Settings:
        """Read the environment, with what the command line says instead."""
        given = {**self.overrides, **overrides}
        return Settings.from_environment(**given)

    @property
    def place(self) -> str:
        """Where nothing was found, if nobody named a database: a variable may be missing."""
        settings = self.settings()
        if settings.database_url is not None:
            return ""
        return f" in the embedded Postgres of {embedded.home(settings)}"

    def database_url(self) -> str:
        """Return the URL of the database, of the embedded server if nobody names one.

        Raises:
            SettingsError: it cannot be read; the message says where it came from.
        """
        settings = self.settings()
        if settings.database_url is not None:
            is_given = "database_url" in self.overrides
            named = "--database-url" if is_given else variable("database_url")
            database.check_url(settings.database_url, what=f"the database URL ({named})")
        return embedded.database_url(settings, on_start=_say_start)

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection[Any]]:
        """Connect to the database, make sure its schema is the one this package speaks."""
        settings = self.settings()
        url = self.database_url()
        connecting = database.connect_sync(url, settings=settings, application_name="currant")
        with connecting as connection:
            migrations.check_schema(database.run_sync(connection, database.version()))
            yield connection


pass_session = click.make_pass_decorator(Session)


class Command(click.Command):
    """A command that also takes --debug and, where it uses a database, --database-url."""

    def __init__(self, *args: Any, uses_database: bool = True, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if uses_database:
            self.params.append(_database_option())
        self.params.append(_debug_option())

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the command line; errors know whose help to point to, which click forgets."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            error.ctx = error.ctx or ctx
            raise


def command(name: str | None = None, **attributes: Any) -> Callable[[Callable[..., Any]], Command]:
    """Make a function a command with the options that all of them take."""
    return click.command(name, cls=Command, **attributes)


class Commands(click.Group):
    """The `currant` command: runs one of its commands and turns every end into an exit code.

    The options of all commands may also stand before the command.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += [_database_option(), _debug_option()]

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order in which they were added."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; that the reader of a pipe has gone ends it quietly."""
        try:
            with quiet_pipe():
                return super().invoke(ctx)
        except BrokenPipeError:
            raise click.exceptions.Exit(_PIPE_CLOSED) from None

    def main(  # type: ignore[override]  # one signature instead of click's two overloads
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> int:
        """Run the command line and exit; without standalone_mode, return the exit code."""
        prepare_streams()
        session = Session()
        run = partial(super().main, args, prog_name, complete_var, obj=session, **extra)
        code = _guarded(session, partial(run, standalone_mode=False))
        if standalone_mode:
            sys.exit(code)
        return code


def _guarded(session: Session, run: Callable[[], Any]) -> int:
    try:
        code = run()
    except (KeyboardInterrupt, click.Abort):
        complain("interrupted")
        return _INTERRUPTED
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return WRONG_USAGE
    except Exception as error:
        if session.is_debugging:
            traceback.print_exc()
        known = database.translate(error) if isinstance(error, psycopg.Error) else error
        complain(_sentence(known))
        return WRONG_USAGE if isinstance(known, _USAGE_ERRORS) else FAILED
    return code if isinstance(code, int) else 0


def complain(sentence: str) -> None:
    """Say on stderr, in one line, what went wrong."""
    try:
        click.echo(f"currant: {one_line(sentence)}", err=True)
    except BrokenPipeError:
        return


def _say_start(home: Path) -> None:
    # It takes seconds, and a person may wonder.
    if is_terminal(sys.stderr):
        complain(f"starting an embedded Postgres in {home}")


def _sentence(error: Exception) -> str:
    match error:
        case click.UsageError():
            path = error.ctx.command_path if error.ctx else "currant"
            return f"{_uncapitalised(error.format_message())} — see '{path} --help'"
        case click.ClickException():
            return _uncapitalised(error.format_message())
        case errors.CurrantError():
            return str(error)
        case UnicodeEncodeError():
            return "an argument is not valid UTF-8 — check the encoding of the terminal"
        case OSError():
            return str(error)
        case _:
            kind = type(error).__name__
            return f"unexpected {kind}: {error} — run it again with --debug to see where"


def _uncapitalised(message: str) -> str:
    message = message.rstrip(".")
    return message[:1].lower() + message[1:] if message[1:2].islower() else message


def _database_option() -> click.Option:
    return click.Option(
        ["--database-url"],
        metavar="URL",
        expose_value=False,
        callback=_override("database_url"),
        help="Postgres to use; otherwise CURRANT_DATABASE_URL, otherwise the embedded server.",
    )


def _debug_option() -> click.Option:
    return click.Option(
        ["--debug"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_start_debugging,
        help="Show the traceback of an error.",
    )


def _override(name: str) -> Callable[[click.Context, click.Parameter, Any], Any]:
    def keep(ctx: click.Context, _param: click.Parameter, value: Any) -> Any:
        if value is not None:
            ctx.ensure_object(Session).overrides[name] = value
        return value

    return keep


def _start_debugging(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value:
        ctx.ensure_object(Session).is_debugging = True
        logs.configure("debug")
