"""Random workflow programs, as data and as code that runs them."""

import asyncio
from typing import Any

from hypothesis import strategies as st

from currant.errors import TaskFailed
from currant.workflow import api
from tests.workflow.support import step

Program = tuple[Any, ...]

_seconds = st.sampled_from([0, 0.001, 1, 2, 2, 5, 10])
_leaves = st.one_of(
    st.tuples(st.just("task"), st.sampled_from("abc")),
    st.tuples(st.just("task"), st.sampled_from("abc")),
    st.tuples(st.just("sleep"), _seconds),
    st.tuples(st.just("signal"), st.sampled_from("xy"), st.none() | _seconds),
    st.tuples(st.just("yield")),
    st.tuples(st.just("queue")),
    st.tuples(st.just("version"), st.sampled_from("vw")),
    st.tuples(st.just("raise")),
)


def _compound(inner: st.SearchStrategy[Program]) -> st.SearchStrategy[Program]:
    several = st.lists(inner, min_size=2, max_size=4)
    return st.one_of(
        st.tuples(st.just("sequence"), several),
        st.tuples(st.just("gather"), several, st.booleans()),
        st.tuples(st.just("group"), several),
        st.tuples(st.just("first"), several),
        st.tuples(st.just("each"), several, st.none() | _seconds),
        st.tuples(st.just("queued"), several),
        st.tuples(st.just("timeout"), _seconds, inner),
        st.tuples(st.just("wait_for"), _seconds, inner),
        st.tuples(st.just("shield"), _seconds, inner),
        st.tuples(st.just("guard"), inner, inner, st.booleans()),
        st.tuples(st.just("background"), inner, st.integers(0, 3)),
        st.tuples(st.just("generator"), several, st.integers(1, 3)),
    )


_parts = st.recursive(_leaves, _compound, max_leaves=10)
programs: st.SearchStrategy[Program] = st.one_of(
    _parts, st.tuples(st.just("sequence"), st.lists(_parts, min_size=3, max_size=6))
)


async def run_program(program: Program) -> list[Any]:
    """Run a program; gives what it saw, in the order in which it saw it."""
    seen: list[Any] = []
    try:
        await _run(program, seen)
    except Exception as error:
        seen.append(_name(error))
    return seen


async def _run(program: Program, seen: list[Any]) -> Any:
    match program:
        case ("task", name):
            seen.append(await step(name, len(seen)))
        case ("sleep", seconds):
            await asyncio.sleep(seconds)
            seen.append(asyncio.get_running_loop().time())
        case ("signal", name, timeout):
            seen.append(await api.wait_for_signal(name, timeout))
        case ("yield",):
            await asyncio.sleep(0)
        case ("queue",):
            seen.append(str(await api.queue_execution("f", "{}", {})))
        case ("version", name):
            seen.append(api.get_version(name, 1, 3))
        case ("raise",):
            raise ValueError(len(seen))
        case ("sequence", several):
            for one in several:
                try:
                    await _run(one, seen)
                except Exception as error:
                    seen.append(_name(error))
        case ("gather", several, whole):
            runs = (_run(one, seen) for one in several)
            seen.append([_name(r) for r in await asyncio.gather(*runs, return_exceptions=whole)])
        case ("group", several):
            async with asyncio.TaskGroup() as group:
                for one in several:
                    group.create_task(_run(one, seen))
        case ("first", several):
            tasks = [asyncio.create_task(_run(one, seen)) for one in several]
            done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in pending:
                task.cancel()
            results = await asyncio.gather(*done, *pending, return_exceptions=True)
            seen.append([_name(result) for result in results])
        case ("each", several, timeout):
            for result in asyncio.as_completed(
                [_run(one, seen) for one in several], timeout=timeout
            ):
                seen.append(_name(await result))
        case ("queued", several):
            await _run_queued(several, seen)
        case ("timeout", seconds, inner):
            async with asyncio.timeout(seconds):
                await _run(inner, seen)
        case ("wait_for", seconds, inner):
            await asyncio.wait_for(_run(inner, seen), seconds)
        case ("shield", seconds, inner):
            kept = asyncio.create_task(_run(inner, seen))
            try:
                async with asyncio.timeout(seconds):
                    await asyncio.shield(kept)
            except TimeoutError:
                seen.append("shielded")
                await kept
        case ("guard", inner, clean_up, swallow):
            try:
                await _run(inner, seen)
            except (Exception, asyncio.CancelledError) as error:
                seen.append(_name(error))
                if not swallow and isinstance(error, asyncio.CancelledError):
                    raise
            finally:
                await _run(clean_up, seen)
        case ("background", inner, turns):
            task = asyncio.create_task(_run(inner, seen))
            for _ in range(turns):
                await asyncio.sleep(0)
            if turns % 2:
                task.cancel()
        case ("generator", several, limit):
            async for index in _generate(several, seen):
                if index == limit:
                    break
    return len(seen)


async def _generate(several: list[Program], seen: list[Any]) -> Any:
    for index, one in enumerate(several):
        await _run(one, seen)
        yield index


async def _run_queued(several: list[Program], seen: list[Any]) -> None:
    queue: asyncio.Queue[Program] = asyncio.Queue()
    limit = asyncio.Semaphore(2)

    async def worker() -> None:
        while not queue.empty():
            one = await queue.get()
            async with limit:
                await _run(one, seen)

    for one in several:
        queue.put_nowait(one)
    workers = {asyncio.create_task(worker()) for _ in range(3)}
    for task in workers:
        await asyncio.wait([task])
    for task in workers:
        seen.append(task.get_name())


def _name(value: Any) -> Any:
    if isinstance(value, TaskFailed):
        return f"TaskFailed {value.type}"
    if isinstance(value, BaseExceptionGroup):
        return [type(value).__name__, *(_name(error) for error in value.exceptions)]
    return type(value).__name__ if isinstance(value, BaseException) else value
