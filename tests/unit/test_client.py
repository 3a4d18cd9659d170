"""Handles as values, which client is used, and how long a call is patient."""

import asyncio
import contextvars
import copy
import json
import os
import pickle
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import psycopg
import pytest

import currant
from currant import Client, Handle, NotAllowedInLoop, SettingsError, codec, connections, task
from currant.connections import Patience, Source, run_on_sync
from currant.database import Call
from currant.defaults import current_sync
from currant.errors import DatabaseUnavailable, OptionError
from currant.settings import Settings
from currant.waiting import EndListener, pauses

ID = "0197e0a0-0000-7000-8000-000000000001"
URL = "postgresql://nowhere.invalid/x"


@pytest.fixture(autouse=True)
def _own_defaults() -> Iterator[None]:
    yield
    currant.configure()
    currant.defaults._defaults.close()


def test_a_handle_is_a_text() -> None:
    handle: Handle[Any] = Handle(ID.upper())

    assert handle == ID
    assert isinstance(handle, str)
    assert f"{handle}" == str(handle) == ID
    assert handle.id == UUID(ID)
    assert {ID: 1}[handle] == 1
    assert json.dumps([handle]) == f'["{ID}"]'
    assert codec.encode({"id": handle}, what="it") == f'{{"id":"{ID}"}}'
    assert repr(handle) == f"Handle('{ID}')"
    assert Handle(UUID(ID)) == handle


@pytest.mark.parametrize(
    "travel", [copy.copy, copy.deepcopy, lambda h: pickle.loads(pickle.dumps(h))]
)
def test_a_handle_travels_without_its_client(travel: Any) -> None:
    with Client(URL) as client:
        handle = client.handle(ID)

        arrived = travel(handle)

    assert arrived == handle
    assert type(arrived) is Handle
    assert arrived._client is None


def test_a_task_may_take_a_handle_as_an_argument() -> None:
    handle: Handle[Any] = codec.decode(f'"{ID}"', Handle, what="it")

    assert type(handle) is Handle


def test_the_environment_is_read_at_first_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CURRANT_DATABASE_URL", URL)

    assert current_sync().settings.database_url == URL
    assert current_sync() is current_sync()


def test_a_bad_setting_is_reported_at_first_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CURRANT_DEFAULT_RETRIES", "many")

    with pytest.raises(SettingsError, match="CURRANT_DEFAULT_RETRIES"):
        current_sync()


def test_every_loop_has_its_own_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CURRANT_DATABASE_URL", URL)

    async def ask() -> tuple[Client, Client]:
        return currant.defaults.current(), currant.defaults.current()

    first, second = asyncio.run(ask()), asyncio.run(ask())

    assert first[0] is first[1]
    assert first[0] is not second[0]
    assert first[0] is not current_sync()


def test_a_client_may_be_left_in_another_context_than_it_was_entered_in() -> None:
    client = Client(URL)

    contextvars.copy_context().run(client.__enter__)
    client.__exit__()

    with client:
        assert current_sync() is client


def test_configure_chooses_and_forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CURRANT_DATABASE_URL", URL)

    currant.configure("postgresql://elsewhere.invalid/y")
    assert current_sync().settings.database_url == "postgresql://elsewhere.invalid/y"

    currant.configure(settings=Settings(database_url=URL, default_retries=9))
    assert current_sync().settings.default_retries == 9

    currant.configure()
    assert current_sync().settings == Settings.from_environment()


def test_threads_that_begin_together_share_one_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CURRANT_DATABASE_URL", URL)
    together = threading.Barrier(16)
    found: list[Client] = []

    def ask() -> None:
        together.wait(10)
        found.append(current_sync())

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=ask) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)

    assert len(found) == 16
    assert len(set(map(id, found))) == 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_fork_while_another_thread_chooses_a_client_does_not_lock_the_child(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CURRANT_DATABASE_URL", URL)
    is_held, is_over = threading.Event(), threading.Event()

    def hold() -> None:
        with currant.defaults._defaults._lock, connections._pools_lock:
            is_held.set()
            is_over.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    is_held.wait(10)
    child = os.fork()
    if child == 0:
        # A child that waits for ever is ended by the alarm.
        signal.alarm(10)
        code = 1
        try:
            current_sync().close_sync()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    is_over.set()
    holder.join()

    assert status == 0


class _Reversed:
    """A hook that changes every payload."""

    def outgoing(self, text: str) -> str:
        return json.dumps(text[::-1])

    def incoming(self, text: str) -> str:
        return str(json.loads(text)[::-1])


def test_choosing_a_database_keeps_the_codec_hook() -> None:
    currant.configure(codec_hook=_Reversed())
    try:
        currant.configure(URL)
        assert codec.encode(12, what="it") == '"21"'
        currant.configure()
        assert codec.encode(12, what="it") == '"21"'
    finally:
        currant.configure(codec_hook=None)

    assert codec.encode(12, what="it") == "12"


def test_a_configuration_that_is_refused_changes_nothing() -> None:
    currant.configure(URL)

    with pytest.raises(SettingsError):
        currant.configure("postgresql://x?colour=red", codec_hook=_Reversed())

    assert current_sync().settings.database_url == URL
    assert codec.encode(12, what="it") == "12"


@pytest.mark.parametrize("name", ["database_url", "database_listen_url"])
def test_a_url_that_cannot_be_read_is_refused_with_its_variable(name: str) -> None:
    settings = Settings(**{"database_url": URL, name: "nonsense url"})  # type: ignore[arg-type]

    with pytest.raises(SettingsError, match=f"CURRANT_{name.upper()}"):
        Client(settings=settings)


@pytest.mark.parametrize("wrong", ["5", True, float("nan"), [1]])
async def test_a_wait_takes_a_duration_only(wrong: Any) -> None:
    client = Client(URL)

    with pytest.raises(TypeError, match="timeout has to be seconds or a timedelta"):
        await client.result(ID, timeout=wrong)


async def test_waiting_without_await_in_an_event_loop_is_refused() -> None:
    @task(name="unit.client.leaf")
    def leaf() -> int:
        return 1

    with Client(URL) as client:
        with pytest.raises(NotAllowedInLoop, match=r"await unit\.client\.leaf\.run\(…\)"):
            leaf.run_sync()
        with pytest.raises(NotAllowedInLoop, match=r"await handle\.result\(\)"):
            client.handle(ID).result_sync()


LOST = psycopg.OperationalError("gone")


def test_patience_waits_longer_each_time_and_ends() -> None:
    source = Source(Settings(), "test")
    source.has_connected = True
    patience = Patience(source, 1000)

    delays = [patience.next_delay(LOST) for _ in range(12)]

    assert all(0.04 <= delay <= 2 for delay in delays)
    assert max(delays[:2]) < min(delays[-3:])
    with pytest.raises(DatabaseUnavailable):
        Patience(source, 0).next_delay(LOST)


def test_patience_is_short_with_a_database_that_never_was_there() -> None:
    assert Patience(Source(Settings(), "test"), 1000)._seconds == 5


def test_no_patience_with_a_refusal() -> None:
    with pytest.raises(currant.DatabaseError):
        Patience(Source(Settings(), "test"), 1000).next_delay(psycopg.DataError("no"))


async def test_a_wait_goes_on_without_notifications_whatever_keeps_them_away(
    caplog: pytest.LogCaptureFixture,
) -> None:
    failures: asyncio.Queue[None] = asyncio.Queue()

    async def connect() -> None:
        failures.put_nowait(None)
        raise ValueError("no such thing")

    ends = EndListener(connect)
    async with asyncio.timeout(10), ends.waiting_for(ID) as woken:
        for _ in range(3):
            await failures.get()
        await woken.wait()
        assert not ends.is_listening
    await ends.close()

    warnings = [one for one in caplog.records if one.levelname == "WARNING"]
    assert [one.getMessage() for one in warnings] == [
        "no notifications of ends, polling meanwhile: no such thing"
    ]


def test_pauses_grow_to_a_limit() -> None:
    def first(count: int, *, is_told: bool) -> list[float]:
        rest = pauses(is_told=is_told)
        return [next(rest) for _ in range(count)]

    asking, told = first(30, is_told=False), first(30, is_told=True)

    assert (asking[0], asking[-1]) == (0.02, 1.0)
    assert asking == sorted(asking)
    # A watch is declared for a minute, and has to be declared anew before that is over.
    assert 10 < told[-1] < 60


def test_a_statement_is_numbered_for_drivers_that_want_it() -> None:
    from currant.connections import _numbered

    assert _numbered("select f(%s::text, %s::int)") == "select f($1::text, $2::int)"


def test_what_has_no_cursor_is_no_connection() -> None:
    with pytest.raises(OptionError, match="no connection: 3"):
        run_on_sync(3, Call("select 1", (), list))
