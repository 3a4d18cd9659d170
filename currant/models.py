"""What comes back from the database: one frozen record per composite type or view.

JSON columns stay JSON text (`str`) here; the codec decodes them where their type is known. The
records are msgspec structs, which are built from a row about ten times faster than dataclasses.
"""

import os
import time
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

import msgspec


class Status(StrEnum):
    """Where an execution stands."""

    PENDING = "pending"
    RUNNING = "running"
    SUSPENDED = "suspended"
    BLOCKED = "blocked"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_end(self) -> bool:
        """Whether nothing can follow it."""
        return self in _ENDS


_ENDS = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED})


class Word(StrEnum):
    """What the database answers to a worker's report."""

    ACCEPTED = "accepted"
    ALREADY = "already"
    LOST = "lost"
    BUSY = "busy"
    REFUSED = "refused"
    STALE = "stale"


class Claimed(msgspec.Struct, frozen=True, gc=False):
    """An execution that a worker holds a lease on: `currant.claimed`, column by column."""

    execution_id: UUID
    token: int
    kind: str
    function: str
    version: int
    queue: str
    rank: int
    seq: int
    attempt: int
    max_attempts: int
    args: str
    headers: str | None
    parent_id: UUID | None
    root_id: UUID
    created_at: datetime
    claimed_at: datetime
    timeout: timedelta | None
    details: str | None
    last_event: int | None = None
    last_command: int | None = None
    inbox: str | None = None
    first_event: int | None = None  # where the current run begins in the history
    carried: str | None = None  # signals that the run before it had not read, a JSON array
    command_number: int | None = None  # of a workflow's task: the command that asked for it


class HistoryEntry(msgspec.Struct, frozen=True, gc=False):
    """A line of a workflow's history: an event (position 0) or a command that it caused."""

    event: int
    position: int
    kind: str
    number: int | None
    name: str | None
    payload: str | None
    execution_id: UUID | None
    source: str | None
    at: datetime


class ExecutionState(msgspec.Struct, frozen=True, gc=False):
    """Everything that is known of one execution: `currant.execution_state`, column by column."""

    id: UUID
    kind: str
    function: str
    version: int
    queue: str
    priority: int
    status: Status
    attempt: int
    max_attempts: int
    args: str
    result: str | None
    error: str | None
    headers: str | None
    key: str | None
    parent_id: UUID | None
    root_id: UUID
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    due_at: datetime | None
    worker_id: UUID | None
    waits_for: str | None
    is_cancel_requested: bool
    retry_of: UUID | None
    details: str | None
    attempts: str | None
    unread_signals: str | None = None  # name and time of each, a JSON array


class ExecutionSummary(msgspec.Struct, frozen=True, gc=False):
    """One line of a list of executions: the view `currant.execution_status`."""

    id: UUID
    kind: str
    function: str
    version: int
    queue: str
    priority: int
    status: Status
    attempt: int
    max_attempts: int
    error_message: str | None
    key: str | None
    parent_id: UUID | None
    root_id: UUID
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    due_at: datetime | None
    worker_id: UUID | None
    waits_for: str | None
    is_cancel_requested: bool
    retry_of: UUID | None


class TreeNode(msgspec.Struct, frozen=True, gc=False):
    """An execution in the tree of what a workflow started: `currant.tree`, column by column."""

    depth: int
    parent_id: UUID | None
    command_number: int | None
    id: UUID
    kind: str
    function: str
    version: int
    queue: str
    priority: int
    status: Status
    attempt: int
    max_attempts: int
    key: str | None
    root_id: UUID
    retry_of: UUID | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    outcome: str | None
    due_at: datetime | None
    worker_id: UUID | None
    waits_for: str | None
    is_cancel_requested: bool
    error_message: str | None


class WorkflowVersion(msgspec.Struct, frozen=True, gc=False):
    """Open runs that went by one version of a change: the view `currant.workflow_versions`.

    Without a version: runs that have not recorded the change; without a change: any change.
    """

    function: str
    change_id: str | None
    version: int | None
    runs: int
    oldest_id: UUID


class QueueStats(msgspec.Struct, frozen=True, gc=False):
    """A queue and what is in it: the view `currant.queue_stats`."""

    queue: str
    ready: int
    delayed: int
    running: int
    oldest_ready_at: datetime | None


class WorkerState(msgspec.Struct, frozen=True):
    """A worker process: the view `currant.worker_heartbeats`."""

    worker_id: UUID
    host: str | None
    pid: int | None
    queues: list[str]
    concurrency: int
    running: int
    started_at: datetime
    heartbeat_at: datetime
    is_alive: bool


class SignalState(msgspec.Struct, frozen=True, gc=False):
    """A signal that was sent to a workflow: the view `currant.workflow_signals`."""

    execution_id: UUID
    name: str
    payload: str | None
    arrived_at: datetime
    is_applied: bool


class HeartbeatAnswer(msgspec.Struct, frozen=True, gc=False):
    """A lease that needs attention: `answer` is "lost" or "cancel"."""

    execution_id: UUID
    token: int
    answer: str


class TickResult(msgspec.Struct, frozen=True, gc=False):
    """What a round of maintenance did, and when the next is due (None: nothing is)."""

    done: int
    more: bool
    next_due_in: timedelta | None


class Configuration(msgspec.Struct, frozen=True, gc=False):
    """The settings that the installation keeps in its database."""

    hash_seed: int
    max_payload_bytes: int
    default_retries: int
    default_timeout: timedelta
    default_workflow_timeout: timedelta


class Completion(msgspec.Struct, frozen=True, gc=False):
    """A finished task on its way to the database."""

    execution_id: UUID
    token: int
    result: str


class Failure(msgspec.Struct, frozen=True, gc=False):
    """A failed attempt on its way to the database; `error` is JSON text."""

    execution_id: UUID
    token: int
    error: str
    retry_after: timedelta | None = None


class Release(msgspec.Struct, frozen=True, gc=False):
    """A lease given back: the attempt does not count."""

    execution_id: UUID
    token: int
    reason: str | None = None


class Beat(msgspec.Struct, frozen=True, gc=False):
    """A lease that its worker still works on, with new details (JSON text) if there are any."""

    execution_id: UUID
    token: int
    details: str | None = None


class Activation(msgspec.Struct, frozen=True, gc=False):
    """One activation's commit: what was applied, and the commands it caused (a JSON array)."""

    execution_id: UUID
    token: int
    last_event: int
    arrivals: tuple[int, ...]
    commands: str
    options: str = "{}"
    blocked: str | None = None  # why it cannot go on; then nothing is applied
    has_failed: bool = False  # it ends the workflow, because the database refused what it asked for
    tasks: int = 0  # so many of the commands ask for a task


class Step(msgspec.Struct, frozen=True, gc=False):
    """Completions of a workflow's tasks, and what the workflow makes of them, computed ahead."""

    execution_id: UUID  # the workflow's
    token: int  # its own, below 0: leases' are above
    last_event: int
    at: datetime
    completions: tuple[Completion, ...]
    commands: str
    options: str = "{}"
    tasks: int = 0


# What a worker tells the database about a lease.
Report = Completion | Failure | Release | Activation | Step


class Stepped(msgspec.Struct, frozen=True, gc=False):
    """How activations and steps were answered, in order, and the tasks that began with them."""

    words: list[str]
    completed: list[str]
    started: list[Claimed]


def new_id() -> UUID:
    """A UUIDv7: sorts by the time of its making, to the millisecond."""
    value = (time.time_ns() // 1_000_000 & 0xFFFF_FFFF_FFFF) << 80
    value |= int.from_bytes(os.urandom(10)) & ~(0xF << 76) & ~(0x3 << 62)
    return UUID(int=value | 0x7 << 76 | 0x2 << 62)


def new_ids(count: int) -> list[str]:
    """Many ids as of `new_id`, as hexadecimal digits: no UUIDs, a quarter of the time."""
    milliseconds = f"{time.time_ns() // 1_000_000 & 0xFFFF_FFFF_FFFF:012x}"
    digits = os.urandom(10 * count).hex()
    return [
        f"{milliseconds}7{digits[i : i + 3]}{_VARIANTS[digits[i + 3]]}{digits[i + 4 : i + 19]}"
        for i in range(0, 20 * count, 20)
    ]


# The digit that says which sort of UUID it is has two bits to choose.
_VARIANTS: Final = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}
