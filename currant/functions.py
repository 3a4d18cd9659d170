"""A decorated function: what it declares, and the calls that can be made of it."""

import asyncio
import functools
import inspect
import os
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Final, Generic, ParamSpec, Self, TypeVar, Unpack
from uuid import UUID

from currant import authoring, client, codec, database, defaults, errors, models
from currant.declarations import BoundCall, Declaration
from currant.handles import Handle
from currant.options import CARRIERS, TASKS_ONLY, CallOptions, check
from currant.settings import Settings
from currant.signatures import Signature
from currant.workflow import api

P = ParamSpec("P")
C = TypeVar("C", covariant=True)  # what calling the function itself gives
R = TypeVar("R", covariant=True)  # what it returns in the end

_BATCH: Final = 1000


class Function(Generic[P, C, R]):
    """A task or workflow.

    Calling it calls the function itself; `.run` and `.queue` have a worker do it. `fn` is the
    function as it was written.
    """

    def __init__(
        self,
        fn: Callable[P, C],
        declaration: Declaration,
        local_names: Mapping[str, Any] | None = None,
    ) -> None:
        functools.update_wrapper(self, fn)
        self.fn: Final = fn
        self.declaration: Final = declaration
        self.is_async: Final = inspect.iscoroutinefunction(fn)
        self._signature = Signature(fn, declaration.name, local_names)
        self._options: dict[str, Any] = {}

    @property
    def name(self) -> str:
        """What it is called in the database."""
        return self.declaration.name

    @property
    def kind(self) -> str:
        """ "task" or "workflow"."""
        return self.declaration.kind

    @property
    def place(self) -> str:
        """Where it was defined, for people."""
        return f"{self.fn.__module__}.{self.fn.__qualname__} ({file_of(self.fn)})"

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name}>"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> C:
        """Call the function itself.

        A workflow called so runs here and now, without a history, and its tasks with it.

        Raises:
            NotAllowedInWorkflow: a task was called by a workflow, where it would run at every
                replay.
        """
        if api.in_workflow():
            if self.kind == "task":
                raise errors.NotAllowedInWorkflow(
                    f"{self.name}() was called inside a workflow and would run at every replay",
                    hint=f"await {self.name}.run(…)",
                )
        elif self.kind == "workflow":
            return self._call_inline(self.fn(*args, **kwargs))  # type: ignore[return-value]
        return self.fn(*args, **kwargs)

    # --- Running and queueing

    def run(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[None, None, R]:
        """Have a worker run it, and wait for its result.

        Inside a workflow it is a step: its result is kept, and replays use it.

        Raises:
            TypeError: at the call: the arguments do not fit the signature.
            EncodingError: at the call: an argument cannot be sent.
            TaskFailed: inside a workflow: it failed.
            ExecutionFailed, Cancelled: elsewhere: it failed or was cancelled.
        """
        encoded = self.encode_call(args, kwargs)
        if api.in_workflow():
            if self.kind == "workflow":
                raise errors.NotAllowedInWorkflow(
                    f"{self.name}.run() inside a workflow: child workflows are not supported",
                    hint=f"await {self.name}.queue(…), which nobody waits for",
                )
            self._refuse_key_of_step()
            return api.run_task(self.name, encoded, self._in_workflow(), self.decode_result)
        if authoring.is_inline():
            return self._run_inline(encoded)
        return self._run(encoded)

    def run_sync(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """`run` for code without an event loop.

        Raises:
            NotAllowedInLoop: there is one, which it would block.
        """
        client.refuse_in_workflow()
        self._refuse_waiting_for_caller("run_sync")
        client.refuse_in_loop(f"{self.name}.run_sync()", f"await {self.name}.run(…)")
        return self.queue_sync(*args, **kwargs).result_sync()

    def queue(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[None, None, Handle[R]]:
        """Enqueue it; the handle is its id.

        Raises:
            TypeError: at the call: the arguments do not fit the signature.
            EncodingError: at the call: an argument cannot be sent.
        """
        encoded = self.encode_call(args, kwargs)
        if api.in_workflow():
            return self._queue_in_workflow(encoded, self._in_workflow())
        return self._queue(encoded)

    def queue_sync(self, *args: P.args, **kwargs: P.kwargs) -> Handle[R]:
        """`queue` for code without an event loop."""
        chosen = self._client_sync()
        call = self._enqueue(self.encode_call(args, kwargs), chosen.settings)
        execution = chosen.perform_sync(call, connection=self._options.get("connection"))
        return self._handle(execution, chosen)

    async def queue_many(
        self,
        calls: Iterable[Mapping[str, Any] | BoundCall],
        *,
        keys: Sequence[str | None] | None = None,
    ) -> list[Handle[R]]:
        """Enqueue it many times in one transaction: all or none.

        Args:
            calls: keyword arguments, or what `bind` gives, for each.
            keys: an idempotency key, or None, for each.
        """
        encoded = self._encode_many(calls, keys)
        if api.in_workflow():
            sent = self._in_workflow()
            each = [
                sent if key is None else {**sent, "key": key}
                for key in keys or [None] * len(encoded)
            ]
            return [
                await self._queue_in_workflow(args, own)
                for args, own in zip(encoded, each, strict=True)
            ]
        chosen = self._client()
        batches = self._enqueue_many(encoded, keys, chosen.settings)
        connection = self._options.get("connection")
        if connection is None:
            found = await chosen.perform_all(batches) if batches else []
        else:
            found = [await chosen.perform(batch, connection=connection) for batch in batches]
        return [self._handle(execution, chosen) for ids in found for execution in ids]

    def queue_many_sync(
        self,
        calls: Iterable[Mapping[str, Any] | BoundCall],
        *,
        keys: Sequence[str | None] | None = None,
    ) -> list[Handle[R]]:
        """`queue_many` for code without an event loop."""
        chosen = self._client_sync()
        batches = self._enqueue_many(self._encode_many(calls, keys), keys, chosen.settings)
        connection = self._options.get("connection")
        if connection is None:
            found = chosen.perform_all_sync(batches) if batches else []
        else:
            found = [chosen.perform_sync(batch, connection=connection) for batch in batches]
        return [self._handle(execution, chosen) for ids in found for execution in ids]

    def bind(self, *args: P.args, **kwargs: P.kwargs) -> BoundCall:
        """The arguments of one call, for `queue_many`."""
        return BoundCall(self.name, self.encode_call(args, kwargs))

    def options(self, **options: Unpack[CallOptions]) -> Self:
        """The same function with other options for what is run or queued through it.

        Raises:
            OptionError: a name is unknown or a value is wrong.
        """
        where = f"{self.name}.options()"
        known = [name for name in CallOptions.__annotations__ if self._takes(name)]
        merged = {**self._options, **check(options, known, where=where)}
        if "delay" in merged and "run_at" in merged:
            raise errors.OptionError(f"options delay and run_at of {where} exclude each other")
        if merged.get("client") is not None and merged.get("connection") is not None:
            raise errors.OptionError(
                f"options client and connection of {where} exclude each other",
                hint="the connection says which database it is",
            )
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._options = merged
        return other

    # --- Its values as JSON

    def encode_call(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
        """The JSON of a call's arguments.

        Raises:
            TypeError: they do not fit the signature.
            EncodingError: one cannot be sent.
        """
        return self._signature.encode(args, dict(kwargs))

    def decode_call(self, text: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments that the JSON stands for.

        Raises:
            DecodingError: they do not fit.
        """
        return self._signature.decode(text)

    def encode_result(self, value: Any) -> str:
        """The JSON of a result.

        Raises:
            EncodingError: it cannot be sent, or does not fit the annotation.
        """
        hint, what = self._signature.returns
        return codec.encode(value, what=what, hint=hint)

    def decode_result(self, text: str | None) -> Any:
        """The result that the JSON stands for.

        Raises:
            DecodingError: it does not fit the annotation.
        """
        hint, what = self._signature.returns
        return codec.decode(text, hint, what=what)

    def is_retryable(self, error: BaseException) -> bool:
        """Whether another attempt may do better than one that ended with this error."""
        if isinstance(error, errors.Retry):
            return True
        return not isinstance(
            error,
            (*self.declaration.non_retryable, errors.PayloadError, errors.DefinitionError),
        )

    # --- Parts of the above

    def _refuse_waiting_for_caller(self, method: str) -> None:
        if self._options.get("connection") is not None:
            raise errors.OptionError(
                f"{self.name}.{method}() cannot wait for what the caller has yet to commit",
                hint="queue it, commit, and wait for the handle's result",
            )

    def _refuse_key_of_step(self) -> None:
        for option in ("key", "key_scope"):
            if option in self._options:
                raise errors.NotAllowedInWorkflow(
                    f"option {option} of {self.name}.run() cannot be used inside a workflow,"
                    " where each step is run once anyway",
                    hint=f"to share one execution among many, await {self.name}.queue(…)",
                )

    def _takes(self, option: str) -> bool:
        return self.kind == "task" or option not in TASKS_ONLY

    def _client(self) -> client.Client:
        return self._options.get("client") or defaults.current()

    def _client_sync(self) -> client.Client:
        return self._options.get("client") or defaults.current_sync()

    def _handle(self, execution: UUID, chosen: client.Client | None) -> Handle[R]:
        # What went through a connection of the caller's may be in any database.
        bound_to = None if self._options.get("connection") is not None else chosen
        return Handle(execution, client=bound_to, decode=self.decode_result)

    def _sent(self, settings: Settings) -> dict[str, Any]:
        """Options for the database: this call's, then the declaration's, then the settings'."""
        if self.kind == "task":
            defaults = {"retries": settings.default_retries, "timeout": settings.default_timeout}
        else:
            defaults = {"timeout": settings.default_workflow_timeout}
        chosen = {name: value for name, value in self._options.items() if name not in CARRIERS}
        return {**defaults, **self.declaration.as_options(), **chosen}

    def _in_workflow(self) -> dict[str, Any]:
        """Options inside a workflow, which puts what has no queue into its own."""
        for carrier in CARRIERS:
            if self._options.get(carrier) is not None:
                raise errors.NotAllowedInWorkflow(
                    f"option {carrier} of {self.name} cannot be used inside a workflow",
                    hint="what a workflow asks for is stored with its own commit",
                )
        if "id" in self._options:
            raise errors.NotAllowedInWorkflow(
                f"option id of {self.name} cannot be used inside a workflow",
                hint="ids are derived there, so that every replay gives the same",
            )
        return self._sent(_settings_of_process())

    def _enqueue(self, args: str, settings: Settings) -> database.Call[UUID]:
        sent = {"queue": "default", "id": str(models.new_id()), **self._sent(settings)}
        return database.enqueue(self.name, args, sent)

    def _encode_many(
        self, calls: Iterable[Mapping[str, Any] | BoundCall], keys: Sequence[str | None] | None
    ) -> list[str]:
        for option in ("id", "key"):
            if option in self._options:
                raise errors.OptionError(
                    f"option {option} of {self.name} cannot be shared by many",
                    hint="queue_many(…, keys=[…]) takes a key for each",
                )
        encoded = [self._encode_one(call) for call in calls]
        if keys is not None and len(keys) != len(encoded):
            raise errors.OptionError(
                f"queue_many of {self.name} got {len(encoded)} calls and {len(keys)} keys"
            )
        return encoded

    def _encode_one(self, call: Mapping[str, Any] | BoundCall) -> str:
        if isinstance(call, BoundCall):
            if call.function != self.name:
                raise TypeError(f"a call of {call.function}() was given to {self.name}.queue_many")
            return call.args
        if not isinstance(call, Mapping):
            raise TypeError(
                f"{self.name}.queue_many takes mappings of keyword arguments, or what"
                f" {self.name}.bind(…) gives, not {call!r:.100}"
            )
        return self.encode_call((), call)

    def _enqueue_many(
        self, encoded: Sequence[str], keys: Sequence[str | None] | None, settings: Settings
    ) -> list[database.Call[list[UUID]]]:
        sent = {"queue": "default", **self._sent(settings)}
        batches = []
        for start in range(0, len(encoded), _BATCH):
            args = encoded[start : start + _BATCH]
            if keys is not None:
                sent = {**sent, "keys": keys[start : start + _BATCH]}
            ids = [models.new_id() for _ in args]
            batches.append(database.enqueue_many(self.name, args, sent, ids))
        return batches

    async def _queue(self, encoded: str) -> Handle[R]:
        chosen = self._client()
        call = self._enqueue(encoded, chosen.settings)
        execution = await chosen.perform(call, connection=self._options.get("connection"))
        return self._handle(execution, chosen)

    async def _queue_in_workflow(self, encoded: str, sent: Mapping[str, Any]) -> Handle[R]:
        return self._handle(await api.queue_execution(self.name, encoded, sent), None)

    async def _run(self, encoded: str) -> R:
        self._refuse_waiting_for_caller("run")
        handle = await self._queue(encoded)
        return await handle.result()

    async def _call_inline(self, coroutine: Any) -> Any:
        with authoring.inline():
            return await coroutine

    async def _run_inline(self, encoded: str) -> R:
        args, kwargs = self.decode_call(encoded)
        fn: Any = self.fn
        try:
            if self.is_async:
                value = await fn(*args, **kwargs)
            else:
                value = await asyncio.to_thread(fn, *args, **kwargs)
        except Exception as error:
            described = errors.describe(error)
            raise errors.TaskFailed.from_json(described, attempts=1, function=self.name) from error
        result: R = self.decode_result(self.encode_result(value))
        return result


def _settings_of_process() -> Settings:
    names = (
        "CURRANT_DEFAULT_RETRIES",
        "CURRANT_DEFAULT_TIMEOUT",
        "CURRANT_DEFAULT_WORKFLOW_TIMEOUT",
    )
    return _settings_for(tuple((name, os.environ.get(name, "")) for name in names))


@functools.lru_cache(maxsize=8)
def _settings_for(variables: tuple[tuple[str, str], ...]) -> Settings:
    return Settings.from_environment(dict(variables))


def file_of(fn: Any) -> str:
    """The file a function was written in."""
    return os.path.realpath(str(inspect.unwrap(fn).__code__.co_filename))
