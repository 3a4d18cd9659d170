"""What a test is told when things do not go as it assumes."""

from currant.errors import CurrantError


class KitError(CurrantError):
    """Base of all that the kit itself raises."""


class Stuck(KitError, AssertionError):
    """Nothing can run and nothing is due; the message says what is being waited for."""


class Stalled(KitError, AssertionError):
    """Something runs and does not get on, for too many real seconds."""


class UnfitDatabase(KitError):
    """The kit does not touch this database, or may not."""
