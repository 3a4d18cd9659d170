"""The replay command: has the code at hand follow recorded histories."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import click
import msgspec
import psycopg

import currant
from currant import apps, database, definitions, replaying
from currant.cli import logs, parameters
from currant.cli.inspection import json_option
from currant.cli.render import Screen
from currant.cli.seed import own_hash_seed, share_hash_seed, with_hash_seed
from currant.cli.session import FAILED, Session, command, complain, pass_session
from currant.errors import DatabaseUnavailable
from currant.replaying import Document, Outcome, Report

_EVERY = 2**31 - 1
_STANDARD_INPUT = "-"
# This command in a process of its own, by whatever name and from wherever the first was started.
_AGAIN = "import sys; sys.path.append(sys.argv.pop(1)); from currant.cli import main; main()"
_PLACE = str(Path(currant.__file__).parents[1])


@command()
@click.argument("executions", metavar="[ID]...", nargs=-1, type=parameters.execution_id)
@click.option(
    "--function",
    "functions",
    metavar="NAME",
    multiple=True,
    help="Replay all open runs of this workflow; may be repeated.",
)
@click.option(
    "--file",
    "files",
    metavar="PATH",
    multiple=True,
    help="Replay what 'history --json' printed into this file, or those in this directory;"
    " - reads standard input. May be repeated.",
)
@click.option("--app", metavar="MODULE", help="Where the functions are; otherwise app.py here.")
@click.option(
    "--lenient",
    is_flag=True,
    help="Compare what workers compare: kind, name and number of each step, not its arguments.",
)
@json_option
@pass_session
def replay(
    session: Session,
    *,
    executions: Sequence[UUID],
    functions: Sequence[str],
    files: Sequence[str],
    app: str | None,
    lenient: bool,
    as_json: bool,
) -> int:
    """Check that the code at hand follows recorded histories.

    The workflows of the application go through what has happened to runs, and nothing that they ask
    for is carried out. Exits with 1 if one asks for something else than it did. With --file alone
    no database is needed: the check for CI, before a deployment.
    """
    if not executions and not functions and not files:
        raise click.UsageError("nothing to replay: name runs by ID, --function or --file")
    session.overrides |= {"app": app}
    if executions or functions:
        share_hash_seed(session)
    if not session.is_debugging:
        logs.configure("warning")
    run = _Run(session, is_strict=not lenient, is_quiet=as_json)
    run.replay_files(files)
    if executions or functions:
        run.replay_stored(executions, functions)
    if as_json:
        run.screen.json([{"ok": one.ok, **msgspec.structs.asdict(one)} for one in run.reports])
    else:
        run.summarise()
    return 0 if run.is_fine else FAILED


class _Run:
    """The reports so far, shown as they come."""

    def __init__(self, session: Session, *, is_strict: bool, is_quiet: bool) -> None:
        self.screen = Screen()
        self.reports: list[Report] = []
        self._session = session
        self._is_strict = is_strict
        self._is_quiet = is_quiet
        self._is_loaded = False
        self._has_failed = False

    @property
    def is_fine(self) -> bool:
        """Whether every run was replayed and follows its history."""
        return not self._has_failed and all(report.ok for report in self.reports)

    def replay_files(self, files: Sequence[str]) -> None:
        """Replay what is in files; each history under the hash seed that it was recorded under."""
        elsewhere: dict[int, list[Document]] = {}
        own = own_hash_seed()
        for document in [one for file in files for one in _load(file)]:
            seed = document.hash_seed
            if seed is None or seed % 2**32 == own or sys.flags.ignore_environment:
                self._replay(document)
            else:
                elsewhere.setdefault(seed, []).append(document)
        for seed, documents in elsewhere.items():
            for report in self._in_another_process(seed, documents):
                self._add(report)

    def replay_stored(self, executions: Sequence[UUID], functions: Sequence[str]) -> None:
        """Replay runs out of the database."""
        with self._session.connection() as connection:
            chosen = dict.fromkeys(executions)
            for name in functions:
                chosen |= dict.fromkeys(self._open_runs(connection, name))
            for execution in chosen:
                try:
                    text = database.run_sync(connection, database.export_history(execution))
                except psycopg.Error as error:
                    # One that cannot be read must not keep the others from being replayed.
                    known = database.translate(error)
                    if isinstance(known, DatabaseUnavailable):
                        raise
                    complain(str(known))
                    self._has_failed = True
                    continue
                self._replay(replaying.read(text)[0])

    def summarise(self) -> None:
        """Print how many came out how."""
        counts = {
            outcome: sum(report.outcome is outcome for report in self.reports)
            for outcome in Outcome
        }
        total = len(self.reports)
        if not total:
            if not self._has_failed:
                self.screen.line("no runs to replay")
            return
        hints = {one.hint for report in self.reports for one in report.mismatches if one.hint}
        for hint in sorted(hints):
            self.screen.line()
            self.screen.line(hint, style="dim")
        self.screen.line()
        parts = ", ".join(f"{count:,} {outcome}" for outcome, count in counts.items() if count)
        self.screen.line(f"{total:,} run{'' if total == 1 else 's'} replayed: {parts}")

    def _open_runs(self, connection: psycopg.Connection[Any], name: str) -> Iterator[UUID]:
        call = database.list_executions(function=name, is_open=True, limit=_EVERY)
        found = [one.id for one in database.run_sync(connection, call) if one.kind == "workflow"]
        if not found:
            self._load_app()
            known = sorted(one.name for one in definitions.registry if one.kind == "workflow")
            if name not in known:
                raise click.UsageError(
                    f"there is no workflow {name}, neither open nor in the application, which has"
                    f" {', '.join(known) or 'none'}"
                )
        return reversed(found)

    def _replay(self, document: Document) -> None:
        self._load_app()
        # What workflow code prints must not end up in the report.
        with contextlib.redirect_stdout(sys.stderr):
            report = replaying.replay(document, strict=self._is_strict)
        self._add(report)

    def _in_another_process(self, seed: int, documents: Sequence[Document]) -> list[Report]:
        app = self._session.overrides.get("app")
        options = ["--file", _STANDARD_INPUT, "--json"]
        options += ["--app", app] if app else []
        options += [] if self._is_strict else ["--lenient"]
        done = subprocess.run(
            [sys.executable, "-P", "-c", _AGAIN, _PLACE, "replay", *options],
            input=msgspec.json.encode(documents),
            env=with_hash_seed(seed),
            stdout=subprocess.PIPE,
        )
        if done.returncode not in (0, FAILED) or not done.stdout:
            # It has said why.
            raise click.exceptions.Exit(done.returncode or FAILED)
        return msgspec.json.decode(done.stdout, type=list[Report])

    def _load_app(self) -> None:
        if not self._is_loaded:
            with contextlib.redirect_stdout(sys.stderr):
                apps.load_app(self._session.settings())
            self._is_loaded = True

    def _add(self, report: Report) -> None:
        self.reports.append(report)
        if self._is_quiet:
            return
        events = f", {report.events} event{'' if report.events == 1 else 's'}" if report.ok else ""
        what = f"{report.function}{events}{f', {report.file}' if report.file else ''}"
        self.screen.parts(str(report.execution_id), f"{report.outcome:<9}", what)
        # The same hint would follow each.
        self.screen.fields((p for p in report.particulars() if p[0] != "hint"), indent=2)


def _load(file: str) -> list[Document]:
    if file != _STANDARD_INPUT:
        return replaying.load(file)
    # As bytes: what another process prints is UTF-8, whatever this terminal is.
    return replaying.read(sys.stdin.buffer.read())
