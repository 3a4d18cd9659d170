"""The client: what an application asks of the database, with and without an event loop."""

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from contextvars import ContextVar, Token
from typing import Any, Self, TypeVar

import psycopg

from currant import codec, connections, context, database, errors, inside, models, sending
from currant.arguments import Seconds, seconds
from currant.connections import Patience, Pools, Source
from currant.handles import Handle
from currant.inside import Decode
from currant.sending import Identifier, Target
from currant.settings import Settings
from currant.waiting import pauses, wait_sync
from currant.workflow import api

T = TypeVar("T")

# The one that was entered last, by `with` or `async with`.
entered: ContextVar["Client | None"] = ContextVar("currant_client", default=None)


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
        if url is not None:
            database.check_url(url)
        if settings is None:
            settings = Settings.from_environment(database_url=url)
        elif url is not None:
            raise TypeError("give Client a URL or settings, not both")
        self.settings = settings
        self._patience = seconds(patience, what="patience")
        self._pools = Pools(Source(settings, application_name))
        self._tokens: list[Token[Client | None]] = []

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, *_exc: object) -> None:
        self._leave()
        await self.close()

    def __enter__(self) -> Self:
        self._tokens.append(entered.set(self))
        return self

    def __exit__(self, *_exc: object) -> None:
        self._leave()
        self.close_sync()

    def _leave(self) -> None:
        # A fixture or a framework may leave in another context than it entered in; there is then
        # nothing to reset in this one.
        with contextlib.suppress(ValueError):
            entered.reset(self._tokens.pop())

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
        inside.refuse()
        if connection is not None:
            with connections.translated():
                return await connections.run_on(connection, call)
        return (await self.perform_all([call]))[0]  # type: ignore[no-any-return]

    def perform_sync(self, call: database.Call[T], *, connection: Any = None) -> T:
        """`perform` for code without an event loop."""
        inside.refuse()
        if connection is not None:
            with connections.translated():
                return connections.run_on_sync(connection, call)
        return self.perform_all_sync([call])[0]  # type: ignore[no-any-return]

    async def perform_all(self, calls: Sequence[database.Call[Any]]) -> list[Any]:
        """Run several calls in one transaction; otherwise as `perform`."""
        inside.refuse()
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
        inside.refuse()
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
        call = sending.enqueue(function, args, options)
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
        call = sending.enqueue(function, args, options)
        return self.handle(self.perform_sync(call, connection=connection))

    def handle(self, execution: Identifier, decode: Decode | None = None) -> Handle[Any]:
        """A handle on an execution, bound to this client."""
        return Handle(execution, client=self, decode=decode)

    async def signal(
        self,
        to: Target,
        name: str,
        payload: Any = None,
        *,
        key: str | None = None,
        connection: Any = None,
    ) -> None:
        """Send a workflow a signal; see `currant.send_signal`."""
        if api.in_workflow():
            await inside.signal(to, name, payload, key=key, connection=connection)
            return
        await self.perform(sending.signal(to, name, payload, key), connection=connection)

    def signal_sync(
        self,
        to: Target,
        name: str,
        payload: Any = None,
        *,
        key: str | None = None,
        connection: Any = None,
    ) -> None:
        """`signal` for code without an event loop."""
        self.perform_sync(sending.signal(to, name, payload, key), connection=connection)

    async def cancel(
        self,
        execution: Identifier,
        reason: str | None = None,
        *,
        force: bool = False,
        connection: Any = None,
    ) -> models.Status:
        """Ask for cancellation, or enforce it; where the execution stands now comes back."""
        call = sending.cancel(execution, reason, force=force)
        return await self.perform(call, connection=connection)

    def cancel_sync(
        self,
        execution: Identifier,
        reason: str | None = None,
        *,
        force: bool = False,
        connection: Any = None,
    ) -> models.Status:
        """`cancel` for code without an event loop."""
        call = sending.cancel(execution, reason, force=force)
        return self.perform_sync(call, connection=connection)

    async def retry(self, execution: Identifier, **options: Any) -> Handle[Any]:
        """Run a failed or cancelled execution again, as a new one."""
        return self.handle(await self.perform(sending.retry(execution, options)))

    def retry_sync(self, execution: Identifier, **options: Any) -> Handle[Any]:
        """`retry` for code without an event loop."""
        return self.handle(self.perform_sync(sending.retry(execution, options)))

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
        inside.refuse()
        limit = None if timeout is None else seconds(timeout, what="timeout")
        if limit is not None and limit <= 0:
            # Not even a first look would come to its end within the timeout.
            state = await self.status(execution)
            if not state.status.is_end:
                raise sending.timed_out(execution, limit)
            return _outcome(state, decode)
        deadline = asyncio.timeout(limit)
        try:
            async with deadline:
                state = await self._end(Handle(execution))
        except TimeoutError as error:
            if not deadline.expired():
                raise
            raise sending.timed_out(execution, limit) from error
        return _outcome(state, decode)

    async def _end(self, execution: str) -> models.ExecutionState:
        watch = database.watch(execution)
        ends = self._pools.of_loop().ends
        # What has ended needs no listener.
        if not ends.is_listening and (await self.perform(watch)).is_end:
            return await self.status(execution)
        async with ends.waiting_for(execution) as woken:
            if (await self.perform(watch)).is_end:
                return await self.status(execution)
            async with _others_may_run():
                return await self._watched_end(execution, woken)

    async def _watched_end(self, execution: str, woken: asyncio.Event) -> models.ExecutionState:
        ends = self._pools.of_loop().ends
        is_told = ends.is_listening
        rest = pauses(is_told=is_told)
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(next(rest)):
                    await woken.wait()
            if woken.is_set():
                woken.clear()
                state = await self.status(execution)
                if state.status.is_end:
                    return state
            elif (await self.perform(database.watch(execution))).is_end:
                return await self.status(execution)
            if is_told != ends.is_listening:
                is_told = ends.is_listening
                rest = pauses(is_told=is_told)

    def result_sync(
        self,
        execution: Identifier,
        *,
        timeout: Seconds | None = None,
        decode: Decode | None = None,
    ) -> Any:
        """`result` for code without an event loop; see `Handle.result_sync`."""
        inside.refuse()
        refuse_in_loop("result_sync()", "await handle.result()")
        limit = None if timeout is None else seconds(timeout, what="timeout")
        deadline = None if limit is None else time.monotonic() + limit
        state = self.status_sync(execution)
        if not state.status.is_end:
            with _others_may_run_sync():
                has_ended = self._wait_for_end_sync(Handle(execution), deadline)
            if not has_ended:
                raise sending.timed_out(execution, limit)
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


def _others_may_run() -> AbstractAsyncContextManager[None]:
    """Lends the slot of the task that waits in here.

    Tasks that wait for tasks would otherwise fill the worker, and wait for ever.
    """
    task = context.current()
    if task is None or task.lend_slot is None:
        return contextlib.nullcontext()
    return task.lend_slot()


def _others_may_run_sync() -> AbstractContextManager[None]:
    task = context.current()
    if task is None or task.lend_slot_sync is None:
        return contextlib.nullcontext()
    return task.lend_slot_sync()


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
        status=state.status,
    )


def refuse_in_loop(what: str, instead: str) -> None:
    """Raise NotAllowedInLoop if the caller runs in an event loop.

    A worker's could not even start what is waited for.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise errors.NotAllowedInLoop(f"{what} would block the event loop", hint=instead)
