"""What enqueueing returns: the id of an execution, with what can be asked of it."""

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar
from uuid import UUID

from currant import errors, inside, models
from currant.workflow import api

if TYPE_CHECKING:
    from currant.client import Client

R = TypeVar("R", covariant=True)

_NO_LOOK = (
    "where an execution stands cannot be asked inside a workflow, a replay would see another state",
    "await the handle's result(), or ask in a task",
)


class Handle(str, Generic[R]):
    """An execution's id as text, and what can be asked of it.

    It prints, compares, stores and travels as the id. `Handle(text)` makes one again.

    Raises:
        InvalidArgument: the text is no UUID.
    """

    __slots__ = ("__weakref__", "_client", "_decode", "_function")

    _client: "Client | None"
    _decode: Callable[[str | None], Any] | None
    _function: str | None

    def __new__(
        cls,
        execution: UUID | str,
        *,
        client: "Client | None" = None,
        decode: Callable[[str | None], Any] | None = None,
        function: str | None = None,
    ) -> Self:
        try:
            text = str(execution if isinstance(execution, UUID) else UUID(execution))
        except (ValueError, AttributeError, TypeError):
            raise errors.InvalidArgument(
                f"{execution!r} is not an execution id", hint="ids are UUIDs"
            ) from None
        return cls._of_known(text, client, decode, function)

    @classmethod
    def _of_known(
        cls,
        text: str,
        client: "Client | None",
        decode: Callable[[str | None], Any] | None,
        function: str | None,
    ) -> Self:
        """As the constructor, for an id as the database writes it, which is not looked at."""
        handle = super().__new__(cls, text)
        handle._client = client
        handle._decode = decode
        handle._function = function
        return handle

    @property
    def id(self) -> UUID:
        """The id as a UUID."""
        return UUID(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return Handle, (str(self),)

    def __repr__(self) -> str:
        return f"Handle({str.__repr__(self)})"

    def __str__(self) -> str:
        return str.__str__(self)

    async def status(self) -> models.Status:
        """Where the execution stands now.

        Raises:
            ExecutionNotFound: there is none with this id.
        """
        return (await self.state()).status

    def status_sync(self) -> models.Status:
        """`status` for code without an event loop."""
        return self.state_sync().status

    async def state(self) -> models.ExecutionState:
        """Everything that is known of the execution now.

        Raises:
            ExecutionNotFound: there is none with this id.
        """
        inside.refuse(*_NO_LOOK)
        return await self._of_loop().status(self)

    def state_sync(self) -> models.ExecutionState:
        """`state` for code without an event loop."""
        inside.refuse(*_NO_LOOK)
        return self._of_thread().status_sync(self)

    async def result(self, *, timeout: float | timedelta | None = None) -> R:
        """Wait for the execution to end, and give its result.

        Inside a workflow the result is kept, and replays use it.

        Args:
            timeout: seconds or a timedelta to wait at most; 0 looks whether it has ended. (Not
                inside a workflow, which cannot look: there it always raises.)

        Raises:
            ExecutionFailed: it failed; the error says with what, and carries the traceback.
            Cancelled: it was cancelled.
            TimeoutError: it did not end in time (it goes on nevertheless).
            ExecutionNotFound: there is none with this id.
        """
        result: R
        if api.in_workflow():
            result = await inside.result(self.id, self._function, timeout, self._decode)
            return result
        result = await self._of_loop().result(self, timeout=timeout, decode=self._decode)
        return result

    def result_sync(self, *, timeout: float | timedelta | None = None) -> R:
        """`result` for code without an event loop.

        Raises:
            NotAllowedInLoop: there is one, which it would block.
        """
        result: R = self._of_thread().result_sync(self, timeout=timeout, decode=self._decode)
        return result

    async def signal(self, name: str, payload: Any = None, *, key: str | None = None) -> None:
        """Send the workflow a signal.

        Inside a workflow it goes out with the commit of what the workflow has done so far. Whether
        somebody is there is not known at the call: what finds nobody is dropped, without an error.

        Args:
            key: however often the signal is sent under it, the workflow gets it once.

        Raises:
            AlreadyEnded: it has ended. (Not inside a workflow.)
            ExecutionNotFound: there is none with this id. (Not inside a workflow.)
            NotAllowedInWorkflow: a key was given inside a workflow.
        """
        if api.in_workflow():
            await inside.signal(self, name, payload, key=key, connection=None)
        else:
            await self._of_loop().signal(self, name, payload, key=key)

    def signal_sync(self, name: str, payload: Any = None, *, key: str | None = None) -> None:
        """`signal` for code without an event loop."""
        self._of_thread().signal_sync(self, name, payload, key=key)

    async def cancel(
        self, reason: str | None = None, *, force: bool = False
    ) -> models.Status | None:
        """Ask for the execution to be cancelled; where it stands now comes back.

        Cancelling what has ended changes nothing. Inside a workflow the request goes out with the
        commit of what the workflow has done so far, and None comes back; what finds nobody is
        dropped, without an error.

        Args:
            force: end it at once, with everything that it has running, without asking.

        Raises:
            ExecutionNotFound: there is none with this id. (Not inside a workflow.)
            NotAllowedInWorkflow: force was given inside a workflow.
        """
        if api.in_workflow():
            await inside.cancel(self.id, reason, force=force)
            return None
        return await self._of_loop().cancel(self, reason, force=force)

    def cancel_sync(self, reason: str | None = None, *, force: bool = False) -> models.Status:
        """`cancel` for code without an event loop."""
        return self._of_thread().cancel_sync(self, reason, force=force)

    def _of_loop(self) -> "Client":
        return self._client or _defaults().current()

    def _of_thread(self) -> "Client":
        return self._client or _defaults().current_sync()


def _defaults() -> Any:
    # Clients make handles; one made from a bare id has to ask for a client only when used.
    from currant import defaults

    return defaults
