"""What is too large to be stored is refused where it is sent, and then at every replay."""

import asyncio
import json
from typing import Any

import pytest

from currant.errors import NonDeterminism, PayloadTooLarge, SideEffectFailed
from currant.workflow import api, sizes
from tests.workflow.conftest import Start
from tests.workflow.support import RUN_ID, Run, anew, child, step

LIMIT = 1000
LARGE = "x" * 1000


async def send(kind: str, value: str) -> Any:
    match kind:
        case "task":
            return await step("a", value)
        case "child":
            return await child("a", value)
        case "queue":
            return str(await api.queue_execution("a", json.dumps([value]), {}))
        case "signal":
            return str(await api.send_signal(RUN_ID, "a", json.dumps(value)))
        case _:
            return anew(value)


KINDS = pytest.mark.parametrize("kind", ["task", "child", "queue", "signal", "continue_as_new"])


@KINDS
def test_code_can_catch_it_and_goes_the_same_way_again(start: Start, kind: str) -> None:
    async def workflow() -> Any:
        await step("before")
        try:
            await send(kind, LARGE)
        except PayloadTooLarge as error:
            texts.append(str(error))
            await step("refund")
            return "refunded"

    texts: list[str] = []
    run = start(workflow, largest=LIMIT)
    run.complete("before")
    run.complete("refund")

    assert run.result == "refunded"
    assert [text.split(":")[0] for text in run.short] == [
        "task 1 before", "side_effect 2 too large", "task 3 refund", "complete",
    ]  # fmt: skip
    run.crash()
    assert len(set(texts)) == 1
    assert "of 1000 at most (store it elsewhere" in texts[0]


@KINDS
def test_the_limit_may_change_without_changing_the_past(kind: str) -> None:
    async def workflow(text: str) -> Any:
        await step("before")
        try:
            await send(kind, text)
        except PayloadTooLarge:
            await step("refund")

    refused = Run(workflow, LARGE, largest=LIMIT)
    refused.complete("before")
    refused.largest = 10 * LIMIT
    refused.crash()
    assert refused.open.keys() == {3}

    if kind != "continue_as_new":
        sent = Run(workflow, LARGE, largest=10 * LIMIT)
        sent.complete("before")
        sent.largest = LIMIT
        sent.crash()
        assert sent.commands[1].kind == kind


def test_only_the_call_that_was_refused_is_refused_again(start: Start) -> None:
    async def workflow() -> Any:
        unused = step("unused", "small")
        waiting = asyncio.create_task(step("other"))
        results: list[Any] = []
        try:
            for text in ("b", LARGE, "c", LARGE):
                try:
                    results.append(await step(text[0], text))
                except PayloadTooLarge:
                    results.append(None)
            return [*results, await waiting]
        finally:
            unused.close()

    run = start(workflow, largest=LIMIT)
    run.complete("other", 0)
    run.complete("b", 1)
    run.complete("c", 2)

    assert run.result == [1, None, 2, None, 0]


def test_uncaught_it_fails_the_workflow(start: Start) -> None:
    async def workflow() -> Any:
        await step("a", LARGE)

    run = start(workflow, largest=LIMIT)

    assert run.error["type"] == "PayloadTooLarge"
    assert "the arguments of a() would take" in run.error["message"]


def test_side_effect_that_gives_too_much_failed(start: Start) -> None:
    async def workflow() -> Any:
        try:
            api.side_effect(lambda: LARGE)
        except SideEffectFailed as error:
            return error.type

    run = start(workflow, largest=LIMIT)

    assert run.result == "PayloadTooLarge"
    assert [text.split()[0] for text in run.short] == ["side_effect", "complete"]


def test_code_that_does_not_send_it_any_more_does_not_follow() -> None:
    async def workflow(text: str) -> Any:
        try:
            await step("a", text)
        except PayloadTooLarge:
            await step("b")

    async def changed(text: str) -> Any:
        await step("b")

    run = Run(workflow, LARGE, largest=LIMIT)
    with pytest.raises(NonDeterminism, match="expected side_effect #1 too large: the arguments"):
        run.crash(changed)


def test_what_a_run_sends_while_it_is_closed_is_not_measured() -> None:
    async def workflow() -> Any:
        try:
            await step("a")
        finally:
            try:
                step("b", LARGE).close()
            except PayloadTooLarge as error:
                seen.append(error)

    seen: list[BaseException] = []
    Run(workflow, largest=LIMIT).instance.close()

    assert seen == []


@pytest.mark.parametrize(
    ("text", "size"),
    # As Postgres 15 has them: pg_column_size(text::jsonb -> 'a') of {"a": text}.
    [
        ("null", 12),
        ('""', 12),
        ('"häß"', 17),
        ("0", 18),
        ("1", 20),
        ("10000", 20),
        ("123456789", 24),
        ("-0.5", 20),
        ("1e-70", 22),
        ("1e300", 22),
        ("[]", 8),
        ("[1,[],{}]", 36),
        ('{"b":[true,"x"],"aa":0.001}', 52),
        ('["\\ud83d\\ude00",12.34]', 30),
    ],
)
def test_sizes_are_those_of_the_database(text: str, size: int) -> None:
    assert sizes.stored_size(text) == size
    assert sizes.measured(text, size, what="it") is None
    assert sizes.measured(text, size - 1, what="it") is not None


def test_what_is_nested_too_deep_is_left_to_the_database() -> None:
    assert sizes.measured("[" * 100_000 + "]" * 100_000, 1000, what="it") is None
