"""Finds and runs Sqitch, the program that deploys the schema."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

from psycopg import conninfo, pq

from currant import cluster
from currant.errors import MigrationError, SqitchMissing

_INSTALL_SQITCH = (
    "install it (Debian: apt-get install sqitch libdbd-pg-perl postgresql-client; macOS: brew"
    " install sqitch libpq), or deploy the output of `currant schema` with your own tool"
)

# Where Debian has the programs, a directory for each major version.
_DEBIANS_SERVERS: Final = Path("/usr/lib/postgresql")

Report = Callable[[str], None]


class Sqitch:
    """Runs Sqitch on one database, whatever the user's own Sqitch is configured to do.

    Raises:
        SqitchMissing: it or the psql that it needs is not installed.
    """

    def __init__(self, url: str) -> None:
        self._program = find_sqitch()
        self._client = find_psql(url)
        # As variables rather than in the target: a password must not show in the process list.
        self._environment = {
            name: value for name, value in os.environ.items() if not name.startswith("SQITCH_")
        } | {
            **_connection_variables(url),
            "TZ": "UTC",
            "LC_ALL": "C.UTF-8",
            "SQITCH_FULLNAME": "Currant",
            "SQITCH_EMAIL": "currant@localhost",
            "SQITCH_USER_CONFIG": os.devnull,
            "SQITCH_SYSTEM_CONFIG": os.devnull,
        }

    def run(self, action: str, *arguments: str, report: Report) -> None:
        """Run one of Sqitch's commands, reporting every line that it prints.

        Raises:
            MigrationError: it failed; the message has what Postgres or Sqitch said.
        """
        command = [
            *(str(self._program), "-C", str(directory()), action),
            *("--target", "db:pg:", "--client", str(self._client)),
            *arguments,
        ]
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            env=self._environment,
        ) as process:
            assert process.stdout is not None
            lines = []
            for line in process.stdout:
                if text := line.rstrip():
                    lines.append(text)
                    report(text)
        if process.returncode != 0:
            raise _failure(action, lines)


def _failure(action: str, lines: list[str]) -> MigrationError:
    text = " | ".join(line.strip() for line in lines)
    if "DBD::Pg" in text:
        return SqitchMissing("Sqitch has no Postgres driver (DBD::Pg)", hint=_INSTALL_SQITCH)
    errors = [line.split("psql:")[-1] for line in lines if "ERROR:" in line or "not ok" in line]
    return MigrationError(
        f"sqitch {action} failed",
        detail=" | ".join(line.strip() for line in errors or lines[-3:]),
        hint="nothing is half done: what failed was undone" if action == "deploy" else None,
    )


def find_psql(url: str) -> Path:
    """The `psql` that Sqitch is to run the changes with.

    Raises:
        SqitchMissing: there is none.
    """
    found = shutil.which("psql")
    if found is not None:
        return _behind_wrapper(Path(found))
    # The embedded server's psql knows no TLS, which a Unix socket does not need.
    bundled = cluster.bundled_installation()
    host = conninfo.conninfo_to_dict(url).get("host")
    if bundled is not None and str(host or "").startswith("/"):
        return bundled.program("psql")
    raise SqitchMissing(
        "psql, which Sqitch runs the changes with, is not installed", hint=_INSTALL_SQITCH
    )


def _behind_wrapper(psql: Path) -> Path:
    """The newest psql itself where Debian has a script in front of all that are installed.

    Choosing one takes the script longer than most changes take.
    """
    if psql.resolve().name != "pg_wrapper":
        return psql
    installed = _DEBIANS_SERVERS.glob("[0-9]*/bin/psql")
    return max(installed, key=lambda each: float(each.parents[1].name), default=psql)


def _connection_variables(url: str) -> dict[str, str]:
    return {
        option.envvar.decode(): option.val.decode()
        for option in pq.Conninfo.parse(url.encode())
        if option.val is not None and option.envvar is not None
    }


def directory() -> Path:
    """Where sqitch.plan lies: inside an installed package, or at the top of a checkout."""
    package = Path(__file__).resolve().parent
    for directory in (package / "_sqitch", package.parent):
        if (directory / "sqitch.plan").is_file():
            return directory
    raise MigrationError(
        f"this installation has no sqitch.plan in {package}", hint="reinstall currant"
    )


def find_sqitch() -> Path:
    """The `sqitch` program.

    Raises:
        SqitchMissing: it is not installed; the message says how to get it.
    """
    found = shutil.which("sqitch")
    if found is None:
        raise SqitchMissing(
            "Sqitch, which deploys the schema, is not installed", hint=_INSTALL_SQITCH
        )
    return Path(found)
