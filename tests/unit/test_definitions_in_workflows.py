"""What decorated functions and the client do inside of a workflow: commands, or a clear no."""

import asyncio
import json
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from currant import (
    Cancelled,
    ChildFailed,
    Client,
    DecodingError,
    EncodingError,
    ExecutionFailed,
    Handle,
    NotAllowedInWorkflow,
    OptionError,
    TaskFailed,
    continue_as_new,
    info,
    send_signal,
    send_signal_sync,
    side_effect,
    task,
    wait_condition,
    wait_for_signal,
    workflow,
)
from currant.errors import InvalidArgument
from currant.workflow.history import Command, Event, RunInfo, started_payload
from currant.workflow.instance import Instance

START = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)


@dataclass
class Receipt:
    id: UUID
    at: datetime


@task(name="inside.charge", queue="money", retries=2, timeout=60)
async def charge(amount: int) -> Receipt:
    return Receipt(uuid4(), START)


@task(name="inside.plain")
def plain(n: int) -> int:
    return n


@workflow(name="inside.child")
async def child() -> int:
    return await plain.run(1)


class Run:
    """A run in memory: its commands, and what it gave or raised."""

    def __init__(self, main: Any) -> None:
        self.outcome: Any = None

        async def guarded() -> None:
            self.outcome = await main()

        info = RunInfo(id=uuid4(), function="inside.flow", created_at=START)
        self._instance = Instance(info, guarded, json.dumps)
        self._number = 0
        self.commands: list[Command] = []
        self.happen("started", payload=started_payload(1))

    def happen(self, kind: str, **details: Any) -> None:
        self._number += 1
        self.commands += self._instance.apply(Event(self._number, kind, START, **details))

    def sent(self, kind: str) -> list[dict[str, Any]]:
        return [json.loads(each.payload or "") for each in self.commands if each.kind == kind]

    def close(self) -> None:
        self._instance.close()


@pytest.fixture
def start(request: pytest.FixtureRequest) -> Any:
    def start(main: Any) -> Run:
        run = Run(main)
        request.addfinalizer(run.close)
        return run

    return start


def test_run_is_a_command_and_its_result_is_typed(start: Any) -> None:
    run = start(lambda: charge.options(priority=5).run(7))
    receipt = Receipt(uuid4(), START)

    [sent] = run.sent("task")
    run.happen("task_completed", command=1, payload=charge.encode_result(receipt))

    assert sent["args"] == {"amount": 7}
    assert sent["options"] == {
        "kind": "task",
        "queue": "money",
        "version": 1,
        "retries": 2,
        "timeout": 60.0,
        "priority": 5,
    }
    assert run.outcome == receipt


def test_what_has_no_queue_is_left_to_the_workflow(start: Any) -> None:
    run = start(lambda: plain.run(1))

    [sent] = run.sent("task")

    assert "queue" not in sent["options"]
    assert (sent["options"]["retries"], sent["options"]["timeout"]) == (3, 300.0)


def test_defaults_are_those_of_the_worker(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CURRANT_DEFAULT_RETRIES", "8")
    monkeypatch.setenv("CURRANT_DEFAULT_TIMEOUT", "9")
    monkeypatch.setenv("CURRANT_DEFAULT_WORKFLOW_TIMEOUT", "10")

    async def main() -> None:
        await child.queue()
        await plain.run(1)

    run = start(main)

    [task_sent], [flow_sent] = run.sent("task"), run.sent("queue")
    assert (task_sent["options"]["retries"], task_sent["options"]["timeout"]) == (8, 9.0)
    assert flow_sent["options"]["timeout"] == 10.0


def test_queue_is_a_command_that_nobody_waits_for(start: Any) -> None:
    async def main() -> Any:
        one = await plain.queue(1)
        more = await plain.queue_many([{"n": 2}, plain.bind(3)])
        return [one, *more]

    run = start(main)

    assert [each["args"] for each in run.sent("queue")] == [{"n": 1}, {"n": 2}, {"n": 3}]
    assert [each["id"] for each in run.sent("queue")] == run.outcome
    assert all(isinstance(each, Handle) for each in run.outcome)


def test_many_are_queued_each_with_its_key(start: Any) -> None:
    run = start(
        lambda: plain.options(key_scope="open").queue_many(
            [{"n": 1}, {"n": 2}, {"n": 3}], keys=["one", None, "three"]
        )
    )

    keys = [(one["args"]["n"], one["options"].get("key")) for one in run.sent("queue")]
    assert keys == [(1, "one"), (2, None), (3, "three")]


def test_handles_of_other_executions_need_no_client_in_a_workflow(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[object] = []
    monkeypatch.setattr(Client, "__init__", lambda self, *args, **kwargs: made.append(self))
    other: Handle[Any] = Handle(uuid4())

    async def main() -> Any:
        await other.signal("a")
        for ask in (other.status, other.state):
            with pytest.raises(NotAllowedInWorkflow, match="await the handle's result"):
                await ask()
        assert await other.cancel("enough") is None
        return await other.result()

    run = start(main)
    assert run.sent("request_cancel") == [{"execution": other, "reason": "enough"}]
    assert run.sent("attach") == [{"execution": other}]
    run.happen("attached_completed", command=3, payload='"done"', execution=other.id)

    assert run.outcome == "done"
    assert len(run.sent("signal")) == 1
    assert made == []


def test_a_result_that_is_waited_for_has_the_type_of_its_function(start: Any) -> None:
    receipt = Receipt(uuid4(), START)

    async def main() -> Any:
        handle = await charge.queue(7)
        return await handle.result()

    run = start(main)
    [queued], [attached] = run.sent("queue"), run.sent("attach")
    assert attached["execution"] == queued["id"]
    assert [each.name for each in run.commands] == ["inside.charge", "inside.charge"]
    run.happen("attached_completed", command=2, payload=charge.encode_result(receipt))

    assert run.outcome == receipt


@pytest.mark.parametrize(
    ("status", "kind"), [("failed", ExecutionFailed), ("cancelled", Cancelled)]
)
def test_what_ended_badly_raises_as_it_does_outside(
    status: str, kind: type[Exception], start: Any
) -> None:
    other: Handle[Any] = Handle(uuid4())

    async def main() -> Any:
        with pytest.raises(kind) as caught:
            await other.result()
        return str(caught.value)

    run = start(main)
    error = {"type": "E", "message": "m", "status": status, "attempts": 1}
    run.happen("attached_failed", command=1, payload=json.dumps(error), execution=other.id)

    assert other in run.outcome
    assert ": m" in run.outcome


def test_a_result_is_waited_for_no_longer_than_wanted(start: Any) -> None:
    other: Handle[Any] = Handle(uuid4())

    async def main() -> str:
        with pytest.raises(TimeoutError) as caught:
            await other.result(timeout=60)
        return str(caught.value)

    run = start(main)
    assert run.sent("timer") == [{"seconds": 60.0}]
    run.happen("timer_fired", command=1)

    assert run.outcome == f"execution {other} has not ended within 60 seconds"
    assert [each.number for each in run.commands if each.kind == "cancel"] == [2]


def test_signals_are_commands_too(start: Any) -> None:
    other = uuid4()

    async def main() -> None:
        await send_signal(other, "a", {"at": START})
        await Handle(other).signal("b")
        await send_signal((child, "k"), "c")
        await send_signal(("some.flow", "k"), "d")

    sent = start(main).sent("signal")

    assert [(each.get("execution"), each["payload"]) for each in sent] == [
        (str(other), {"at": "2026-11-01T12:00:00Z"}),
        (str(other), None),
        (None, None),
        (None, None),
    ]
    assert [(each.get("function"), each.get("key")) for each in sent] == [
        (None, None),
        (None, None),
        ("inside.child", "k"),
        ("some.flow", "k"),
    ]


# --- Children


def test_a_workflow_run_by_a_workflow_is_a_child(start: Any) -> None:
    run = start(lambda: child.options(key="c", on_parent_end="abandon", headers={"a": 1}).run())

    [sent] = run.sent("child")
    run.happen("child_completed", command=1, payload="5")

    assert sent["args"] == {}
    assert sent["options"] == {
        "kind": "workflow",
        "version": 1,
        "timeout": 3600.0,
        "key": "c",
        "on_parent_end": "abandon",
        "headers": {"a": 1},
    }
    assert run.outcome == 5


def test_a_child_that_fails_raises_with_its_cause(start: Any) -> None:
    async def main() -> Any:
        with pytest.raises(ChildFailed) as caught:
            await child.run()
        assert isinstance(caught.value.cause, TaskFailed)
        return [caught.value.function, caught.value.status, caught.value.cause.reason]

    run = start(main)
    cause = {"raised": "TaskFailed", "type": "E", "message": "root", "function": "inside.plain"}
    error = {"type": "E", "message": "root", "cause": cause, "status": "failed", "attempts": 1}
    run.happen("child_failed", command=1, payload=json.dumps(error))

    assert run.outcome == ["inside.child", "failed", "root"]


def test_nothing_is_asked_for_before_the_coroutine_runs(start: Any) -> None:
    async def main() -> str:
        coroutines = [child.run(), plain.run(1), Handle(uuid4()).result(), plain.queue(2)]
        for coroutine in coroutines:
            coroutine.close()
        return "done"

    run = start(main)

    assert run.outcome == "done"
    assert [each.kind for each in run.commands] == ["complete"]


# --- What authors call


def test_a_side_effect_needs_no_annotations_but_that_of_its_result(start: Any) -> None:
    def pick(_: "Unknown" = None) -> "UUID":  # type: ignore  # noqa: F821
        return UUID(int=7)

    async def main() -> Any:
        return side_effect(pick) == UUID(int=7)

    run = start(main)

    assert run.outcome is True


def test_a_side_effect_is_kept_with_its_type(start: Any) -> None:
    def receipt() -> Receipt:
        return Receipt(UUID(int=5), START)

    async def main() -> Any:
        return [side_effect(receipt), side_effect(lambda: receipt())]

    run = start(main)

    written = {"id": str(UUID(int=5)), "at": "2026-11-01T12:00:00Z"}
    assert [each["value"] for each in run.sent("side_effect")] == [written, written]
    assert run.outcome == [receipt(), written]


def test_a_workflow_knows_about_itself(start: Any) -> None:
    async def main() -> Any:
        return info()

    found = start(main).outcome

    assert (found.function, found.queue, found.version, found.attempt) == (
        "inside.flow",
        "default",
        1,
        1,
    )
    assert found.id == found.root_id
    assert (found.is_continued, found.is_replaying, found.headers) == (False, False, None)


def test_a_workflow_that_continues_has_its_arguments_bound_and_encoded(start: Any) -> None:
    @workflow(name="inside.loop")
    async def loop(amount: int, at: datetime) -> int:
        with pytest.raises(TypeError, match=r"inside\.loop\(\) missing a required argument"):
            continue_as_new(1)
        with pytest.raises(EncodingError, match=r"argument 'amount' of inside\.loop"):
            continue_as_new("x", START)
        continue_as_new(amount + 1, at=at)

    args = loop.encode_call((1, START), {})

    run = start(lambda: loop.begin(args))

    assert [each["args"] for each in run.sent("continue_as_new")] == [
        {"amount": 2, "at": "2026-11-01T12:00:00Z"}
    ]


def test_a_condition_is_waited_for(start: Any) -> None:
    async def main() -> Any:
        found: list[Any] = []

        async def take() -> None:
            found.append(await wait_for_signal("a"))

        taking = asyncio.create_task(take())
        await wait_condition(lambda: bool(found))
        await taking
        return found

    run = start(main)
    run.happen("signal_received", name="a", payload="1")

    assert run.outcome == [1]


def test_a_signal_can_be_waited_for_as_a_type(start: Any) -> None:
    run = start(lambda: wait_for_signal("paid", type=Receipt))
    receipt = Receipt(uuid4(), START)

    run.happen("signal_received", name="paid", payload=charge.encode_result(receipt))

    assert run.outcome == receipt


def test_a_typed_signal_that_does_not_fit_raises_at_its_wait(start: Any) -> None:
    async def main() -> str:
        try:
            await wait_for_signal("paid", type=int)
        except DecodingError as error:
            return str(error)
        return ""

    run = start(main)
    run.happen("signal_received", name="paid", payload='"x"')

    assert "the payload of signal 'paid' does not fit its annotation int" in run.outcome


def _refused() -> dict[str, Any]:
    handle = Handle(uuid4())
    other = Client("postgresql://nowhere.invalid/x")
    return {
        "a task called": lambda: plain(1),
        "run_sync": lambda: plain.run_sync(1),
        "queue_sync": lambda: plain.queue_sync(1),
        "queue_many_sync": lambda: plain.queue_many_sync([{"n": 1}]),
        "queue_and_signal": lambda: child.options(key="k").queue_and_signal("a", None),
        "queue_and_signal_sync": lambda: child.options(key="k").queue_and_signal_sync("a", None),
        "a forced cancel": lambda: handle.cancel(force=True),
        "cancel_sync": lambda: handle.cancel_sync(),
        "signal_sync": lambda: handle.signal_sync("a"),
        "state": handle.state,
        "state_sync": handle.state_sync,
        "option id of a child": lambda: child.options(id=uuid4()).run(),
        "option connection of a child": lambda: child.options(connection=object()).run(),
        "option connection": lambda: plain.options(connection=object()).run(1),
        "option client": lambda: plain.options(client=other).queue(1),
        "option key of a step": lambda: plain.options(key="k").run(1),
        "option key_scope of a step": lambda: plain.options(key_scope="open").run(1),
        "option id": lambda: plain.options(id=uuid4()).queue(1),
        "send_signal_sync": lambda: send_signal_sync(handle, "a"),
        "send_signal with a key": lambda: send_signal(handle, "a", key="once"),
        "signal with a key": lambda: handle.signal("a", key="once"),
        "send_signal with a connection": lambda: send_signal(handle, "a", connection=object()),
        "status": handle.status,
        "status_sync": handle.status_sync,
        "result_sync": handle.result_sync,
        "a client's own result": lambda: other.result(handle),
        "a client's own cancel": lambda: other.cancel(handle),
        "enqueue by name": lambda: other.enqueue("x"),
    }


@pytest.mark.parametrize("what", _refused())
def test_what_would_happen_again_at_every_replay_is_refused(what: str, start: Any) -> None:
    call = _refused()[what]

    async def main() -> str:
        try:
            made = call()
            if isinstance(made, Coroutine):
                await made
        except NotAllowedInWorkflow as error:
            return str(error)
        return "allowed"

    run = start(main)

    assert run.outcome != "allowed"
    assert "(" in run.outcome, "a refusal says what to do instead"
    assert [each.kind for each in run.commands] == ["complete"]


def test_a_workflow_may_call_another_as_a_part_of_itself(start: Any) -> None:
    run = start(lambda: child())

    assert [each["args"] for each in run.sent("task")] == [{"n": 1}]


def test_a_workflow_called_as_a_part_continues_with_its_own_arguments(start: Any) -> None:
    @workflow(name="inside.inner")
    async def inner(letter: str) -> str:
        if letter == "a":
            continue_as_new("b")
        return letter

    async def in_a_group() -> str:
        async with asyncio.TaskGroup():
            return await inner("a")

    @workflow(name="inside.outer")
    async def outer(n: int) -> None:
        assert n == 1
        assert [await inner("a"), await inner("b"), await in_a_group()] == ["b", "b", "b"]
        continue_as_new(n + 1)

    args = outer.encode_call((1,), {})
    run = start(lambda: outer.begin(args))

    assert [each["args"] for each in run.sent("continue_as_new")] == [{"n": 2}]


def test_wrong_arguments_fail_at_the_call_not_when_awaited(start: Any) -> None:
    async def main() -> str:
        with pytest.raises(TypeError, match="missing a required argument"):
            plain.run()  # type: ignore[call-arg]
        with pytest.raises(TypeError, match="unexpected keyword"):
            child.run(x=1)  # type: ignore[call-arg]
        with pytest.raises(InvalidArgument, match=r"\(function, key\)"):
            await send_signal("x", "a")
        with pytest.raises(InvalidArgument, match=r"\(function, key\)"):
            await send_signal((child, ""), "a")
        with pytest.raises(OptionError, match="on_parent_end"):
            child.options(on_parent_end="abandon").queue()
        return "done"

    assert start(main).outcome == "done"
