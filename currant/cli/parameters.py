"""What the commands accept on the command line: ids, JSON, durations, moments.

Each function reads one form, and refuses a wrong value with one line that names it and shows a
right one.
"""

import re
import sys
from datetime import UTC, datetime, timedelta
from uuid import UUID

import click
import msgspec

_UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|[smhdw]?)", re.ASCII | re.IGNORECASE)
_DURATION = re.compile(rf"\s*(?:{_PART.pattern}\s*)+", re.ASCII | re.IGNORECASE)
_LONGEST = 100 * 365 * 86400


def execution_id(text: str) -> UUID:
    """Read the id of an execution."""
    try:
        return UUID(text.strip())
    except ValueError:
        raise click.BadParameter(
            f"{_shortened(text)} is not an execution id: it is a UUID,"
            " as printed by 'currant enqueue' and 'currant list'"
        ) from None


def own_id(text: str) -> UUID:
    """Read an id that the caller has chosen."""
    try:
        return UUID(text.strip())
    except ValueError:
        raise click.BadParameter(
            f"{_shortened(text)} is not a UUID, e.g. what uuidgen prints; --key takes any text"
        ) from None


def json_value(text: str) -> str:
    """Check a JSON document and return its text; ``-`` reads it from standard input."""
    return _json(text)[0]


def json_arguments(text: str) -> str:
    """Check the arguments of a function: an object of named or an array of positional ones."""
    document, value = _json(text)
    if not isinstance(value, dict | list):
        raise click.BadParameter(
            f"{_shortened(document)} is neither an object of named arguments"
            " nor an array of positional ones"
        )
    return document


def json_object(text: str) -> dict[str, object]:
    """Read a JSON object."""
    document, value = _json(text)
    if not isinstance(value, dict):
        raise click.BadParameter(f"{_shortened(document)} is not a JSON object")
    return value


def duration(text: str) -> float:
    """Read ``90``, ``1.5s``, ``10m``, ``2h30m`` or ``1d`` as seconds."""
    if not _DURATION.fullmatch(text):
        raise click.BadParameter(
            f"{_shortened(text)} is not a duration, e.g. 90, 1.5s, 10m, 2h30m, 1d"
        )
    seconds = sum(float(number) * _UNITS[unit.lower()] for number, unit in _PART.findall(text))
    if seconds > _LONGEST:
        raise click.BadParameter(f"{_shortened(text)} is more than a hundred years")
    return seconds


def moment(text: str) -> datetime:
    """Read an ISO 8601 date or time; without an offset it is local."""
    try:
        return datetime.fromisoformat(text.strip()).astimezone()
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{_shortened(text)} is not a time,"
            " e.g. 2026-01-31, 2026-01-31T12:00 or 2026-01-31T12:00:00Z"
        ) from None


def past(text: str) -> datetime:
    """Read a moment, or a duration before now."""
    if _DURATION.fullmatch(text):
        return datetime.now(UTC) - timedelta(seconds=duration(text))
    try:
        return moment(text)
    except click.BadParameter as error:
        raise click.BadParameter(f"{error.message}, or 30m, 2h, 1d for so long ago") from None


def _json(text: str) -> tuple[str, object]:
    if text == "-":
        text = sys.stdin.read()
    if "\\u0000" in text.replace("\\\\", ""):
        raise click.BadParameter(
            f"{_shortened(text)} has the character \\u0000, which Postgres does not store"
        )
    try:
        return text, msgspec.json.decode(text.encode())
    except UnicodeEncodeError:
        raise click.BadParameter("the JSON is not valid UTF-8") from None
    except msgspec.MsgspecError as error:
        reason = str(error).removeprefix("JSON is malformed: ")
        raise click.BadParameter(
            f"{_shortened(text)} is not JSON ({reason});"
            ' quote it for the shell, e.g. \'{"name": "value"}\''
        ) from None


def _shortened(text: str, limit: int = 60) -> str:
    return repr(text if len(text) <= limit else text[: limit - 3] + "...")
