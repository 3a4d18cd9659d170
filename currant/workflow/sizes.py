"""How large the values may be that a workflow sends, and what happens to those that are larger.

A value is measured when it is sent, never while replaying: the limit may change, and so may the
code. But what was refused has to be refused again, since the code may have gone another way for it.
So a refusal is a command of its own, with the name of what was too large. It is stored as a side
effect that raised, which is what it amounts to.
"""

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

from currant.errors import PayloadTooLarge
from currant.workflow.intents import SideEffect, Site

# No function is called so.
PREFIX: Final = "too large: "
_LONGEST_NAME: Final = 500

# What an element adds at most to its text: its entry, padding, and the header of a number.
_MOST_ADDED: Final = 24


class _Number(str):
    """A number as it is written."""

    __slots__ = ()


class Refusal(SideEffect):
    """A value was not sent. `place` tells which: its event, and its turn among those sent there."""

    __slots__ = ()

    def __init__(
        self, what: str, error: PayloadTooLarge, place: tuple[int, int], site: Site | None
    ) -> None:
        super().__init__(f"{PREFIX}{what}"[:_LONGEST_NAME], site)
        described = {"type": type(error).__name__, "message": error.message, "hint": error.hint}
        self.outcome = json.dumps({"error": described, "place": place})


def refused(payload: str | None) -> tuple[tuple[int, int], PayloadTooLarge]:
    """The place and the error of a refusal that is recorded."""
    found = json.loads(payload or "{}")
    event, turn = found["place"]
    error = found["error"]
    return (event, turn), PayloadTooLarge(error["message"], hint=error["hint"])


def measured(text: str, limit: int, *, what: str) -> PayloadTooLarge | None:
    """The error to raise if JSON text takes more bytes in the database than are stored."""
    # A few comparisons do for almost all of them.
    if 4 * len(text) + _MOST_ADDED * (len(text) // 2 + 1) <= limit:
        return None
    elements = sum(map(text.count, ",:[{")) + 1
    if len(text.encode()) + _MOST_ADDED * elements <= limit:
        return None
    try:
        size = stored_size(text)
    except RecursionError:
        return None  # nested so deep that it is for the database to say
    if size <= limit:
        return None
    return PayloadTooLarge(
        f"{what} would take {size} bytes, of {limit} at most",
        hint="store it elsewhere and send a reference",
    )


def limited(
    encode: Callable[[Any], str], limit: int | None, effect: SideEffect
) -> Callable[[Any], str]:
    """Encode what a side effect gives, unless it is too large to be kept."""
    if limit is None:
        return encode

    def encode_some(value: Any) -> str:
        text = encode(value)
        # It is stored as a part of an object.
        error = measured(f'{{"value":{text}}}', limit, what=f"the result of {effect.name}()")
        if error is not None:
            raise error
        return text

    return encode_some


def stored_size(text: str) -> int:
    """How many bytes Postgres has for it as jsonb: `pg_column_size`."""
    value = json.loads(text, parse_int=_Number, parse_float=_Number)
    size = 8  # lengths of the whole, and of the outermost container
    if not isinstance(value, dict | list):
        return _after(size + 4, value)
    return _after(size - 4, value)


def _after(offset: int, value: Any) -> int:
    """Where the next value begins if this one begins at the offset."""
    match value:
        case _Number():
            return _padded(offset) + _numeric(value)
        case str():
            return offset + len(value.encode("utf-8", "surrogatepass"))
        case list():
            offset = _padded(offset) + 4 + 4 * len(value)
            for each in value:
                offset = _after(offset, each)
        case dict():
            offset = _padded(offset) + 4 + 8 * len(value)
            offset += sum(len(key.encode("utf-8", "surrogatepass")) for key in value)
            # Postgres has the shorter keys first.
            for key in sorted(value, key=lambda key: (len(key.encode()), key.encode())):
                offset = _after(offset, value[key])
    return offset  # of true, false and null: their entry says it all


def _padded(offset: int) -> int:
    return offset + -offset % 4


def _numeric(text: str) -> int:
    """The bytes of a number: groups of four decimal digits, and a header."""
    _, digits, exponent = Decimal(text).as_tuple()
    assert isinstance(exponent, int)
    written = "".join(map(str, digits))
    significant = written.strip("0")
    scale = max(0, -exponent)
    if not significant:
        return 6 if scale < 64 else 8
    lowest = exponent + len(written) - len(written.rstrip("0"))
    first = (lowest + len(significant) - 1) // 4
    header = 6 if scale < 64 and -64 <= first < 64 else 8
    return header + 2 * (first - lowest // 4 + 1)
