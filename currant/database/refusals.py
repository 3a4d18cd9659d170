"""What the database refused, as errors of Currant: by SQLSTATE, never by text."""

from collections.abc import Mapping
from typing import Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from currant import errors

_BY_SQLSTATE: Final[Mapping[str, type[errors.DatabaseError]]] = {
    "KR001": errors.UnknownFunction,
    "KR002": errors.UnknownWorker,
    "KR003": errors.AlreadyEnded,
    "KR004": errors.ExecutionNotFound,
    "KR005": errors.PayloadTooLarge,
    "KR006": errors.NotEnded,
    "KR007": errors.NoResult,
    "KR008": errors.IsolationRefused,
    "22023": errors.InvalidArgument,
    "22004": errors.InvalidArgument,
    "3F000": errors.SchemaMissing,
    "42883": errors.SchemaMissing,
    "42P01": errors.SchemaMissing,
    "42704": errors.SchemaMissing,
}
_MIGRATE: Final = 'run "currant migrate"'


def translate(error: psycopg.Error) -> errors.CurrantError:
    """Currant's error for one of the driver's, chosen by SQLSTATE."""
    kind = _BY_SQLSTATE.get(error.sqlstate or "")
    made: errors.DatabaseError
    if kind is errors.SchemaMissing:
        made = kind(
            "the database has no schema currant, or an incomplete one",
            detail=error.diag.message_primary,
            hint=_MIGRATE,
        )
    elif kind is not None:
        made = kind(
            error.diag.message_primary or one_line(error),
            detail=error.diag.message_detail,
            hint=error.diag.message_hint,
        )
    elif is_connection_lost(error):
        made = errors.DatabaseUnavailable(
            "the database cannot be reached",
            detail=one_line(error),
            hint="is the server up, is CURRANT_DATABASE_URL right, and does the database exist? "
            "currant migrate makes one that does not",
        )
    elif error.sqlstate == "42501":
        made = errors.DatabaseError(
            "the database role may not do this",
            detail=error.diag.message_primary,
            hint="grant it currant_client, currant_worker, currant_observer or currant_admin",
        )
    else:
        made = errors.DatabaseError(
            error.diag.message_primary or one_line(error),
            detail=error.diag.message_detail,
            hint=error.diag.message_hint,
        )
    made.sqlstate = error.sqlstate
    return made


def is_connection_lost(error: BaseException) -> bool:
    """Whether the server went away, or refuses everybody for the moment."""
    if isinstance(error, psycopg.InterfaceError):
        return True
    if not isinstance(error, psycopg.OperationalError):
        return False
    state = error.sqlstate
    return state is None or state[:2] in {"08", "53"} or state[:4] == "57P0" or state == "25006"


def is_transient(error: BaseException) -> bool:
    """Whether the same call may succeed if it is simply made again."""
    if is_connection_lost(error):
        return True
    return isinstance(error, psycopg.Error) and error.sqlstate in {"40001", "40P01"}


def server_answers(url: str) -> bool:
    """Whether a server listens there, whatever it thinks of the user or the database. Blocks."""
    parameters: dict[str, Any] = {"connect_timeout": 3, **conninfo_to_dict(url)}
    answer = psycopg.pq.PGconn.ping(make_conninfo(**parameters).encode())
    return answer == psycopg.pq.Ping.OK


def one_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines()]
    return "; ".join(line for line in lines if line) or type(error).__name__
