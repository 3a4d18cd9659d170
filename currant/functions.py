"""A decorated function: what it declares, and the calls that can be made of it."""

import functools
import inspect
import os
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Final, Generic, ParamSpec, Self, TypeVar, Unpack
from uuid import UUID

from currant import client, codec, defaults, enqueueing, errors, inside, running
from currant.database import Call
from currant.declarations import BoundCall, Declaration
from currant.enqueueing import Enqueueing
from currant.handles import Handle
from currant.options import CallOptions
from currant.signatures import Signature
from currant.workflow import api

P = ParamSpec("P")
C = TypeVar("C", covariant=True)  # what calling the function itself gives
R = TypeVar("R", covariant=True)  # what it returns in the end


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
        self._enqueueing = Enqueueing(declaration)

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

        A workflow called so runs here and now, without a history, and its tasks with it; one that
        a workflow calls so is a part of that. If it continues as new, it is called again.

        Raises:
            NotAllowedInWorkflow: a task was called by a workflow, where it would run at every
                replay.
        """
        if self.kind == "task" and api.in_workflow():
            raise errors.NotAllowedInWorkflow(
                f"{self.name}() was called inside a workflow and would run at every replay",
                hint=f"await {self.name}.run(…)",
            )
        called = self.fn(*args, **kwargs)
        if self.kind == "task":
            return called
        is_part = api.in_workflow() or running.inline() is not None
        call = running.call_within if is_part else running.call_inline
        return call(self, called)  # type: ignore[return-value]

    # --- Running and queueing

    def run(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[None, None, R]:
        """Have a worker run it, and wait for its result.

        Inside a workflow it is a step, a workflow there a child: the result is kept, and replays
        use it.

        Raises:
            TypeError: at the call: the arguments do not fit the signature.
            EncodingError: at the call: an argument cannot be sent.
            PayloadTooLarge: they are larger than is stored; inside a workflow at the call.
            TaskFailed, ChildFailed: inside a workflow: it failed or was cancelled.
            ExecutionFailed, Cancelled: elsewhere: it failed or was cancelled.
        """
        encoded = self.encode_call(args, kwargs)
        if api.in_workflow():
            run = api.run_task if self.kind == "task" else api.run_child
            return run(self.name, encoded, self._enqueueing.of_step(), self.decode_result)
        if running.is_in_place():
            return running.run_inline(self, encoded)
        return self._run(encoded)

    def run_sync(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """`run` for code without an event loop.

        Raises:
            NotAllowedInLoop: there is one, which it would block.
        """
        inside.refuse(f"{self.name}.run_sync() cannot be used inside a workflow", self._awaited)
        self._enqueueing.refuse_waiting_for_caller("run_sync")
        client.refuse_in_loop(f"{self.name}.run_sync()", self._awaited)
        return self.queue_sync(*args, **kwargs).result_sync()

    def queue(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[None, None, Handle[R]]:
        """Enqueue it; the handle is its id.

        Raises:
            TypeError: at the call: the arguments do not fit the signature.
            EncodingError: at the call: an argument cannot be sent.
            PayloadTooLarge: they are larger than is stored.
        """
        encoded = self.encode_call(args, kwargs)
        if api.in_workflow():
            return self._queue_in_workflow(encoded, self._enqueueing.of_queued())
        return self._queue(encoded)

    def queue_sync(self, *args: P.args, **kwargs: P.kwargs) -> Handle[R]:
        """`queue` for code without an event loop."""
        chosen = self._client_sync()
        call = self._enqueueing.one(self.encode_call(args, kwargs), chosen.settings)
        execution = chosen.perform_sync(call, connection=self._enqueueing.connection)
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
            sent = self._enqueueing.of_queued("queue_many")
            each = [
                sent if key is None else {**sent, "key": key}
                for key in keys or [None] * len(encoded)
            ]
            return [
                await self._queue_in_workflow(args, own)
                for args, own in zip(encoded, each, strict=True)
            ]
        chosen = self._client()
        batches = self._enqueueing.many(encoded, keys, chosen.settings)
        connection = self._enqueueing.connection
        if connection is None:
            found = await chosen.perform_all(batches) if batches else []
        else:
            found = [await chosen.perform(batch, connection=connection) for batch in batches]
        return self._handles(found, chosen)

    def queue_many_sync(
        self,
        calls: Iterable[Mapping[str, Any] | BoundCall],
        *,
        keys: Sequence[str | None] | None = None,
    ) -> list[Handle[R]]:
        """`queue_many` for code without an event loop."""
        chosen = self._client_sync()
        encoded = self._encode_many(calls, keys)
        batches = self._enqueueing.many(encoded, keys, chosen.settings)
        connection = self._enqueueing.connection
        if connection is None:
            found = chosen.perform_all_sync(batches) if batches else []
        else:
            found = [chosen.perform_sync(batch, connection=connection) for batch in batches]
        return self._handles(found, chosen)

    def queue_and_signal(
        self, signal: str, payload: Any, /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[None, None, Handle[R]]:
        """Signal the workflow that has this key; if there is none, enqueue it first.

        Both are one transaction. Needs `.options(key=…)`, or an id. While the workflow is open,
        all who use its key reach the same one; after its end the next of them begins another
        (with `key_scope="always"`: gets AlreadyEnded).

        Args:
            signal: the signal's name. With option `signal_key`, the workflow gets it once
                however often it is sent.
            payload: the signal's payload.

        Raises:
            TypeError, EncodingError: at the call, as of `queue`, and for the payload.
            OptionError: at the call: there is neither a key nor an id.
            InvalidArgument: at the call: it is a task, or the name is none of a signal.
            NotAllowedInWorkflow: at the call: a workflow is running.
            AlreadyEnded: what has this id has ended.
        """
        inside.refuse(*self._queue_and_signal_outside)
        encoded = self.encode_call(args, kwargs)
        return self._queue_and_signal(encoded, signal, self._enqueueing.payload(signal, payload))

    def queue_and_signal_sync(
        self, signal: str, payload: Any, /, *args: P.args, **kwargs: P.kwargs
    ) -> Handle[R]:
        """`queue_and_signal` for code without an event loop."""
        inside.refuse(*self._queue_and_signal_outside)
        encoded = self.encode_call(args, kwargs)
        sent = self._enqueueing.payload(signal, payload)
        chosen = self._client_sync()
        call = self._enqueueing.with_signal(encoded, signal, sent, chosen.settings)
        execution = chosen.perform_sync(call, connection=self._enqueueing.connection)
        return self._handle(execution, chosen)

    def bind(self, *args: P.args, **kwargs: P.kwargs) -> BoundCall:
        """The arguments of one call, for `queue_many`."""
        return BoundCall(self.name, self.encode_call(args, kwargs))

    def options(self, **options: Unpack[CallOptions]) -> Self:
        """The same function with other options for what is run or queued through it.

        Raises:
            OptionError: a name is unknown or a value is wrong.
        """
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._enqueueing = self._enqueueing.changed(options)
        return other

    def begin(self, args: str) -> Coroutine[Any, Any, Any]:
        """Begin a run of a workflow on a worker, inside of the run's own context.

        Returns:
            The coroutine of the function itself.

        Raises:
            DecodingError: the arguments do not fit.
        """
        return running.begin(self, args)

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

    @property
    def _awaited(self) -> str:
        return f"await {self.name}.run(…)"

    @property
    def _queue_and_signal_outside(self) -> tuple[str, str]:
        return (
            f"{self.name}.queue_and_signal() cannot be used inside a workflow",
            "do it in a task, or queue() with a key and send_signal()",
        )

    def _client(self) -> client.Client:
        return self._enqueueing.client or defaults.current()

    def _client_sync(self) -> client.Client:
        return self._enqueueing.client or defaults.current_sync()

    def _bound_to(self, chosen: client.Client | None) -> client.Client | None:
        # What went through a connection of the caller's may be in any database.
        return None if self._enqueueing.connection is not None else chosen

    def _handle(self, execution: UUID, chosen: client.Client | None) -> Handle[R]:
        bound_to, decode = self._bound_to(chosen), self.decode_result
        return Handle(execution, client=bound_to, decode=decode, function=self.name)

    def _handles(self, found: list[list[str]], chosen: client.Client) -> list[Handle[R]]:
        bound_to, decode, name = self._bound_to(chosen), self.decode_result, self.name
        return [Handle._of_known(each, bound_to, decode, name) for ids in found for each in ids]

    def _encode_many(
        self, calls: Iterable[Mapping[str, Any] | BoundCall], keys: Sequence[str | None] | None
    ) -> list[str]:
        self._enqueueing.refuse_sharing()
        encoded = enqueueing.arguments(self, calls)
        if keys is not None and len(keys) != len(encoded):
            raise errors.OptionError(
                f"queue_many of {self.name} got {len(encoded)} calls and {len(keys)} keys"
            )
        return encoded

    async def _queue(self, encoded: str) -> Handle[R]:
        chosen = self._client()
        return await self._perform(self._enqueueing.one(encoded, chosen.settings), chosen)

    async def _queue_and_signal(self, encoded: str, signal: str, payload: str) -> Handle[R]:
        chosen = self._client()
        call = self._enqueueing.with_signal(encoded, signal, payload, chosen.settings)
        return await self._perform(call, chosen)

    async def _perform(self, call: Call[UUID], chosen: client.Client) -> Handle[R]:
        execution = await chosen.perform(call, connection=self._enqueueing.connection)
        return self._handle(execution, chosen)

    async def _queue_in_workflow(self, encoded: str, sent: Mapping[str, Any]) -> Handle[R]:
        return self._handle(await api.queue_execution(self.name, encoded, sent), None)

    async def _run(self, encoded: str) -> R:
        self._enqueueing.refuse_waiting_for_caller("run")
        handle = await self._queue(encoded)
        return await handle.result()


def file_of(fn: Any) -> str:
    """The file a function was written in."""
    return os.path.realpath(str(inspect.unwrap(fn).__code__.co_filename))
