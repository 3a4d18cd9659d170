"""side_effect calls a function once; every replay is told what it gave."""

import asyncio
import functools
import itertools
import json
import logging
from typing import Any

import pytest

from currant.errors import EncodingError, NonDeterminism, NotInWorkflow, SideEffectFailed
from currant.workflow import api
from currant.workflow.history import Event, started_payload
from currant.workflow.logs import ReplayFilter, silence_replays
from tests.workflow.conftest import Start
from tests.workflow.support import START, Run, child, new_instance, step


@pytest.mark.parametrize("replay_always", [False, True])
def test_function_is_called_once(replay_always: bool) -> None:
    async def workflow() -> Any:
        first = api.side_effect(lambda: next(counter))
        await step("a")
        return [first, api.side_effect(lambda: next(counter))]

    counter = itertools.count(1)
    run = Run(workflow, replay_always=replay_always)
    run.complete("a")
    assert run.result == [1, 2]
    run.crash()

    assert next(counter) == 3


def test_value_is_stored_whole_under_the_functions_name(start: Start) -> None:
    def read_setting() -> Any:
        return {"b": [1.5, None], "a": "x"}

    async def workflow() -> Any:
        return api.side_effect(read_setting)

    run = start(workflow)

    assert run.result == {"b": [1.5, None], "a": "x"}
    (command, _) = run.commands
    assert (command.kind, command.number) == ("side_effect", 1)
    assert command.name == read_setting.__qualname__
    assert run.payload(1) == {"value": {"b": [1.5, None], "a": "x"}}
    assert (command.source or "").startswith("test_side_effects.py:")


def test_value_comes_back_the_way_it_is_stored(start: Start) -> None:
    async def workflow() -> Any:
        return [
            api.side_effect(lambda: (1, 2)) == [1, 2],
            api.side_effect(lambda: {1}, lambda found: json.dumps([*found]), set_of) == {1},
        ]

    def set_of(text: str) -> set[Any]:
        return set(json.loads(text))

    assert start(workflow).result == [True, True]


def test_it_has_its_number_at_once(start: Start) -> None:
    async def workflow() -> Any:
        task = asyncio.create_task(step("before"))
        await asyncio.sleep(0)
        api.side_effect(lambda: 1)
        await asyncio.gather(task, step("after"))

    run = start(workflow)
    run.complete("before")
    run.complete("after")

    assert [text.split("test_")[0] for text in run.short] == [
        "task 1 before", "side_effect 2 ", "task 3 after", "complete",
    ]  # fmt: skip


def test_error_is_raised_in_the_same_way_by_replays(start: Start) -> None:
    def broken() -> None:
        raise KeyError("no such setting")

    async def workflow() -> Any:
        seen = []
        for _ in range(2):
            try:
                api.side_effect(broken)
            except SideEffectFailed as error:
                seen.append([error.type, error.reason, error.function, error.traceback])
            await step("a")
        return seen

    run = start(workflow)
    run.complete("a")
    run.complete("a")

    (type_, reason, function, traceback), second = run.result
    assert [type_, reason] == ["KeyError", "'no such setting'"]
    assert function == broken.__qualname__
    assert "raise KeyError" in traceback
    assert "in perform" not in traceback
    assert second == [type_, reason, function, traceback]


@pytest.mark.parametrize("error", [SystemExit, asyncio.CancelledError, StopIteration])
def test_any_error_is_only_the_functions(start: Start, error: type[BaseException]) -> None:
    def broken() -> None:
        raise error

    async def workflow() -> Any:
        try:
            api.side_effect(broken)
        except SideEffectFailed as failed:
            return await step("told", failed.type)

    run = start(workflow)
    run.complete("told", "over")

    assert run.result == "over"


def test_error_that_escapes_fails_the_workflow(start: Start) -> None:
    async def workflow() -> Any:
        api.side_effect(lambda: 1 / 0)

    run = start(workflow)

    assert run.error["type"] == "ZeroDivisionError"
    assert run.error["cause"]["raised"] == "SideEffectFailed"


def test_value_that_cannot_be_encoded_is_an_error_too(start: Start) -> None:
    def encode(value: Any) -> str:
        raise EncodingError("the result of it cannot be sent")

    async def workflow() -> Any:
        try:
            api.side_effect(object, encode)
        except SideEffectFailed as error:
            return [error.type, error.reason]

    run = start(workflow)

    assert run.result == ["EncodingError", "the result of it cannot be sent"]
    assert run.short == ["side_effect 1 object", "complete"]


def test_memory_error_abandons_the_drain() -> None:
    async def workflow() -> Any:
        await step("a")
        api.side_effect(trouble)

    def trouble() -> None:
        if troubled:
            raise MemoryError

    troubled = [True]
    run = Run(workflow)
    with pytest.raises(MemoryError):
        run.complete("a")

    troubled.clear()
    run.crash()
    run._apply("task_completed", 1, payload="null")
    assert run.result is None


async def coroutine_function() -> None: ...


class Called:
    def __call__(self) -> int:
        return 7


class CalledLater:
    async def __call__(self) -> int:
        return 7


@pytest.mark.parametrize(
    "wrong",
    [coroutine_function, functools.partial(coroutine_function), CalledLater(), 7, None],
)
def test_only_plain_functions_are_called(start: Start, wrong: Any) -> None:
    async def workflow() -> Any:
        with pytest.raises(TypeError, match=r"side_effect\(\) takes a"):
            api.side_effect(wrong)

    assert start(workflow).short == ["complete"]


def test_coroutine_that_a_function_gives_is_an_error(start: Start) -> None:
    async def workflow() -> Any:
        try:
            api.side_effect(lambda: coroutine_function())
        except SideEffectFailed as error:
            return [error.type, error.reason]

    type_, reason = start(workflow).result
    assert type_ == "TypeError"
    assert "gave a coroutine" in reason


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (Called(), "Called"),
        (functools.partial(int, "7"), "int"),
        (functools.partial(Called()), "Called"),
    ],
)
def test_whatever_can_be_called_has_a_name(start: Start, function: Any, name: str) -> None:
    async def workflow() -> Any:
        return api.side_effect(function)

    run = start(workflow)

    assert run.result == 7
    assert run.short[0] == f"side_effect 1 {name}"


def test_nothing_of_the_workflow_is_within_its_reach(start: Start) -> None:
    def ask() -> list[str]:
        seen = []
        for call in (
            api.now, api.random, api.uuid4, asyncio.get_running_loop, asyncio.current_task,
            lambda: step("a"), lambda: child("a"), lambda: api.get_version("x", 1, 2),
            lambda: api.side_effect(lambda: 1), lambda: api.continue_as_new("[]"),
            lambda: asyncio.create_task(never),
        ):  # fmt: skip
            try:
                call()  # type: ignore[operator]
            except (NotInWorkflow, RuntimeError) as error:
                seen.append(type(error).__name__)
        return seen

    async def workflow() -> Any:
        seen = api.side_effect(ask)
        assert asyncio.get_running_loop().time()
        return seen

    never = step_that_is_closed()
    run = start(workflow)
    never.close()

    assert len(run.result) == 11
    assert set(run.result) == {"NotInWorkflow", "RuntimeError"}


async def step_that_is_closed() -> None: ...


def test_it_may_log_and_does_so_once() -> None:
    class Shown(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            shown.append(record.getMessage())

    shown: list[str] = []
    handler = Shown()
    handler.addFilter(ReplayFilter())
    logger = logging.getLogger("shop")
    logger.addHandler(handler)

    async def workflow() -> Any:
        api.side_effect(lambda: logger.warning("looking"))
        await step("a")

    run = Run(workflow, replay_always=True)
    run.complete("a")
    run.crash()
    logger.removeHandler(handler)

    assert shown == ["looking"]


def test_handlers_that_there_are_can_be_told_to_be_silent() -> None:
    class Shown(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            shown.append(record.getMessage())

    shown: list[str] = []
    handler = Shown()
    logger = logging.getLogger("shop.orders")
    logger.addHandler(handler)
    silence_replays()
    silence_replays()

    async def workflow() -> Any:
        logger.warning("begins")
        await step("a")
        logger.warning("goes on")

    run = Run(workflow, replay_always=True)
    run.complete("a")
    run.crash()
    logger.warning("outside")
    logger.removeHandler(handler)

    assert shown == ["begins", "goes on", "outside"]
    assert len(handler.filters) == 1


# --- code that does not follow its history


async def recorded() -> Any:
    api.side_effect(coin)
    await step("a")
    return await step("b")


def coin() -> int:
    return 1


def dice() -> int:
    return 6


@pytest.mark.parametrize("catches", [False, True])
def test_side_effect_that_is_not_recorded_stops_the_replay(catches: bool) -> None:
    async def old() -> Any:
        await step("a")
        await step("b")

    async def new() -> Any:
        try:
            seen.append(api.side_effect(coin))
        except Exception:
            if not catches:
                raise
        seen.append("further")
        await step("other")

    seen: list[Any] = []
    run = Run(old)
    run.complete("a")

    with pytest.raises(NonDeterminism, match=r"expected task #1 a .* produced side_effect #1 coin"):
        run.crash(new)
    assert seen == (["further"] if catches else [])
    assert run.instance.ledger.mismatch is not None


def test_side_effect_of_another_function_stops_the_replay() -> None:
    async def new() -> Any:
        seen.append(api.side_effect(dice))

    seen: list[Any] = []
    run = Run(recorded)
    run.complete("a")

    with pytest.raises(
        NonDeterminism, match=r"expected side_effect #1 coin .* side_effect #1 dice"
    ):
        run.crash(new)
    assert seen == []


def test_side_effect_that_is_gone_stops_the_replay() -> None:
    async def new() -> Any:
        await step("a")
        return await step("b")

    run = Run(recorded)
    run.complete("a")

    with pytest.raises(NonDeterminism, match=r"expected side_effect #1 coin .* produced task #1 a"):
        run.crash(new)


def test_side_effect_at_another_event_stops_the_replay() -> None:
    async def old() -> Any:
        await step("a")
        api.side_effect(coin)
        await step("b")

    async def new() -> Any:
        task = asyncio.create_task(step("a"))
        await asyncio.sleep(0)
        api.side_effect(coin)
        await task
        await step("b")

    run = Run(old)
    run.complete("a")

    with pytest.raises(NonDeterminism, match="expected nothing, produced side_effect #2 coin"):
        run.crash(new)


def test_one_that_is_recorded_event_by_event_is_told_too() -> None:
    run = Run(recorded)
    instance = new_instance(recorded)
    instance.apply(run.history[0].event, run.history[0].commands)
    commands = instance.apply(Event(2, "task_completed", START, 1))
    instance.close()

    assert commands == []  # number 1 is the side effect, and nothing waits for that


def test_forgotten_run_calls_nothing_in_its_clean_up() -> None:
    async def workflow() -> Any:
        try:
            await step("a")
        finally:
            api.side_effect(lambda: called.append(1))

    called: list[int] = []
    run = Run(workflow)
    run.instance.close()

    assert called == []


def test_several_calls_in_one_drain_keep_their_values(start: Start) -> None:
    async def workflow() -> Any:
        async def one(n: int) -> Any:
            await asyncio.sleep(0)
            return api.side_effect(lambda: n)

        return await asyncio.gather(*(one(n) for n in range(50)))

    assert start(workflow).result == [*range(50)]


def test_recorded_values_need_not_be_written_as_they_are_stored() -> None:
    async def workflow() -> Any:
        value = api.side_effect(coin, decode=lambda text: text)
        await step("a")
        return value

    instance = new_instance(workflow)
    started = Event(1, "started", START, payload=started_payload(1))
    commands = instance.apply(started)
    instance.close()
    stored = commands[0]._replace(payload='{ "value" : 1.50 }')
    instance = new_instance(workflow)
    instance.apply(started, [stored, commands[1]])
    end = instance.apply(Event(2, "task_completed", START, 2, payload="null"))
    instance.close()

    assert end[0].payload == '{"result":"1.50"}'
