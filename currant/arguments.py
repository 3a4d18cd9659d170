"""What plain arguments have to be, wherever they are taken: durations and names."""

import math
from datetime import timedelta
from numbers import Real

Seconds = float | timedelta

LONGEST_SIGNAL_NAME = 500


def seconds(value: object, *, what: str) -> float:
    """A duration as seconds; it may be negative or infinite.

    Args:
        what: for the error, such as "timeout".

    Raises:
        TypeError: it is neither a number nor a timedelta.
    """
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, Real) or math.isnan(value):
        raise TypeError(f"{what} has to be seconds or a timedelta, not {value!r:.200}")
    return float(value)


def is_name(value: object, longest: int) -> bool:
    """Whether it is a text that the database can store as a name."""
    if not isinstance(value, str) or not 1 <= len(value) <= longest or "\x00" in value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
