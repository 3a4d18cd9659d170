"""The decorators, and the registry of what they decorate."""

import inspect
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping
from types import FrameType, FunctionType
from typing import Any, ParamSpec, Protocol, TypeVar, Unpack, overload

from currant import errors
from currant.declarations import Declaration
from currant.functions import Function, file_of
from currant.options import TaskOptions, WorkflowOptions, check

__all__ = ["Declaration", "Function", "Registry", "registry", "task", "workflow"]

P = ParamSpec("P")
R = TypeVar("R")


class Registry:
    """The decorated functions of this process, by name."""

    def __init__(self) -> None:
        self._functions: dict[str, Function[..., Any, Any]] = {}

    def add(self, function: Function[..., Any, Any]) -> None:
        """Register a function, in place of an earlier definition of the same one.

        Raises:
            DefinitionError: another function has the name.
        """
        other = self._functions.get(function.name)
        if other is not None and not _is_redefinition(other.fn, function.fn):
            raise errors.DefinitionError(
                f"two functions are called {function.name}: {other.place} and {function.place}",
                hint=f"give one of them another name: @{function.kind}(name=…)",
            )
        self._functions[function.name] = function

    def get(self, name: str) -> Function[..., Any, Any] | None:
        """The function of that name, or None."""
        return self._functions.get(name)

    def all(self) -> tuple[Function[..., Any, Any], ...]:
        """All of them, in the order of their first definition."""
        return tuple(self._functions.values())

    def remove(self, name: str) -> None:
        """Forget a function."""
        self._functions.pop(name, None)

    def __iter__(self) -> Iterator[Function[..., Any, Any]]:
        return iter(self.all())

    def __contains__(self, name: object) -> bool:
        return name in self._functions

    def __len__(self) -> int:
        return len(self._functions)


registry = Registry()


def _is_redefinition(old: Any, new: Any) -> bool:
    # Functions made inside functions (tests, factories) come and go: the newest counts.
    if "<locals>" in old.__qualname__ or "<locals>" in new.__qualname__:
        return True
    # A script that a server imports again has another module name; a notebook's cell another file.
    is_same_home = file_of(old) == file_of(new) or old.__module__ == new.__module__
    return old.__qualname__ == new.__qualname__ and is_same_home


class TaskDecorator(Protocol):
    """What `@task(…)` gives."""

    @overload
    def __call__(
        self, fn: Callable[P, Coroutine[Any, Any, R]], /
    ) -> Function[P, Coroutine[Any, Any, R], R]: ...

    @overload
    def __call__(self, fn: Callable[P, R], /) -> Function[P, R, R]: ...


class WorkflowDecorator(Protocol):
    """What `@workflow(…)` gives."""

    def __call__(
        self, fn: Callable[P, Coroutine[Any, Any, R]], /
    ) -> Function[P, Coroutine[Any, Any, R], R]: ...


@overload
def task(fn: Callable[P, Coroutine[Any, Any, R]], /) -> Function[P, Coroutine[Any, Any, R], R]: ...


@overload
def task(fn: Callable[P, R], /) -> Function[P, R, R]: ...


@overload
def task(**options: Unpack[TaskOptions]) -> TaskDecorator: ...


def task(fn: Any = None, /, **options: Any) -> Any:
    """Make a function a task: `@task` or `@task(queue="emails", retries=3, …)`.

    An `async def` runs on the worker's event loop, a `def` in a thread.

    Args:
        name: in the database; the function's own name by default.
        queue: where it goes; by default that of the workflow that runs it, else `default`.
        retries: attempts after the first.
        timeout: for each attempt.
        priority: higher ones are taken first.
        retry_delay: before the first retry; doubled, or as `retry_backoff` says, for each further
            one up to `retry_max_delay`, with some jitter.
        non_retryable: exceptions after which it has failed at once.
        transactional: `currant.connection()` inside it is a connection whose transaction also
            carries its completion.

    Raises:
        DefinitionError: the function cannot be a task.
        OptionError: an option is unknown or has a wrong value.
    """
    return _decorate("task", TaskOptions, fn, options)


@overload
def workflow(
    fn: Callable[P, Coroutine[Any, Any, R]], /
) -> Function[P, Coroutine[Any, Any, R], R]: ...


@overload
def workflow(**options: Unpack[WorkflowOptions]) -> WorkflowDecorator: ...


def workflow(fn: Any = None, /, **options: Any) -> Any:
    """Make an `async def` a workflow: `@workflow` or `@workflow(queue="orders", version=1, …)`.

    Args:
        name: in the database; the function's own name by default.
        queue: where it goes, and its tasks that have no queue of their own; else `default`.
        version: of its code; workers leave runs of newer versions to others.
        timeout: for the whole run, not counting the time it waits for signals and timers alone.
        priority: higher ones are taken first.

    Raises:
        DefinitionError: the function cannot be a workflow.
        OptionError: an option is unknown or has a wrong value.
    """
    return _decorate("workflow", WorkflowOptions, fn, options)


def _decorate(kind: str, known: type, fn: Any, options: Mapping[str, Any]) -> Any:
    checked = check(options, known.__annotations__, where=f"@{kind}", is_none_fine=True)

    def decorate(fn: Any, frame: FrameType | None = None) -> Any:
        _check_function(fn, kind)
        name = checked.get("name", fn.__name__)
        if name == "<lambda>":
            raise errors.DefinitionError("a lambda needs a name", hint=f"@{kind}(name=…)")
        declaration = Declaration(**{**checked, "name": name, "kind": kind})
        local_names = _local_names(fn, frame or sys._getframe(1))
        function: Function[..., Any, Any] = Function(fn, declaration, local_names)
        registry.add(function)
        return function

    return decorate if fn is None else decorate(fn, sys._getframe(2))


def _check_function(fn: Any, kind: str) -> None:
    if isinstance(fn, Function):
        raise errors.DefinitionError(f"{fn.name} is a {fn.kind} already")
    if isinstance(fn, staticmethod | classmethod):
        fn = fn.__func__
    elif not isinstance(fn, FunctionType):
        raise errors.DefinitionError(
            f"@{kind} is for functions, not for {fn!r:.100}",
            hint=f"options go by name: @{kind}(name=…)",
        )
    label = f"{fn.__module__}.{fn.__qualname__}"
    if "." in fn.__qualname__.rpartition("<locals>.")[2]:
        raise errors.DefinitionError(
            f"{label} is a method and cannot be a {kind}",
            hint="a worker has no object to call it on: define it outside of the class",
        )
    inner = inspect.unwrap(fn)
    if inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner):
        raise errors.DefinitionError(
            f"{label} is a generator and cannot be a {kind}", hint="return a list instead"
        )
    if kind == "workflow" and not inspect.iscoroutinefunction(fn):
        raise errors.DefinitionError(
            f"{label} is no async def and cannot be a workflow",
            hint="write async def, or make it a task",
        )


def _local_names(fn: Any, frame: FrameType) -> dict[str, Any] | None:
    """What the annotations of a function inside a function may name, if they are still text."""
    annotations = getattr(fn, "__annotations__", {}).values()
    if "<locals>" not in fn.__qualname__ or not any(isinstance(each, str) for each in annotations):
        return None
    return dict(frame.f_locals)
