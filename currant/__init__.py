"""Durable tasks and workflows on nothing but Postgres."""

from currant.authoring import get_version, now, random, uuid4, wait_for_signal
from currant.client import Client, configure, send_signal, send_signal_sync
from currant.context import TaskInfo, connection, heartbeat, task_info
from currant.definitions import Declaration, Function, task, workflow
from currant.errors import (
    AlreadyEnded,
    Cancelled,
    CurrantError,
    DatabaseError,
    DatabaseUnavailable,
    DecodingError,
    DefinitionError,
    EncodingError,
    ExecutionFailed,
    ExecutionNotFound,
    NonDeterminism,
    NotAllowedInWorkflow,
    NotInTask,
    NotInWorkflow,
    OptionError,
    PayloadTooLarge,
    Retry,
    SettingsError,
    TaskFailed,
    UnknownFunction,
    UnsupportedVersion,
)
from currant.handles import Handle
from currant.models import ExecutionState, Status

__version__ = "0.1.0"

__all__ = [
    "AlreadyEnded",
    "Cancelled",
    "Client",
    "CurrantError",
    "DatabaseError",
    "DatabaseUnavailable",
    "Declaration",
    "DecodingError",
    "DefinitionError",
    "EncodingError",
    "ExecutionFailed",
    "ExecutionNotFound",
    "ExecutionState",
    "Function",
    "Handle",
    "NonDeterminism",
    "NotAllowedInWorkflow",
    "NotInTask",
    "NotInWorkflow",
    "OptionError",
    "PayloadTooLarge",
    "Retry",
    "SettingsError",
    "Status",
    "TaskFailed",
    "TaskInfo",
    "UnknownFunction",
    "UnsupportedVersion",
    "configure",
    "connection",
    "get_version",
    "heartbeat",
    "now",
    "random",
    "send_signal",
    "send_signal_sync",
    "task",
    "task_info",
    "uuid4",
    "wait_for_signal",
    "workflow",
]
