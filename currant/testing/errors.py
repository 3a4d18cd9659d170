"""What a test is told when things do not go as it assumes."""

from typing import Any

from currant.errors import CurrantError


def hidden(failure: Any) -> bool:
    """Tell pytest to leave the kit's own frames out of a traceback: the test's line is enough.

    Args:
        failure: pytest's `ExceptionInfo`. What the kit does not raise on purpose is shown whole.
    """
    return isinstance(failure.value, CurrantError | TypeError | ValueError)


class KitError(CurrantError):
    """Base of all that the kit itself raises."""


class Stuck(KitError, AssertionError):
    """Nothing can run and nothing is due; the message says what is being waited for."""


class Stalled(KitError, AssertionError):
    """Something runs and does not get on, for too many real seconds."""


class UnfitDatabase(KitError):
    """The kit does not touch this database, or may not."""
