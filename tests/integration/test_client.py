"""Enqueueing, asking and waiting through the client, against a real server."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID, uuid4

import psycopg
import pytest

import currant
from currant import Client, Handle, Status, database, send_signal, send_signal_sync, task, workflow
from currant.errors import (
    AlreadyEnded,
    Cancelled,
    DecodingError,
    ExecutionFailed,
    ExecutionNotFound,
    InvalidArgument,
    PayloadTooLarge,
    UnknownFunction,
)
from currant.models import Claimed, Completion, Failure, new_id
from currant.settings import Settings

T = TypeVar("T")


@dataclass
class Receipt:
    id: UUID
    at: datetime


@task(name="client.charge", queue="money", retries=2, timeout=60)
async def charge(amount: int, card: str = "visa") -> Receipt:
    raise AssertionError("no worker here")


@task(name="client.plain")
def plain(n: int) -> int:
    return n


@workflow(name="client.order", queue="orders", version=3)
async def order(id: str) -> str:  # noqa: A002
    return id


class Worker:
    """A worker reduced to what these tests need of one."""

    def __init__(self, url: str) -> None:
        self._connection = database.connect_sync(
            url, settings=Settings(), application_name="test-worker"
        )
        options = {"id": str(new_id()), "host": "here", "pid": 1, "queues": ["money"]}
        options |= {"concurrency": 100, "functions": [], "heartbeat_timeout": 60}
        self.id = self._run(database.register_worker(options))

    def _run(self, call: database.Call[Any]) -> Any:
        return database.run_sync(self._connection, call)

    def claim(self, *queues: str) -> list[Claimed]:
        found: list[Claimed] = self._run(database.claim(self.id, queues, 5000, 100))
        return found

    def complete(self, claimed: Claimed, result: str) -> None:
        item = Completion(claimed.execution_id, claimed.token, result)
        assert self._run(database.complete_many(self.id, [item])) == ["accepted"]

    def fail(self, claimed: Claimed, error: str) -> None:
        item = Failure(claimed.execution_id, claimed.token, error)
        assert self._run(database.fail_many(self.id, [item])) == ["accepted"]

    def watched(self) -> list[UUID]:
        found = self._connection.execute("select w.execution_id from currant.watchers as w")
        return [row[0] for row in found.fetchall()]

    def close(self) -> None:
        self._connection.close()


async def until(ask: Callable[[], T]) -> T:
    """Ask again and again, letting others run in between, until the answer is yes."""
    while not (answer := ask()):  # noqa: ASYNC110  (the other side is a database)
        await asyncio.sleep(0)
    return answer


@pytest.fixture
def worker(database_url: str) -> Iterator[Worker]:
    worker = Worker(database_url)
    yield worker
    worker.close()


@pytest.fixture(params=["default", "pooled", "deaf"])
async def client(request: pytest.FixtureRequest, database_url: str) -> AsyncIterator[Client]:
    settings = {
        "default": Settings(database_url=database_url),
        "pooled": Settings(database_url=database_url, database_prepare=False),
        "deaf": Settings(database_url=database_url, database_listen_url="off"),
    }[request.param]
    async with Client(settings=settings) as client:
        yield client


@pytest.fixture
def sync_client(database_url: str) -> Iterator[Client]:
    with Client(database_url) as client:
        yield client


# --- Enqueueing


@pytest.mark.usefixtures("client")
async def test_a_handle_is_the_id_of_an_execution_with_its_declaration(worker: Worker) -> None:
    handle = await charge.queue(5, card="amex")

    state = await handle.state()
    assert str(state.id) == handle == str(handle)
    assert (state.function, state.queue, state.kind, state.version) == (
        "client.charge",
        "money",
        "task",
        1,
    )
    assert state.max_attempts == 3
    assert state.status is Status.PENDING
    assert await handle.status() == "pending"
    [claimed] = worker.claim("money")
    assert charge.decode_call(claimed.args) == ((), {"amount": 5, "card": "amex"})
    assert claimed.timeout == timedelta(seconds=60)
    assert await handle.status() is Status.RUNNING


@pytest.mark.usefixtures("client")
async def test_what_declares_no_queue_goes_to_the_default_one() -> None:
    handle = await plain.queue(1)

    state = await handle.state()
    assert state.queue == "default"
    assert state.max_attempts == 4


@pytest.mark.usefixtures("client")
async def test_options_reach_the_database() -> None:
    given = uuid4()
    chosen = charge.options(
        id=given, queue="urgent", priority=7, retries=0, delay=3600, headers={"trace": "x"}
    )

    handle = await chosen.queue(5)

    state = await handle.state()
    assert handle == str(given)
    assert (state.queue, state.priority, state.max_attempts) == ("urgent", 7, 1)
    assert state.headers == '{"trace": "x"}'
    assert state.due_at is not None
    waits = state.due_at - state.created_at
    assert timedelta(hours=1) <= waits < timedelta(hours=1, seconds=10)


@pytest.mark.usefixtures("client")
async def test_run_at_is_a_moment_whatever_its_time_zone() -> None:
    moment = datetime.now(UTC).replace(microsecond=0) + timedelta(days=2)

    handle = await charge.options(run_at=moment).queue(5)

    assert (await handle.state()).due_at == moment


@pytest.mark.usefixtures("client")
async def test_a_key_gives_the_same_execution_again() -> None:
    first = await charge.options(key="k").queue(5)
    second = await charge.options(key="k").queue(6)

    assert first == second


@pytest.mark.usefixtures("client")
async def test_the_same_id_again_makes_no_second_execution(worker: Worker) -> None:
    chosen = charge.options(id=uuid4())

    handles = [await chosen.queue(5) for _ in range(3)]

    assert len(set(handles)) == 1
    assert len(worker.claim("money")) == 1


@pytest.mark.usefixtures("client")
async def test_a_workflow_is_enqueued_with_its_version() -> None:
    handle = await order.queue("o1")

    state = await handle.state()
    assert (state.kind, state.version, state.queue) == ("workflow", 3, "orders")


@pytest.mark.usefixtures("client")
@pytest.mark.parametrize("count", [0, 1, 2500])
async def test_many_are_enqueued_in_order(worker: Worker, count: int) -> None:
    handles = await plain.queue_many({"n": n} for n in range(count))

    assert len(set(handles)) == count
    claimed = {str(each.execution_id): each.args for each in worker.claim("default")}
    assert [claimed[handle] for handle in handles] == [f'{{"n": {n}}}' for n in range(count)]


@pytest.mark.usefixtures("client")
async def test_many_are_enqueued_or_none(worker: Worker) -> None:
    calls = [{"n": n} for n in range(1500)]

    with pytest.raises(PayloadTooLarge):
        await charge.queue_many(
            [*({"amount": n["n"]} for n in calls), {"amount": 1, "card": "x" * 2_000_000}]
        )

    assert worker.claim("money") == []


@pytest.mark.usefixtures("client")
async def test_many_may_have_keys_and_bound_calls() -> None:
    first = await plain.queue_many([{"n": 1}, plain.bind(2)], keys=["a", None])
    second = await plain.queue_many([{"n": 3}, {"n": 4}], keys=["a", "b"])

    assert first[0] == second[0]
    assert first[1] != second[1]


async def test_a_function_can_be_enqueued_by_name(client: Client, worker: Worker) -> None:
    named = await client.enqueue("client.charge", {"amount": 5}, {"queue": "money"})
    placed = await client.enqueue("client.charge", [5, "amex"], {"queue": "money"})

    args = {str(each.execution_id): each.args for each in worker.claim("money")}
    assert args == {named: '{"amount": 5}', placed: '[5, "amex"]'}


async def test_an_unknown_function_without_a_queue_is_refused(client: Client) -> None:
    with pytest.raises(UnknownFunction, match="nobody"):
        await client.enqueue("client.nobody")


@pytest.mark.usefixtures("client")
async def test_arguments_over_the_limit_are_refused() -> None:
    with pytest.raises(PayloadTooLarge, match="arguments too large"):
        await charge.queue(1, card="x" * 2_000_000)


# --- Results


@pytest.mark.usefixtures("client")
async def test_a_result_is_waited_for_and_typed(worker: Worker) -> None:
    handle = await charge.queue(5)
    result = asyncio.create_task(handle.result())
    await until(worker.watched)
    [claimed] = worker.claim("money")
    receipt = Receipt(uuid4(), datetime.now(UTC))

    worker.complete(claimed, charge.encode_result(receipt))

    assert await result == receipt
    assert await handle.result() == receipt
    assert await Handle(handle).result() == {"id": str(receipt.id), "at": _iso(receipt.at)}


def _iso(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


@pytest.mark.usefixtures("client")
async def test_run_enqueues_and_waits(worker: Worker) -> None:
    running = asyncio.create_task(plain.run(3))
    [claimed] = await until(lambda: worker.claim("default"))

    worker.complete(claimed, "4")

    assert await running == 4


@pytest.mark.usefixtures("client")
async def test_many_can_wait_at_once(worker: Worker) -> None:
    handles = await plain.queue_many({"n": n} for n in range(50))
    results = asyncio.gather(*(handle.result() for handle in handles))
    await until(worker.watched)

    for claimed in worker.claim("default"):
        _, kwargs = plain.decode_call(claimed.args)
        worker.complete(claimed, str(kwargs["n"]))

    assert await results == list(range(50))


@pytest.mark.usefixtures("client")
async def test_a_failure_arrives_with_what_the_worker_knew(worker: Worker) -> None:
    handle = await charge.options(retries=0).queue(5)
    [claimed] = worker.claim("money")
    worker.fail(claimed, '{"type": "Declined", "message": "no money", "traceback": "line 1"}')

    with pytest.raises(ExecutionFailed, match=r"charge .* failed: Declined: no money") as e:
        await handle.result()

    assert (e.value.type, e.value.reason, e.value.traceback) == ("Declined", "no money", "line 1")
    assert (e.value.attempts, e.value.execution_id) == (1, handle)


@pytest.mark.usefixtures("client")
async def test_a_cancelled_execution_raises_cancelled() -> None:
    handle = await charge.queue(5)

    assert await handle.cancel("not needed") is Status.CANCELLED

    with pytest.raises(Cancelled, match="not needed"):
        await handle.result()
    assert await handle.cancel() is Status.CANCELLED


@pytest.mark.usefixtures("client")
async def test_waiting_has_an_end() -> None:
    handle = await charge.queue(5)

    with pytest.raises(TimeoutError, match=rf"{handle} has not ended within 0\.05 seconds"):
        await handle.result(timeout=0.05)
    with pytest.raises(TimeoutError):
        await handle.result(timeout=timedelta(seconds=0))

    assert await handle.status() is Status.PENDING


@pytest.mark.usefixtures("client")
async def test_a_timeout_of_nothing_is_a_look(worker: Worker) -> None:
    handle = await charge.queue(5)
    [claimed] = worker.claim("money")
    receipt = Receipt(uuid4(), datetime.now(UTC))
    worker.complete(claimed, charge.encode_result(receipt))

    assert await handle.result(timeout=0) == receipt
    with pytest.raises(ExecutionNotFound):
        await Handle(uuid4()).result(timeout=0)


@pytest.mark.usefixtures("client")
async def test_a_wait_can_be_cancelled_and_the_client_used_on() -> None:
    handle = await charge.queue(5)
    waiting = asyncio.create_task(handle.result())
    await asyncio.sleep(0.02)

    waiting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await handle.status() is Status.PENDING


@pytest.mark.usefixtures("client")
async def test_a_result_that_does_not_fit_says_so(worker: Worker) -> None:
    handle = await charge.queue(5)
    worker.complete(worker.claim("money")[0], '"text"')

    with pytest.raises(DecodingError, match=r"the result of client.charge\(\)"):
        await handle.result()


@pytest.mark.usefixtures("client")
@pytest.mark.parametrize("ask", ["status", "state", "result", "cancel"])
async def test_an_unknown_id_is_an_error(ask: str) -> None:
    with pytest.raises(ExecutionNotFound, match="execution not found"):
        await getattr(Handle(uuid4()), ask)()


@pytest.mark.parametrize("text", ["", "x", "0197", None, 7])
def test_a_text_that_is_no_id_makes_no_handle(text: Any) -> None:
    with pytest.raises(InvalidArgument, match="is not an execution id"):
        Handle(text)


# --- Signals


@pytest.mark.usefixtures("client")
async def test_signals_reach_a_workflow(database_url: str) -> None:
    handle = await order.queue("o1")

    await send_signal(handle, "approved", {"by": UUID(int=7)})
    await handle.signal("approved")

    with psycopg.connect(database_url) as connection:
        found = database.run_sync(connection, database.signals(handle))
    assert [(each.name, each.payload) for each in found] == [
        ("approved", '{"by": "00000000-0000-0000-0000-000000000007"}'),
        ("approved", "null"),
    ]


@pytest.mark.usefixtures("client")
async def test_a_signal_to_what_has_ended_or_never_was_is_an_error() -> None:
    handle = await order.queue("o1")
    await handle.cancel()

    with pytest.raises(AlreadyEnded):
        await handle.signal("approved")
    with pytest.raises(ExecutionNotFound):
        await send_signal(uuid4(), "approved")
    with pytest.raises(InvalidArgument, match="a signal's name"):
        await send_signal(handle, "")


# --- Retrying


async def test_a_failed_execution_can_be_run_again(client: Client, worker: Worker) -> None:
    handle = await charge.options(retries=0).queue(5)
    worker.fail(worker.claim("money")[0], '{"type": "E", "message": "m"}')

    again = await client.retry(handle)

    assert again != handle
    assert (await again.state()).retry_of == handle.id


# --- Without an event loop


@pytest.mark.usefixtures("sync_client")
def test_everything_works_without_an_event_loop(worker: Worker) -> None:
    handle = charge.options(retries=0).queue_sync(5)
    many = plain.queue_many_sync([{"n": 1}, plain.bind(2)])

    assert handle.status_sync() is Status.PENDING
    assert handle.state_sync().function == "client.charge"
    assert len(set(many)) == 2
    assert many[0].cancel_sync("no") is Status.CANCELLED
    with pytest.raises(Cancelled):
        many[0].result_sync()
    with pytest.raises(TimeoutError, match="has not ended within"):
        handle.result_sync(timeout=0.05)
    worker.complete(worker.claim("default")[0], "3")
    assert many[1].result_sync(timeout=5) == 3
    worker.fail(worker.claim("money")[0], '{"type": "E", "message": "m"}')
    with pytest.raises(ExecutionFailed, match="E: m"):
        handle.result_sync()


def test_signals_retries_and_names_work_without_an_event_loop(
    sync_client: Client, worker: Worker
) -> None:
    flow = order.queue_sync("o1")
    send_signal_sync(flow, "approved", 1)
    flow.signal_sync("approved", 2)
    named = sync_client.enqueue_sync("client.plain", [1], {"queue": "q"})
    named.cancel_sync()

    again = sync_client.retry_sync(named)

    assert again.state_sync().retry_of == named.id
    assert worker.claim("orders")[0].inbox is not None


@pytest.mark.usefixtures("sync_client")
def test_threads_share_the_client() -> None:
    handles: list[Handle[int]] = []
    sync_client = currant.defaults.current_sync()

    def enqueue() -> None:
        for n in range(10):
            handles.append(plain.options(client=sync_client).queue_sync(n))

    threads = [threading.Thread(target=enqueue) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(set(handles)) == 200


def test_many_threads_can_wait_at_once(sync_client: Client, worker: Worker) -> None:
    handles = plain.queue_many_sync([{"n": n} for n in range(25)])
    results: dict[str, int] = {}

    def wait(handle: Handle[int]) -> None:
        results[handle] = handle.result_sync(timeout=60)

    threads = [threading.Thread(target=wait, args=(handle,)) for handle in handles]
    for thread in threads:
        thread.start()
    while len(worker.watched()) < 25:
        assert all(thread.is_alive() for thread in threads)
    for claimed in worker.claim("default"):
        worker.complete(claimed, str(plain.decode_call(claimed.args)[1]["n"]))
    for thread in threads:
        thread.join(30)

    assert [results[handle] for handle in handles] == list(range(25))


@pytest.mark.parametrize("listen_url", [None, "off"])
def test_a_thread_waits_whether_or_not_it_is_told(
    listen_url: str | None, database_url: str, worker: Worker
) -> None:
    settings = Settings(database_url=database_url, database_listen_url=listen_url)
    with Client(settings=settings) as client:
        handle = plain.queue_sync(3)
        results: list[Any] = []
        thread = threading.Thread(target=lambda: results.append(client.result_sync(handle)))
        thread.start()
        while not worker.watched():
            assert thread.is_alive()

        worker.complete(worker.claim("default")[0], "4")

        thread.join(30)
    assert results == [4]


@pytest.mark.usefixtures("sync_client")
def test_run_sync_enqueues_and_waits(worker: Worker) -> None:
    results: list[int] = []
    chosen = plain.options(client=currant.defaults.current_sync())
    thread = threading.Thread(target=lambda: results.append(chosen.run_sync(3)))
    thread.start()
    while not (found := worker.claim("default")):
        pass

    worker.complete(found[0], "4")

    thread.join(10)
    assert results == [4]
