"""What a call is made of: parameters as text, and rows read as values."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, TypeVar
from uuid import UUID

import msgspec

from currant import errors, models

T_co = TypeVar("T_co", covariant=True)
S = TypeVar("S", bound=msgspec.Struct)
Row = tuple[Any, ...]
Identifier = UUID | str


@dataclass(frozen=True, slots=True)
class Call(Generic[T_co]):
    """A statement, its parameters, and how to read what it returns."""

    sql: str
    params: Sequence[object]
    read: Callable[[list[Row]], T_co]


def to_json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def plain_json(text: str | None) -> Any:
    """What JSON text of the database itself says: errors, attempts, headers. Not for payloads."""
    return None if text is None else msgspec.json.decode(text)


def id_text(value: Identifier) -> str:
    if isinstance(value, UUID):
        return value.hex
    try:
        return UUID(value).hex
    except (ValueError, AttributeError, TypeError):
        raise errors.InvalidArgument(
            f"{str(value)!r} is not an id", hint="ids are UUIDs, as enqueueing returns them"
        ) from None


# Array literals are written here: psycopg's own list adaptation takes ten times as long.
def plain_array(values: Iterable[str]) -> str:
    return "{" + ",".join(values) + "}"


def text_array(values: Iterable[str | None]) -> str:
    return plain_array(
        [
            "NULL" if value is None else '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
            for value in values
        ]
    )


def interval(value: timedelta | None) -> str | None:
    return None if value is None else f"{value.total_seconds():.6f} seconds"


def columns(record: type[msgspec.Struct], alias: str = "r") -> str:
    return ", ".join(f"{alias}.{name}" for name in record.__struct_fields__)


def one(rows: list[Row]) -> Any:
    return rows[0][0] if rows else None


def as_list(rows: list[Row]) -> list[Any]:
    return list(rows[0][0] or ()) if rows else []


def nothing(rows: list[Row]) -> None:
    return None


def to_uuid(value: Any) -> UUID:
    # A caller's own connection may give texts.
    return value if isinstance(value, UUID) else UUID(str(value))


def one_uuid(rows: list[Row]) -> UUID:
    return to_uuid(rows[0][0])


def texts(rows: list[Row]) -> list[str]:
    # A caller's own connection may give bytes, if it does not know the encoding.
    return [row[0].decode() if isinstance(row[0], bytes) else row[0] for row in rows]


def record(kind: type[S]) -> Callable[[list[Row]], S]:
    return lambda rows: kind(*rows[0])


def records(kind: type[S]) -> Callable[[list[Row]], list[S]]:
    return lambda rows: [kind(*row) for row in rows]


def with_status(kind: type[S]) -> Callable[[list[Row]], list[S]]:
    place = kind.__struct_fields__.index("status")

    def read(rows: list[Row]) -> list[S]:
        return [kind(*row[:place], models.Status(row[place]), *row[place + 1 :]) for row in rows]

    return read
