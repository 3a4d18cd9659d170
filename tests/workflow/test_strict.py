"""Strict replays compare what commands carry, as tests and checks of histories want it."""

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import pytest

from currant import codec
from currant.errors import NonDeterminism
from currant.workflow import api
from currant.workflow.history import Command, Step
from currant.workflow.instance import Instance
from tests.workflow.support import Run, anew, child, new_instance, step

OTHER = UUID("0199d3c0-0000-7000-8000-00000000000f")
ANOTHER = UUID("0199d3c0-0000-7000-8000-0000000000ff")

Value = list[Any]


def strictly(workflow: Any, history: Sequence[Step], *args: Any) -> Instance:
    instance = new_instance(workflow, *args, strict=True)
    try:
        instance.replay(history)
    finally:
        instance.close()
    return instance


CARRIED: dict[str, tuple[Callable[[int], Any], str]] = {
    "task": (lambda n: step("a", n), r"other args: expected \[1\], produced \[2\]"),
    "child": (lambda n: child("a", n), r"other args: expected \[1\], produced \[2\]"),
    "queue": (lambda n: api.queue_execution("a", f"[{n}]", {}), r"other args: expected \[1\]"),
    "timer": (lambda n: asyncio.sleep(n), r"other seconds: expected 1.0, produced 2.0"),
    "name of a timer": (
        lambda n: api.wait_for_signal(f"s{n}", timeout=1),
        r"other name: expected 'signal s1', produced 'signal s2'",
    ),
    "signal": (
        lambda n: api.send_signal(OTHER, "s", f'{{"n": {n}}}'),
        r"other payload.n: expected 1, produced 2",
    ),
    "receiver": (
        lambda n: api.send_signal(OTHER if n == 1 else ANOTHER, "s", "1"),
        r'other execution: expected "0199.*0f", produced "0199.*ff"',
    ),
    "receiver by key": (
        lambda n: api.send_signal(("f", f"k{n}"), "s", "1"),
        r'other key: expected "k1", produced "k2"',
    ),
    "kind of receiver": (
        lambda n: api.send_signal(OTHER if n == 1 else ("f", "k"), "s", "1"),
        r'other execution: expected "0199.*0f", produced nothing, function: expected nothing',
    ),
    "attach": (
        lambda n: api.attach(OTHER if n == 1 else ANOTHER),
        r'other execution: expected "0199',
    ),
    "request_cancel": (
        lambda n: api.request_cancel(OTHER, f"reason {n}"),
        r'other reason: expected "reason 1", produced "reason 2"',
    ),
}


@pytest.mark.parametrize("what", CARRIED)
def test_what_a_command_carries_is_compared(what: str) -> None:
    ask, difference = CARRIED[what]

    async def workflow(n: int) -> Any:
        await ask(n)
        await step("wait")

    run = Run(workflow, 1)
    strictly(workflow, run.history, 1)
    with pytest.raises(NonDeterminism, match=difference):
        strictly(workflow, run.history, 2)
    # In production it may change from one deployment to the next.
    loose = new_instance(workflow, 2)
    loose.replay(run.history)
    loose.close()


@pytest.mark.parametrize(
    ("leave", "difference"),
    [
        (lambda n: n, r"produced complete with other result: expected 1, produced 2"),
        (
            lambda n: n < 3 and anew(n + 1),
            r"continue_as_new .* with other args: expected \[2\], produced \[3\]",
        ),
    ],
)
def test_ends_are_compared(leave: Callable[[int], Any], difference: str) -> None:
    async def workflow(n: int) -> Any:
        await step("a")
        return leave(n)

    run = Run(workflow, 1)
    run.complete("a")
    history = run.past[0] if run.past else run.history

    strictly(workflow, history, 1)
    with pytest.raises(NonDeterminism, match=difference):
        strictly(workflow, history, 2)


def test_signals_that_a_new_run_takes_over_are_compared() -> None:
    async def workflow(taken: int) -> Any:
        for _ in range(taken):
            await api.wait_for_signal("s")
        await step("a")
        if taken < 2:
            anew(7)

    run = Run(workflow, 0)
    run.signal("s", 1)
    run.complete("a")

    (history,) = run.past
    reordered = [history[0], history[1], history[2]]
    changed = json.dumps({"args": [7], "signals": []})
    reordered[2] = Step(history[2].event, [history[2].commands[0]._replace(payload=changed)])  # type: ignore[attr-defined]
    with pytest.raises(NonDeterminism, match=r"other signals: expected \[\], produced \[{"):
        strictly(workflow, reordered, 0)


def test_mismatch_is_there_as_data() -> None:
    async def workflow(n: int) -> Any:
        await step("first")
        await step("a", n)

    run = Run(workflow, 1)
    run.complete("first")
    instance = new_instance(workflow, 2, strict=True)
    with pytest.raises(NonDeterminism, match="last match: task #1 first"):
        instance.replay(run.history)
    instance.close()

    mismatch = instance.mismatch
    assert mismatch is not None
    assert mismatch.event == run.history[1].event
    assert mismatch.expected == run.commands[1]
    assert mismatch.produced is not None
    assert mismatch.produced.site is not None
    assert mismatch.produced.site[0].endswith("support.py")
    assert mismatch.differences == ["args: expected [1], produced [2]"]
    assert instance.ledger.last_matched == (run.history[0].event, run.commands[0])


def test_options_are_only_noted() -> None:
    async def workflow(timeout: int) -> Any:
        await api.run_task("a", "[]", {"timeout": timeout, "queue": "q"})

    run = Run(workflow, 1)
    instance = strictly(workflow, run.history, 2)

    (note,) = instance.notes
    assert note.startswith("event 1, task #1 a (test_strict.py:")
    assert note.endswith("options.timeout: expected 1, produced 2")
    assert not strictly(workflow, run.history, 1).notes


def test_message_of_a_failure_is_only_noted_and_its_traceback_is_free() -> None:
    async def workflow(message: str) -> Any:
        raise ValueError(message)

    run = Run(workflow, "at one")
    (command,) = run.commands
    error = {**run.error, "traceback": "of another machine"}
    history = [Step(run.history[0].event, [command._replace(payload=json.dumps({"error": error}))])]

    assert not strictly(workflow, history, "at one").notes
    (note,) = strictly(workflow, history, "at two").notes
    assert "at one" in note
    assert "at two" in note


# --- histories as they are stored


class Stored(NamedTuple):
    """A command as the database gives it: the options of an execution, no result of a run."""

    kind: str
    number: int | None
    name: str | None
    payload: str | None
    source: str | None = None


class Exported(NamedTuple):
    """One as it is in an exported document, which has the arguments besides."""

    kind: str
    number: int | None
    name: str | None
    payload: str | None
    source: str | None = None
    args: str | None = None


def stored(command: Command, *, exported: bool) -> Any:
    payload = json.loads(command.payload or "null")
    args = None
    if command.kind in ("task", "child", "queue"):
        args = json.dumps(payload["args"])
        payload = payload["options"]
    if command.kind == "complete":
        payload = None
    text = None if payload is None else json.dumps(payload)
    fields = (command.kind, command.number, command.name, text, command.source)
    return Exported(*fields, args) if exported else Stored(*fields)


async def everything(args: Value, seconds: float, result: int) -> Any:
    await asyncio.gather(
        step("a", *args),
        child("b", *args, key="k"),
        asyncio.sleep(seconds),
        api.queue_execution("c", json.dumps(args), {"queue": "q"}),
    )
    api.side_effect(lambda: 1)
    return result


def run_of_everything(*, exported: bool) -> list[Step]:
    run = Run(everything, [1], 5, 1)
    run.complete("a")
    run.complete("b")
    run.fire()
    return [
        Step(event, [stored(command, exported=exported) for command in commands])  # type: ignore[arg-type]
        for event, commands in run.history
    ]


def test_stored_history_is_compared_as_far_as_it_goes() -> None:
    history = run_of_everything(exported=False)

    assert not strictly(everything, history, [1], 5, 1).notes
    strictly(everything, history, [2], 5, 2)
    with pytest.raises(NonDeterminism, match="other seconds"):
        strictly(everything, history, [1], 6, 1)


def test_exported_history_has_the_arguments() -> None:
    history = run_of_everything(exported=True)

    assert not strictly(everything, history, [1], 5, 1).notes
    with pytest.raises(NonDeterminism, match="other args"):
        strictly(everything, history, [2], 5, 1)


# --- payload hooks


class Salted:
    """Writes the same thing in another way each time, as encryption does."""

    def __init__(self) -> None:
        self.count = 0

    def outgoing(self, text: str) -> str:
        self.count += 1
        return json.dumps({"salt": self.count, "text": text})

    def incoming(self, text: str) -> str:
        found = json.loads(text)
        return str(found["text"]) if isinstance(found, dict) and "salt" in found else text


@pytest.fixture
def _salted() -> Iterator[None]:
    codec.set_hook(Salted())
    yield
    codec.set_hook(None)


@pytest.mark.usefixtures("_salted")
def test_payloads_are_compared_below_the_hook() -> None:
    async def workflow(n: int) -> Any:
        payload = codec.encode([n], what="it")
        await api.send_signal(OTHER, "s", payload)
        await api.run_task("a", codec.encode({"n": n}, what="it"), {})

    run = Run(workflow, 1)

    strictly(workflow, run.history, 1)
    with pytest.raises(NonDeterminism, match=r"other payload: expected \[1\], produced \[2\]"):
        strictly(workflow, run.history, 2)


def test_of_objects_only_what_differs_is_named() -> None:
    async def workflow(order: Any) -> Any:
        await api.run_task("a", json.dumps({"order": order, "more": [1]}), {})

    run = Run(workflow, {"total": 1, "lines": {"x": None, "y": 2}})
    difference = (
        r"other args.order.lines.x: expected null, produced nothing,"
        r" args.order.lines.z: expected nothing, produced 3;"
    )

    with pytest.raises(NonDeterminism, match=difference):
        strictly(workflow, run.history, {"lines": {"z": 3, "y": 2}, "total": 1})


def test_set_of_texts_is_found_out() -> None:
    async def workflow(names: Value) -> Any:
        return await asyncio.gather(*(step("greet", name) for name in names))

    run = Run(workflow, ["a", "b"])

    with pytest.raises(NonDeterminism, match=r'other args: expected \["a"\], produced \["b"\]'):
        strictly(workflow, run.history, ["b", "a"])


def test_markers_and_cancels_are_compared_by_kind_and_number_only() -> None:
    async def workflow() -> Any:
        api.get_version("x", 1, 2)
        task = asyncio.create_task(step("a"))
        await step("b")
        task.cancel()
        await step("c")

    run = Run(workflow)
    run.complete("b")

    assert not strictly(workflow, run.history).notes
