"""Functions of the test in the place of tasks and workflows, and what was called with which
arguments."""

import asyncio
import copy
import inspect
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import FunctionType, TracebackType
from typing import Any, Self
from unittest.mock import AsyncMock
from uuid import UUID

from currant import context, definitions
from currant.testing.errors import KitError, hidden
from currant.workflow import api

__tracebackhide__ = hidden

AnyFunction = definitions.Function[..., Any, Any]


@dataclass(frozen=True, slots=True)
class Call:
    """A task or workflow was called.

    Attributes:
        arguments: by parameter, as they arrived; those with defaults included.
        attempt: 1 for the first.
        execution_id: which execution it was.
    """

    arguments: Mapping[str, Any]
    attempt: int
    execution_id: str


async def hang(*_args: Any, **_kwargs: Any) -> Any:
    """Takes the place of a task that never ends: nothing waits for it in real time.

    Time goes on over it, up to its timeout and a few seconds more, when the database ends the
    attempt.
    """
    raise KitError("hang() is to be given to Environment.replace(), not called")


class Replacement:
    """Something is replaced, until `undo` or the end of a `with` block."""

    def __init__(self, functions: "Functions", name: str, fn: Callable[..., Any]) -> None:
        self._functions = functions
        self.name = name
        self.fn = fn

    def undo(self) -> None:
        """Have the function itself run again, or what it was replaced by before."""
        self._functions.undo(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.undo()


class Functions(definitions.Registry):
    """The functions of this process as a worker under test sees them.

    Args:
        stir: called when something has happened that nobody else tells.
    """

    def __init__(self, stir: Callable[[], None]) -> None:
        self._stir = stir
        self._replacements: dict[str, list[Replacement]] = defaultdict(list)
        self._calls: dict[str, list[Call]] = defaultdict(list)
        self._hanging: set[UUID] = set()
        self._lock = threading.Lock()

    # --- what the worker asks

    def get(self, name: str) -> AnyFunction | None:
        """The function of that name, watched or replaced."""
        function = definitions.registry.get(name)
        if function is None:
            return None
        with self._lock:
            replacements = list(self._replacements.get(name, ()))
        fn = replacements[-1].fn if replacements else function.fn
        stand_in = copy.copy(function)
        vars(stand_in).update(fn=self._watched(function, fn), is_async=_is_async(fn))
        return stand_in

    def all(self) -> tuple[AnyFunction, ...]:
        """All of them as they were declared."""
        return definitions.registry.all()

    # --- what the test asks

    def find(self, function: Any) -> AnyFunction:
        """The task or workflow that is meant.

        Raises:
            KitError: none of that name is known.
            TypeError: it is neither a task or workflow nor a name.
        """
        if isinstance(function, definitions.Function):
            return function
        if not isinstance(function, str):
            kind = "a plain function" if isinstance(function, FunctionType) else "no task"
            raise TypeError(
                f"{getattr(function, '__qualname__', repr(function))!s:.100} is {kind}, "
                "not decorated with @task or @workflow"
            )
        found = definitions.registry.get(function)
        if found is None:
            known = ", ".join(sorted(one.name for one in definitions.registry)) or "none"
            raise KitError(
                f"no task or workflow is called {function!r}",
                detail=f"known: {known}",
                hint="import the module that defines it",
            )
        return found

    def replace(self, function: AnyFunction, fn: Callable[..., Any]) -> Replacement:
        """Run `fn` in its place from now on.

        Raises:
            TypeError: `fn` cannot be called with the same arguments.
        """
        if isinstance(fn, definitions.Function):
            fn = fn.fn
        _check_fit(function, fn)
        replacement = Replacement(self, function.name, fn)
        with self._lock:
            self._replacements[function.name].append(replacement)
        return replacement

    def undo(self, replacement: Replacement) -> None:
        """Forget a replacement; once is enough."""
        with self._lock:
            kept = self._replacements.get(replacement.name, [])
            if replacement in kept:
                kept.remove(replacement)

    def calls(self, function: AnyFunction) -> list[Call]:
        """What it was called with so far, in order."""
        with self._lock:
            return list(self._calls.get(function.name, ()))

    def has_replaced(self, name: str) -> bool:
        """Whether a function was ever replaced."""
        return name in self._replacements

    @property
    def hanging(self) -> frozenset[UUID]:
        """The executions whose task hangs on purpose."""
        with self._lock:
            return frozenset(self._hanging)

    # --- how

    def _watched(self, function: AnyFunction, fn: Callable[..., Any]) -> Callable[..., Any]:
        if fn is hang and function.kind == "task":
            return self._hang_as(function)

        def watched(*args: Any, **kwargs: Any) -> Any:
            # Each replay of a workflow calls it again.
            run = api.current()
            if run is None or not run.is_replaying:
                self._note(function, args, kwargs)
            result = fn(*args, **kwargs)
            if function.kind == "workflow" and not inspect.isawaitable(result):
                return _given(result)
            return result

        return watched

    def _hang_as(self, function: AnyFunction) -> Callable[..., Any]:
        async def hanging(*args: Any, **kwargs: Any) -> None:
            self._note(function, args, kwargs)
            task = context.current()
            assert task is not None
            execution = UUID(task.id)
            with self._lock:
                self._hanging.add(execution)
            self._stir()
            try:
                await asyncio.Event().wait()
            finally:
                with self._lock:
                    self._hanging.discard(execution)

        return hanging

    def _note(self, function: AnyFunction, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        bound = inspect.signature(function.fn).bind(*args, **kwargs)
        bound.apply_defaults()
        run, task = api.current(), context.current()
        if run is not None:
            execution, attempt = str(run.run.id), 1
        else:
            assert task is not None
            execution, attempt = task.id, task.attempt
        with self._lock:
            self._calls[function.name].append(Call(dict(bound.arguments), attempt, execution))


async def _given(result: Any) -> Any:
    return result


def _is_async(fn: Callable[..., Any]) -> bool:
    # A mock is no function, and does not look like a coroutine function to every Python.
    return isinstance(fn, AsyncMock) or any(
        inspect.iscoroutinefunction(each)
        for each in (fn, getattr(fn, "__call__", None))  # noqa: B004
    )


def _check_fit(function: AnyFunction, fn: Callable[..., Any]) -> None:
    if not callable(fn):
        raise TypeError(
            f"{function.name} is replaced by a function, not by {fn!r:.100}: for a fixed result, "
            "give lambda **_: result"
        )
    try:
        taken = inspect.signature(fn)
    except (TypeError, ValueError):  # one written in C, or a mock, may not say
        return
    wanted = inspect.signature(function.fn)
    for args, kwargs in _shapes(wanted):
        try:
            taken.bind(*args, **kwargs)
        except TypeError as error:
            given = ", ".join([*args, *(f"{name}=…" for name in kwargs)])
            raise TypeError(
                f"what replaces {function.name}{wanted} has to take the same arguments: it is "
                f"called as {function.name}({given}), and {taken} does not fit: {error}"
            ) from None


def _shapes(signature: inspect.Signature) -> list[tuple[list[str], dict[str, str]]]:
    """Ways in which a worker may call such a function: with all that it takes, and the least."""
    parameter = inspect.Parameter
    parameters = signature.parameters.values()
    kinds = {each.kind for each in parameters}
    # As arguments travel: by name, unless some have none.
    by_place = bool(kinds & {parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL})
    shapes = []
    for is_full in (True, False):
        args: list[str] = []
        kwargs: dict[str, str] = {}
        for each in parameters:
            if each.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                continue
            if each.default is not parameter.empty and not is_full:
                continue
            if each.kind is parameter.KEYWORD_ONLY or not by_place:
                kwargs[each.name] = each.name
            else:
                args.append(each.name)
        shapes.append((args, kwargs))
    return shapes
