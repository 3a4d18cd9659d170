"""Lines in the log about what went well: each of them, as long as they are few.

A worker that completes thousands of tasks a second would spend its time on lines that nobody can
read. Beyond some a second it says how many more there were. Whatever went wrong is always said.
"""

import asyncio
import logging
from collections import Counter
from typing import Final

_LOG = logging.getLogger("currant")

_MOST_PER_SECOND: Final = 100


class Lines:
    """Decides which lines are logged. To be used on one event loop."""

    def __init__(self) -> None:
        self._left = _MOST_PER_SECOND
        self._withheld: Counter[str] = Counter()
        self._second: asyncio.TimerHandle | None = None

    def allow(self, what: str) -> bool:
        """Whether to log one more; otherwise it is counted.

        Args:
            what: verb and name, such as "completed charge_card".
        """
        if self._second is None:
            self._second = asyncio.get_running_loop().call_later(1, self.flush)
        if self._left:
            self._left -= 1
            return True
        self._withheld[what] += 1
        return False

    def flush(self) -> None:
        """Say what has been withheld, and begin anew."""
        if self._second is not None:
            self._second.cancel()
        self._second = None
        self._left = _MOST_PER_SECOND
        withheld, self._withheld = self._withheld, Counter()
        for what, count in sorted(withheld.items()):
            _LOG.info("%s %d more time%s", what, count, "s" if count > 1 else "")
