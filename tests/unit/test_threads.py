"""Threads that may hang."""

from __future__ import annotations

import asyncio
import contextvars
import threading

import pytest

from currant import threads
from currant.threads import Threads

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")


async def test_a_call_gives_its_result_from_another_thread() -> None:
    thread = await Threads("test").run(threading.current_thread)

    assert thread is not threading.current_thread()
    assert thread.daemon
    assert thread.name.startswith("test-")


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(1), KeyboardInterrupt()], ids=repr)
async def test_a_call_gives_its_exception_whatever_it_is(error: BaseException) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        await Threads("test").run(fail)

    assert caught.value is error


async def test_stop_iteration_becomes_an_error_a_coroutine_can_raise() -> None:
    def fail() -> None:
        raise StopIteration

    with pytest.raises(RuntimeError, match="StopIteration"):
        await Threads("test").run(fail)


async def test_a_call_sees_the_context_it_was_made_in() -> None:
    variable.set("outside")

    def change() -> str:
        seen = variable.get()
        variable.set("inside")
        return seen

    assert await Threads("test").run(change) == "outside"
    assert variable.get() == "outside"


async def test_there_are_as_many_threads_as_calls_and_idle_ones_are_used_again() -> None:
    pool = Threads("test")
    together = threading.Barrier(20)

    def meet() -> int:
        together.wait(10)
        return threading.get_ident()

    first = set(await asyncio.gather(*(pool.run(meet) for _ in range(20))))
    assert len(first) == 20
    second = set(await asyncio.gather(*(pool.run(meet) for _ in range(20))))
    assert second & first


async def test_a_call_that_is_given_up_keeps_nobody_from_running() -> None:
    pool = Threads("test")
    released = threading.Event()
    hanging = pool.run(released.wait)
    hanging.cancel()

    assert await pool.run(lambda: "next") == "next"
    released.set()


async def test_idle_threads_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_IDLE_SECONDS", 0.01)
    thread = await Threads("test").run(threading.current_thread)

    await asyncio.to_thread(thread.join, 10)

    assert not thread.is_alive()


def test_a_call_that_outlives_its_loop_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_IDLE_SECONDS", 0.01)
    begun, released = threading.Event(), threading.Event()
    hung: list[threading.Thread] = []

    def hang() -> None:
        hung.append(threading.current_thread())
        begun.set()
        released.wait(10)

    async def start() -> None:
        Threads("test").run(hang)
        begun.wait(10)

    asyncio.run(start())
    released.set()

    # An exception in the thread would fail this test.
    hung[0].join(10)
    assert not hung[0].is_alive()
