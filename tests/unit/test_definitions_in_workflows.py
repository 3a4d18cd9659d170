"""What decorated functions and the client do inside of a workflow: commands, or a clear no."""

import json
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from currant import (
    Client,
    DecodingError,
    Handle,
    NotAllowedInWorkflow,
    send_signal,
    send_signal_sync,
    task,
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
    other = Handle(uuid4())

    async def main() -> int:
        await other.signal("a")
        refused = 0
        for ask in (other.status, other.state, other.result, other.cancel):
            try:
                await ask()
            except NotAllowedInWorkflow:
                refused += 1
        return refused

    run = start(main)

    assert run.outcome == 4
    assert len(run.sent("signal")) == 1
    assert made == []


def test_signals_are_commands_too(start: Any) -> None:
    other = uuid4()

    async def main() -> None:
        await send_signal(other, "a", {"at": START})
        await Handle(other).signal("b")

    run = start(main)

    assert [(each["execution"], each["payload"]) for each in run.sent("signal")] == [
        (str(other), {"at": "2026-11-01T12:00:00Z"}),
        (str(other), None),
    ]


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
        "a child workflow": lambda: child.run(),
        "option connection": lambda: plain.options(connection=object()).run(1),
        "option client": lambda: plain.options(client=other).queue(1),
        "option key of a step": lambda: plain.options(key="k").run(1),
        "option key_scope of a step": lambda: plain.options(key_scope="open").run(1),
        "option id": lambda: plain.options(id=uuid4()).queue(1),
        "send_signal_sync": lambda: send_signal_sync(handle, "a"),
        "send_signal with a connection": lambda: send_signal(handle, "a", connection=object()),
        "status": handle.status,
        "status_sync": handle.status_sync,
        "result": handle.result,
        "result_sync": handle.result_sync,
        "cancel": handle.cancel,
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


def test_wrong_arguments_fail_at_the_call_not_when_awaited(start: Any) -> None:
    async def main() -> str:
        with pytest.raises(TypeError, match="missing a required argument"):
            plain.run()  # type: ignore[call-arg]
        with pytest.raises(InvalidArgument):
            await send_signal("x", "a")
        return "done"

    assert start(main).outcome == "done"
