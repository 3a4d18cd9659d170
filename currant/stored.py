"""JSON text as the database gives it back.

A worker that goes on with a result before it is stored has to see exactly what a later replay will
be given, and `jsonb` does not keep a text as it was: keys come back in its own order, and numbers
without an exponent.
"""

from math import isinf
from typing import Any, Final

import msgspec

# What is longer is left to the database: it is rare, and the worker's time is better spent.
_LONGEST: Final = 65_536
_PLAIN: Final = frozenset({"null", "true", "false", '""', "{}", "[]"})


class _Unsure(Exception):
    """It is not known here what becomes of a value."""


def _float(text: str) -> float:
    # An exponent is written out, and may leave a whole number; and there is no negative zero.
    if "e" in text or "E" in text:
        raise _Unsure
    value = float(text)
    if isinf(value) or (not value and text[0] == "-"):
        raise _Unsure
    return value


_decode: Final = msgspec.json.Decoder(float_hook=_float).decode
_encode: Final = msgspec.json.Encoder().encode


def stored(text: str) -> str | None:
    """JSON text that decodes to the same values, in the same order, as the stored text will.

    None where that is not sure: numbers with an exponent, whole numbers beyond 64 bits, values
    nested very deeply, long texts.
    """
    if text in _PLAIN:
        return text
    if len(text) > _LONGEST:
        return None
    try:
        value = _decode(text)
        if type(value) is str:
            return text
        return _encode(_ordered(value)).decode()
    except (_Unsure, RecursionError, msgspec.DecodeError):
        return None


def _ordered(value: Any) -> Any:
    kind = type(value)
    if kind is list:
        return [_ordered(each) for each in value]
    if kind is not dict:
        if kind is int and not -(2**63) <= value < 2**63:
            raise _Unsure
        return value
    # Shorter keys come first, of equally long ones that with the lower bytes.
    keys = sorted(value, key=_place)
    return {key: _ordered(value[key]) for key in keys}


def _place(key: str) -> tuple[int, bytes]:
    encoded = key.encode()
    return len(encoded), encoded
