"""Which client is used where none is named.

The one that was entered last (`async with Client(url)`), else the one that `configure` made, else
one per event loop and one for all threads without a loop, made at first use from the environment.
"""

import asyncio
import atexit
import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final

from currant import client, codec, inside
from currant.client import Client
from currant.sending import Target
from currant.settings import Settings
from currant.workflow import api


class _Defaults:
    """The clients of this process that nobody named, for all its threads."""

    def __init__(self) -> None:
        self._configured: Client | None = None
        self._replaced: list[Client] = []
        self._by_loop: dict[asyncio.AbstractEventLoop | None, Client] = {}
        # Reentrant, since a signal's handler may interrupt its owner and ask for a client.
        self._lock = threading.RLock()

    def of(self, loop: asyncio.AbstractEventLoop | None) -> Client:
        """The client of this event loop, or of those who have none."""
        with self._lock:
            found = self._configured or self._by_loop.get(loop)
            if found is not None:
                return found
            ended = [other for other in self._by_loop if other and other.is_closed()]
            left = [self._by_loop.pop(other) for other in ended]
            made = self._by_loop[loop] = Client()
        for one in left:
            one.close_sync()
        return made

    def configure(self, configured: Client | None) -> None:
        """Use this one for everybody; None: each their own again."""
        with self._lock:
            before, self._configured = self._configured, configured
        if before is not None:
            # What it has open in event loops is closed with them, by themselves.
            self._replaced.append(before)
            before.close_sync()

    @contextmanager
    def replaced(self, instead: Client) -> Iterator[None]:
        """Use this one for everybody, and afterwards what was used before."""
        with self._lock:
            before, self._configured = self._configured, instead
        try:
            yield
        finally:
            with self._lock:
                after, self._configured = self._configured, before
            for one in {instead, after or instead}:
                self._replaced.append(one)
                one.close_sync()

    def close(self) -> None:
        """Close the connections of all, as far as they are nobody else's, and forget them."""
        with self._lock:
            everybody = [*self._by_loop.values()]
            self._by_loop.clear()
        for one in everybody:
            one.close_sync()
        self.configure(None)

    def begin_anew(self) -> None:
        """In the child of a fork, only the thread that forked goes on."""
        self._lock = threading.RLock()
        # Their connections are the parent's. They are kept, so that none is closed in its name.
        self._inherited = self._by_loop
        self._by_loop = {}


_defaults = _Defaults()
atexit.register(_defaults.close)
os.register_at_fork(after_in_child=_defaults.begin_anew)


def current() -> Client:
    """The client to use in the running event loop.

    Raises:
        NotAllowedInWorkflow: the loop is a workflow's.
    """
    inside.refuse()
    return client.entered.get() or _defaults.of(asyncio.get_running_loop())


def current_sync() -> Client:
    """The client to use without an event loop.

    Raises:
        NotAllowedInWorkflow: the caller is the code of a workflow.
    """
    inside.refuse()
    return client.entered.get() or _defaults.of(None)


class _Kept:
    """The type of an argument that was not given, where None means something."""

    def __repr__(self) -> str:
        return "as it is"


_AS_IT_IS: Final = _Kept()


def configure(
    url: str | None = None,
    *,
    settings: Settings | None = None,
    codec_hook: codec.PayloadHook | _Kept | None = _AS_IT_IS,
) -> None:
    """Choose the database of this process, and what sees its payloads on their way.

    Args:
        url: of the database. Without URL and settings, the environment decides, as at the start.
        settings: instead of the URL.
        codec_hook: sees every payload that is sent or read, for example to encrypt it; None
            removes the one there is. Not given, it stays.
    """
    chosen = None if url is None and settings is None else Client(url, settings=settings)
    if not isinstance(codec_hook, _Kept):
        codec.set_hook(codec_hook)
    _defaults.configure(chosen)


def replaced(instead: Client) -> AbstractContextManager[None]:
    """Have everybody use this client for as long as the context is open, then what was before."""
    return _defaults.replaced(instead)


async def send_signal(
    to: Target,
    name: str,
    payload: Any = None,
    *,
    key: str | None = None,
    connection: Any = None,
) -> None:
    """Send a workflow a signal; whoever waits for that name gets the payload.

    Inside a workflow the signal is sent with the commit of what the workflow has done so far.
    Whether somebody is there is not known at the call: what finds nobody is dropped, without an
    error.

    Args:
        to: an execution's id; or `(function, key)`, the function or its name, for the execution
            that holds this key.
        key: of the signal: however often it is sent under it, the workflow gets it once.
        connection: send it in the transaction of this connection.

    Raises:
        ExecutionNotFound: no execution has this id, or holds this key. (Not inside a workflow.)
        AlreadyEnded: it has ended. (Not inside a workflow.)
        EncodingError: the payload cannot be sent.
        PayloadTooLarge: it is larger than is stored.
        InvalidArgument: `to` is neither, or the name is none that a signal could have.
        NotAllowedInWorkflow: connection or key were given inside a workflow.
    """
    if api.in_workflow():
        await inside.signal(to, name, payload, key=key, connection=connection)
    else:
        await current().signal(to, name, payload, key=key, connection=connection)


def send_signal_sync(
    to: Target,
    name: str,
    payload: Any = None,
    *,
    key: str | None = None,
    connection: Any = None,
) -> None:
    """`send_signal` for code without an event loop."""
    current_sync().signal_sync(to, name, payload, key=key, connection=connection)
