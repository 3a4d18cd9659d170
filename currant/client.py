"""The client: what an application asks of the database, with and without an event loop.

There is one per event loop, made at first use from the environment; `configure`, `async with
Client(url)` and the option `client` choose another.
"""

import asyncio
import atexit
import contextlib
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar, Token
from datetime import timedelta
from typing import Any, Self, TypeVar
from uuid import UUID

import psycopg

from currant import codec, connections, database, errors, models
from currant.connections import Patience, Pools, Source
from currant.handles import Handle
from currant.settings import Settings
from currant.waiting import pauses, wait_sync
from currant.workflow import api

T = TypeVar("T")

Decode = Callable[[str | None], Any]
Identifier = UUID | str
Seconds = float | timedelta


class Client:
    """Talks to one database.

    Connections are opened when needed. Lost ones are replaced, and the call is repeated; each
    call is made so that repeating it has no second effect.

    Args:
        url: of the database; None takes it from the settings.
        settings: None reads the environment.
        patience: seconds for which a call is repeated while the database cannot be reached.
        application_name: shown in `pg_stat_activity`.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        settings: Settings | None = None,
        patience: Seconds = 30.0,
        application_name: str = "currant",
    ) -> None:
        if settings is None:
            settings = Settings.from_environment(database_url=url)
        elif url is not None:
            raise TypeError("give Client a URL or settings, not both")
        if settings.database_url is not None:
            database.check_url(settings.database_url)
        self.settings = settings
        self._patience = _seconds(patience)
        self._pools = Pools(Source(settings, application_name))
        self._tokens: list[Token[Client | None]] = []

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, *_exc: object) -> None:
        self._leave()
        await self.close()

    def __enter__(self) -> Self:
        self._tokens.append(_chosen.set(self))
        return self

    def __exit__(self, *_exc: object) -> None:
        self._leave()
        self.close_sync()

    def _leave(self) -> None:
        # A fixture or a framework may leave in another context than it entered in; there is then
        # nothing to reset in this one.
        with contextlib.suppress(ValueError):
            _chosen.reset(self._tokens.pop())

    async def close(self) -> None:
        """Close the connections; using the client again opens new ones."""
        await self._pools.close()

    def close_sync(self) -> None:
        """Close the connections that code without an event loop has used."""
        self._pools.close_sync()

    # --- Running calls

    async def perform(self, call: database.Call[T], *, connection: Any = None) -> T:
        """Run a call; repeat it while the connection is lost.

        With a connection of the caller's the call is part of his transaction, and runs once.

        Raises:
            DatabaseUnavailable: the database could not be reached for too long.
            CurrantError: the database refused.
        """
        _refuse_in_workflow()
        if connection is not None:
            with connections.translated():
                return await connections.run_on(connection, call)
        return (await self.perform_all([call]))[0]  # type: ignore[no-any-return]

    def perform_sync(self, call: database.Call[T], *, connection: Any = None) -> T:
        """`perform` for code without an event loop."""
        _refuse_in_workflow()
        if connection is not None:
            with connections.translated():
                return connections.run_on_sync(connection, call)
        return self.perform_all_sync([call])[0]  # type: ignore[no-any-return]

    async def perform_all(self, calls: Sequence[database.Call[Any]]) -> list[Any]:
        """Run several calls in one transaction; otherwise as `perform`."""
        _refuse_in_workflow()
        patience = Patience(self._pools.source, self._patience)
        while True:
            try:
                async with self._pools.of_loop().connection() as connection:
                    return await database.exchange(connection, calls)
            except psycopg.Error as error:
                delay = patience.next_delay(error)
            await asyncio.sleep(delay)

    def perform_all_sync(self, calls: Sequence[database.Call[Any]]) -> list[Any]:
        """`perform_all` for code without an event loop."""
        _refuse_in_workflow()
        patience = Patience(self._pools.source, self._patience)
        while True:
            try:
                with self._pools.of_threads().connection() as connection:
                    return database.exchange_sync(connection, calls)
            except psycopg.Error as error:
                delay = patience.next_delay(error)
            time.sleep(delay)

    # --- What can be asked

    async def enqueue(
        self,
        function: str,
        args: Mapping[str, Any] | Sequence[Any] = (),
        options: Mapping[str, Any] | None = None,
        *,
        connection: Any = None,
    ) -> Handle[Any]:
        """Enqueue a function by its name, which need not be known in this process.

        Args:
            args: an object of keyword arguments or a sequence of positional ones.
            options: as `currant.enqueue` in SQL takes them.
        """
        call = _enqueue(function, args, options)
        return self.handle(await self.perform(call, connection=connection))

    def enqueue_sync(
        self,
        function: str,
        args: Mapping[str, Any] | Sequence[Any] = (),
        options: Mapping[str, Any] | None = None,
        *,
        connection: Any = None,
    ) -> Handle[Any]:
        """`enqueue` for code without an event loop."""
        call = _enqueue(function, args, options)
        return self.handle(self.perform_sync(call, connection=connection))

    def handle(self, execution: Identifier, decode: Decode | None = None) -> Handle[Any]:
        """A handle on an execution, bound to this client."""
        return Handle(execution, client=self, decode=decode)

    async def signal(
        self, execution: Identifier, name: str, payload: Any = None, *, connection: Any = None
    ) -> None:
        """Send a workflow a signal."""
        if api.in_workflow():
            await _signal_from_workflow(execution, name, payload, connection)
            return
        await self.perform(_signal(execution, name, payload), connection=connection)

    def signal_sync(
        self, execution: Identifier, name: str, payload: Any = None, *, connection: Any = None
    ) -> None:
        """`signal` for code without an event loop."""
        self.perform_sync(_signal(execution, name, payload), connection=connection)

    async def cancel(
        self, execution: Identifier, reason: str | None = None, *, connection: Any = None
    ) -> models.Status:
        """Ask for cancellation; where the execution stands now comes back."""
        return await self.perform(database.cancel(execution, reason), connection=connection)

    def cancel_sync(
        self, execution: Identifier, reason: str | None = None, *, connection: Any = None
    ) -> models.Status:
        """`cancel` for code without an event loop."""
        return self.perform_sync(database.cancel(execution, reason), connection=connection)

    async def retry(self, execution: Identifier, **options: Any) -> Handle[Any]:
        """Run a failed or cancelled execution again, as a new one."""
        return self.handle(await self.perform(_retry(execution, options)))

    def retry_sync(self, execution: Identifier, **options: Any) -> Handle[Any]:
        """`retry` for code without an event loop."""
        return self.handle(self.perform_sync(_retry(execution, options)))

    async def status(self, execution: Identifier) -> models.ExecutionState:
        """Everything that is known of the execution now."""
        return await self.perform(database.status(execution))

    def status_sync(self, execution: Identifier) -> models.ExecutionState:
        """`status` for code without an event loop."""
        return self.perform_sync(database.status(execution))

    # --- Waiting for results

    async def result(
        self,
        execution: Identifier,
        *,
        timeout: Seconds | None = None,
        decode: Decode | None = None,
    ) -> Any:
        """Wait for the end of the execution and give its result; see `Handle.result`."""
        _refuse_in_workflow()
        limit = None if timeout is None else _seconds(timeout)
        deadline = asyncio.timeout(limit)
        try:
            async with deadline:
                await self._wait_for_end(Handle(execution))
        except TimeoutError as error:
            if not deadline.expired():
                raise
            raise _timed_out(execution, limit) from error
        return _outcome(await self.status(execution), decode)

    async def _wait_for_end(self, execution: str) -> None:
        watch = database.watch(execution)
        if (await self.perform(watch)).is_end:
            return
        ends = self._pools.of_loop().ends
        async with ends.waiting_for(execution) as woken:
            is_told = ends.is_listening
            rest = pauses(is_told=is_told)
            while not (await self.perform(watch)).is_end:
                if is_told != ends.is_listening:
                    is_told = ends.is_listening
                    rest = pauses(is_told=is_told)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(next(rest)):
                        await woken.wait()
                woken.clear()

    def result_sync(
        self,
        execution: Identifier,
        *,
        timeout: Seconds | None = None,
        decode: Decode | None = None,
    ) -> Any:
        """`result` for code without an event loop."""
        _refuse_in_workflow()
        limit = None if timeout is None else _seconds(timeout)
        deadline = None if limit is None else time.monotonic() + limit
        state = self.status_sync(execution)
        if not state.status.is_end:
            if not self._wait_for_end_sync(Handle(execution), deadline):
                raise _timed_out(execution, limit)
            state = self.status_sync(execution)
        return _outcome(state, decode)

    def _wait_for_end_sync(self, execution: str, deadline: float | None) -> bool:
        patience = Patience(self._pools.source, self._patience)
        while True:
            try:
                with self._pools.waiting_connection() as (connection, is_told):
                    patience = Patience(self._pools.source, self._patience)
                    if connection is not None:
                        return wait_sync(connection, execution, deadline, is_told=is_told)
                    return self._poll_for_end(execution, deadline)
            except psycopg.Error as error:
                delay = patience.next_delay(error)
            if deadline is not None and time.monotonic() + delay > deadline:
                return False
            time.sleep(delay)

    def _poll_for_end(self, execution: str, deadline: float | None) -> bool:
        for pause in pauses(is_told=False):
            if self.perform_sync(database.watch(execution)).is_end:
                return True
            left = pause if deadline is None else min(pause, deadline - time.monotonic())
            if left <= 0:
                return False
            time.sleep(left)
        raise AssertionError("pauses never end")


async def send_signal(
    execution: Identifier, name: str, payload: Any = None, *, connection: Any = None
) -> None:
    """Send a workflow a signal; whoever waits for that name gets the payload.

    Inside a workflow the signal is sent with the commit of what the workflow has done so far.

    Raises:
        ExecutionNotFound: no execution has this id.
        AlreadyEnded: it has ended.
        EncodingError: the payload cannot be sent.
    """
    if api.in_workflow():
        await _signal_from_workflow(execution, name, payload, connection)
        return
    await current().signal(execution, name, payload, connection=connection)


def send_signal_sync(
    execution: Identifier, name: str, payload: Any = None, *, connection: Any = None
) -> None:
    """`send_signal` for code without an event loop."""
    current_sync().signal_sync(execution, name, payload, connection=connection)


def _enqueue(
    function: str, args: Mapping[str, Any] | Sequence[Any], options: Mapping[str, Any] | None
) -> database.Call[UUID]:
    what = f"the arguments of {function}()"
    given = dict(args) if isinstance(args, Mapping) else list(args)
    return database.enqueue(
        function,
        codec.encode(given or {}, what=what),
        {"id": str(models.new_id()), **(options or {})},
    )


def _signal(execution: Identifier, name: str, payload: Any) -> database.Call[int]:
    encoded = _signal_payload(name, payload)
    return database.signal(execution, name, encoded, {"id": str(models.new_id())})


def _signal_payload(name: str, payload: Any) -> str:
    if not isinstance(name, str) or not name:
        raise errors.InvalidArgument(f"a signal's name has to be text, not {name!r}")
    return codec.encode(payload, what=f"the payload of signal {name!r}")


async def _signal_from_workflow(
    execution: Identifier, name: str, payload: Any, connection: Any
) -> None:
    if connection is not None:
        raise errors.NotAllowedInWorkflow(
            "option connection cannot be used inside a workflow", hint="do it in a task"
        )
    await api.send_signal(Handle(execution).id, name, _signal_payload(name, payload))


def _retry(execution: Identifier, options: Mapping[str, Any]) -> database.Call[UUID]:
    return database.retry(execution, {"id": str(models.new_id()), **options})


def _outcome(state: models.ExecutionState, decode: Decode | None) -> Any:
    what = f"the result of {state.function}()"
    if state.status is models.Status.COMPLETED:
        return codec.decode(state.result, what=what) if decode is None else decode(state.result)
    kind = errors.Cancelled if state.status is models.Status.CANCELLED else errors.ExecutionFailed
    # The error was written by whatever worker: taken as it is, without the payload hook.
    raise kind.from_json(
        database.plain_json(state.error),
        attempts=state.attempt,
        execution_id=str(state.id),
        function=state.function,
    )


def _timed_out(execution: Identifier, limit: float | None) -> TimeoutError:
    return TimeoutError(f"execution {execution} has not ended within {limit:g} seconds")


def _seconds(value: Seconds) -> float:
    return value.total_seconds() if isinstance(value, timedelta) else value


def _refuse_in_workflow() -> None:
    if api.in_workflow():
        raise errors.NotAllowedInWorkflow(
            "a workflow cannot talk to the database itself, it would do so at every replay",
            hint="do it in a task, or use the awaitable forms of queue, run and send_signal",
        )


# --- Which client ------------------------------------------------------------------------------

_chosen: ContextVar[Client | None] = ContextVar("currant_client", default=None)


class _Defaults:
    """The clients of this process that nobody named."""

    def __init__(self) -> None:
        self.configured: Client | None = None
        self.clear()

    def clear(self) -> None:
        self.by_loop: dict[asyncio.AbstractEventLoop | None, Client] = {}
        self.pid = os.getpid()

    def of(self, loop: asyncio.AbstractEventLoop | None) -> Client:
        if self.pid != os.getpid():
            # The parent's connections are not ours to close: the old clients are kept, unused.
            self._inherited = self.by_loop
            self.clear()
        client = self.by_loop.get(loop)
        if client is None:
            for ended in [other for other in self.by_loop if other and other.is_closed()]:
                self.by_loop.pop(ended).close_sync()
            client = self.by_loop[loop] = Client()
        return client

    def close(self) -> None:
        if self.pid == os.getpid():
            for client in self.by_loop.values():
                client.close_sync()


_defaults = _Defaults()
atexit.register(_defaults.close)


def current() -> Client:
    """The client to use in the running event loop."""
    return _chosen.get() or _defaults.configured or _defaults.of(asyncio.get_running_loop())


def current_sync() -> Client:
    """The client to use without an event loop."""
    return _chosen.get() or _defaults.configured or _defaults.of(None)


def configure(
    url: str | None = None,
    *,
    settings: Settings | None = None,
    codec_hook: codec.PayloadHook | None = None,
) -> None:
    """Choose the database of this process, and what sees its payloads on their way.

    Without arguments everything is as at the start: the environment decides.
    """
    codec.set_hook(codec_hook)
    if url is None and settings is None:
        _defaults.configured = None
    else:
        _defaults.configured = Client(url, settings=settings)


def handles(client: Client, ids: Iterable[UUID], decode: Decode) -> list[Handle[Any]]:
    """A handle for each id."""
    return [Handle(execution, client=client, decode=decode) for execution in ids]
