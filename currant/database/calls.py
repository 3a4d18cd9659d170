"""A function for each function of the schema, and for what people read: each gives a Call.

Parameters are plain texts and numbers with explicit casts, so that any driver can carry them.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec

from currant import models
from currant.database.values import (
    Call,
    Identifier,
    Row,
    as_list,
    columns,
    id_text,
    interval,
    nothing,
    one,
    one_uuid,
    plain_array,
    record,
    records,
    text_array,
    texts,
    to_json,
    with_status,
)

ENDED_CHANNEL: Final = "currant_ended"
READY_CHANNEL: Final = "currant_ready"
CANCEL_CHANNEL: Final = "currant_cancel"


def enqueue(function: str, args: str, options: Mapping[str, object]) -> Call[UUID]:
    """Ask for an execution; the id that counts comes back. `args` is JSON text."""
    return Call(
        "select currant.enqueue(%s::text, %s::jsonb, %s::jsonb)",
        (function, args, to_json(options)),
        one_uuid,
    )


def enqueue_many(
    function: str,
    args: Sequence[str],
    options: Mapping[str, object],
    ids: Sequence[str] | None = None,
) -> Call[list[str]]:
    """Ask for many executions of one function; the ids that count come back in order.

    All ids are texts, since making objects of a great many takes longer than sending them.
    """
    return Call(
        "select currant.enqueue_many(%s::text, %s::text::jsonb[], %s::jsonb, %s::text::uuid[])"
        "::text",
        (
            function,
            text_array(args),
            to_json(options),
            None if ids is None else plain_array(ids),
        ),
        texts,
    )


def signal(
    execution: Identifier, name: str, payload: str = "null", options: Mapping[str, object] = {}
) -> Call[int]:
    """Send a signal; its arrival number comes back. `payload` is JSON text."""
    return Call(
        "select currant.signal(%s::text::uuid, %s::text, %s::jsonb, %s::jsonb)",
        (id_text(execution), name, payload, to_json(options)),
        one,
    )


def signal_by_key(
    function: str,
    key: str,
    name: str,
    payload: str = "null",
    options: Mapping[str, object] = {},
) -> Call[int]:
    """Send a signal to the workflow that holds a key. `payload` is JSON text."""
    return Call(
        "select currant.signal_by_key(%s::text, %s::text, %s::text, %s::jsonb, %s::jsonb)",
        (function, key, name, payload, to_json(options)),
        one,
    )


def enqueue_and_signal(
    function: str,
    args: str,
    signal: str,
    payload: str = "null",
    options: Mapping[str, object] = {},
) -> Call[UUID]:
    """Start a workflow unless it is there, and signal it. `args` and `payload` are JSON text."""
    return Call(
        "select currant.enqueue_and_signal(%s::text, %s::jsonb, %s::text, %s::jsonb, %s::jsonb)",
        (function, args, signal, payload, to_json(options)),
        one_uuid,
    )


def cancel(
    execution: Identifier, reason: str | None = None, options: Mapping[str, object] = {}
) -> Call[models.Status]:
    """Ask for cancellation; where the execution then stands comes back."""
    return Call(
        "select currant.cancel(%s::text::uuid, %s::text, %s::jsonb)",
        (id_text(execution), reason, to_json(options)),
        lambda rows: models.Status(rows[0][0]),
    )


def retry(execution: Identifier, options: Mapping[str, object] = {}) -> Call[UUID]:
    """Run an ended execution again as a new one, whose id comes back."""
    return Call(
        "select currant.retry(%s::text::uuid, %s::jsonb)",
        (id_text(execution), to_json(options)),
        one_uuid,
    )


def status(execution: Identifier) -> Call[models.ExecutionState]:
    """Everything about an execution."""
    return Call(
        f"select {columns(models.ExecutionState)} from currant.status(%s::text::uuid) as r",
        (id_text(execution),),
        lambda rows: with_status(models.ExecutionState)(rows)[0],
    )


def result(execution: Identifier) -> Call[str | None]:
    """The result of a completed execution, as JSON text."""
    return Call("select currant.result(%s::text::uuid)", (id_text(execution),), one)


def watch(
    execution: Identifier, watch_for: timedelta = timedelta(minutes=1)
) -> Call[models.Status]:
    """Where the execution stands; if it has not ended, its end will be notified."""
    return Call(
        "select currant.watch(%s::text::uuid, %s::text::interval)",
        (id_text(execution), interval(watch_for)),
        lambda rows: models.Status(rows[0][0]),
    )


def version() -> Call[str]:
    """The version of the deployed schema."""
    return Call("select currant.version()", (), one)


def settings() -> Call[models.Configuration]:
    """The settings of the installation."""
    return Call(
        f"select {columns(models.Configuration)} from currant.settings() as r",
        (),
        record(models.Configuration),
    )


def history(execution: Identifier, after_event: int = 0) -> Call[list[models.HistoryEntry]]:
    """A workflow's history past an event, in order."""
    return Call(
        f"select {columns(models.HistoryEntry)} from currant.history(%s::text::uuid, %s::int) as r",
        (id_text(execution), after_event),
        records(models.HistoryEntry),
    )


def listen(channel: str) -> Call[None]:
    """Have the connection receive a channel's notifications."""
    if channel not in {ENDED_CHANNEL, READY_CHANNEL, CANCEL_CHANNEL}:
        raise ValueError(channel)
    return Call(f"listen {channel}", (), nothing)


# --- Calls of workers


def register_functions(functions: Sequence[Mapping[str, object]]) -> Call[int]:
    """Store declarations, so that plain SQL callers get their defaults."""
    return Call("select currant.register_functions(%s::jsonb)", (to_json(functions),), one)


def register_worker(options: Mapping[str, object]) -> Call[UUID]:
    """Make a worker known; its id comes back."""
    return Call("select currant.register_worker(%s::jsonb)", (to_json(options),), one_uuid)


def deregister_worker(worker: UUID) -> Call[int]:
    """The worker is going; what it still holds is given back."""
    return Call("select currant.deregister_worker(%s::text::uuid)", (worker.hex,), one)


_CLAIMED: Final = columns(models.Claimed)
_read_claimed: Final = records(models.Claimed)


def claim(
    worker: UUID,
    queues: Sequence[str],
    tasks: int,
    workflows: int = 0,
    hints: Mapping[str, object] | None = None,
) -> Call[list[models.Claimed]]:
    """Take leases on as many tasks and workflows as there are free slots of each kind."""
    return Call(
        f"select {_CLAIMED} from currant.claim("
        "%s::text::uuid, %s::text::text[], %s::int, %s::int, %s::jsonb) as r",
        (worker.hex, text_array(queues), tasks, workflows, to_json(hints) if hints else None),
        _read_claimed,
    )


def resume(worker: UUID) -> Call[list[models.Claimed]]:
    """Every lease the worker holds, whether or not it ever saw the answer that gave it."""
    return Call(
        f"select {_CLAIMED} from currant.resume(%s::text::uuid) as r",
        (worker.hex,),
        _read_claimed,
    )


def complete(worker: UUID, execution: UUID, token: int, result: str) -> Call[str]:
    """A task is done; `result` is JSON text."""
    return Call(
        "select currant.complete(%s::text::uuid, %s::text::uuid, %s::bigint, %s::jsonb)",
        (worker.hex, execution.hex, token, result),
        one,
    )


def fail(
    worker: UUID,
    execution: UUID,
    token: int,
    error: str,
    retry_after: timedelta | None = None,
) -> Call[str]:
    """An attempt failed; `error` is JSON text."""
    return Call(
        "select currant.fail(%s::text::uuid, %s::text::uuid, %s::bigint, %s::jsonb,"
        " %s::text::interval)",
        (worker.hex, execution.hex, token, error, interval(retry_after)),
        one,
    )


def release(worker: UUID, execution: UUID, token: int, reason: str | None = None) -> Call[str]:
    """Give a lease back: the attempt does not count."""
    return Call(
        "select currant.release(%s::text::uuid, %s::text::uuid, %s::bigint, %s::text)",
        (worker.hex, execution.hex, token, reason),
        one,
    )


_Leased = models.Completion | models.Failure | models.Release | models.Beat


def _leases(worker: UUID, items: Sequence[_Leased]) -> tuple[str, str, str]:
    return (
        worker.hex,
        plain_array([item.execution_id.hex for item in items]),
        plain_array([str(item.token) for item in items]),
    )


def complete_many(worker: UUID, items: Sequence[models.Completion]) -> Call[list[str]]:
    """Tasks are done; a word for each comes back in order."""
    return Call(
        "select currant.complete_many("
        "%s::text::uuid, %s::text::uuid[], %s::text::bigint[], %s::text::jsonb[])",
        (*_leases(worker, items), text_array([item.result for item in items])),
        as_list,
    )


def fail_many(worker: UUID, items: Sequence[models.Failure]) -> Call[list[str]]:
    """Attempts failed; a word for each comes back in order."""
    return Call(
        "select currant.fail_many(%s::text::uuid, %s::text::uuid[], %s::text::bigint[],"
        " %s::text::jsonb[], %s::text::interval[])",
        (
            *_leases(worker, items),
            text_array([item.error for item in items]),
            text_array([interval(item.retry_after) for item in items]),
        ),
        as_list,
    )


def release_many(worker: UUID, items: Sequence[models.Release]) -> Call[list[str]]:
    """Leases are given back; a word for each comes back in order."""
    return Call(
        "select currant.release_many("
        "%s::text::uuid, %s::text::uuid[], %s::text::bigint[], %s::text::text[])",
        (*_leases(worker, items), text_array([item.reason for item in items])),
        as_list,
    )


def advance(worker: UUID, activation: models.Activation) -> Call[str]:
    """Commit one activation of a workflow; `commands` and `options` are JSON text."""
    return Call(
        "select currant.advance(%s::text::uuid, %s::text::uuid, %s::bigint, %s::int,"
        " %s::text::bigint[], %s::jsonb, %s::jsonb)",
        (
            worker.hex,
            activation.execution_id.hex,
            activation.token,
            activation.last_event,
            plain_array(map(str, activation.arrivals)),
            activation.commands,
            activation.options,
        ),
        one,
    )


def advance_many(worker: UUID, activations: Sequence[models.Activation]) -> Call[list[str]]:
    """Commit several activations; a word for each comes back in order."""
    return Call(
        "select currant.advance_many(%s::text::uuid, %s::text::jsonb[])",
        (worker.hex, text_array([_activation_json(item) for item in activations])),
        as_list,
    )


def step_many(
    worker: UUID,
    reports: Sequence[models.Activation | models.Step],
    direct: tuple[Sequence[str], int] | None = None,
) -> Call[models.Stepped]:
    """Commit activations, under leases or ahead.

    Args:
        direct: queues whose new tasks the worker takes at once, and how many.
    """
    queues, slots = direct or ((), 0)
    return Call(
        "select currant.step_many(%s::text::uuid, %s::jsonb, %s::jsonb)",
        (
            worker.hex,
            f"[{','.join(map(_activation_json, reports))}]",
            to_json({"queues": queues, "slots": slots}),
        ),
        _read_stepped,
    )


def _activation_json(report: models.Activation | models.Step) -> str:
    # Commands are JSON already and may be large: spliced in, not decoded and encoded again.
    if isinstance(report, models.Activation):
        what = f'"token":{report.token},"arrivals":{list(report.arrivals)}'
    else:
        completions = ",".join(
            f'{{"execution":"{one.execution_id.hex}","token":{one.token},"result":{one.result}}}'
            for one in report.completions
        )
        what = f'"at":"{report.at.isoformat()}","completions":[{completions}]'
    return (
        f'{{"execution":"{report.execution_id.hex}","last_event":{report.last_event},{what},'
        f'"commands":{report.commands},"options":{report.options}}}'
    )


class _Started(msgspec.Struct, array_like=True):
    execution_id: UUID
    token: int
    function: str
    version: int
    queue: str
    attempt: int
    max_attempts: int
    args: msgspec.Raw
    headers: msgspec.Raw
    parent_id: UUID
    command_number: int
    root_id: UUID
    created_at: datetime
    claimed_at: datetime
    timeout: float

    def as_claimed(self) -> models.Claimed:
        headers = bytes(self.headers).decode()
        return models.Claimed(
            execution_id=self.execution_id,
            token=self.token,
            kind="task",
            function=self.function,
            version=self.version,
            queue=self.queue,
            rank=0,
            seq=0,
            attempt=self.attempt,
            max_attempts=self.max_attempts,
            args=bytes(self.args).decode(),
            headers=None if headers == "null" else headers,
            parent_id=self.parent_id,
            root_id=self.root_id,
            created_at=self.created_at,
            claimed_at=self.claimed_at,
            timeout=timedelta(seconds=self.timeout),
            details=None,
            command_number=self.command_number,
        )


class _Stepped(msgspec.Struct):
    words: list[str]
    completed: list[str]
    started: list[_Started]


_decode_stepped: Final = msgspec.json.Decoder(_Stepped).decode


def _read_stepped(rows: list[Row]) -> models.Stepped:
    answer = _decode_stepped(one(rows))
    return models.Stepped(
        answer.words, answer.completed, [each.as_claimed() for each in answer.started]
    )


def heartbeat(worker: UUID, beats: Sequence[models.Beat]) -> Call[list[models.HeartbeatAnswer]]:
    """The worker is alive; leases that are lost or asked to stop come back."""
    return Call(
        f"select {columns(models.HeartbeatAnswer)} from currant.heartbeat(%s::text::uuid,"
        " %s::text::uuid[], %s::text::bigint[], %s::text::jsonb[]) as r",
        (*_leases(worker, beats), text_array([beat.details for beat in beats])),
        records(models.HeartbeatAnswer),
    )


def tick(duty: str | None = None) -> Call[models.TickResult]:
    """One bounded round of maintenance: "due", "recover", or both."""
    return Call(
        f"select {columns(models.TickResult)} from currant.tick(%s::text) as r",
        (duty,),
        record(models.TickResult),
    )
