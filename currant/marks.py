"""Where the last claim began in each queue, so that the next one does not walk over what is gone.

A claim deletes from the front of an index, and until vacuum comes by, the dead entries are still
there to be stepped over. Starting where the last claim found its first row avoids them. It is only
ever a hint: what commits late with a lower number is found by a claim without marks, which is made
from time to time and before sleeping.
"""

from collections.abc import Sequence
from itertools import islice
from typing import Any, Final

from currant import models

# Seconds between claims without marks; more where such a claim is slow.
_FULL_SCAN_INTERVAL: Final = 2.0
_FULL_SCAN_SHARE: Final = 50
# A queue with more priorities in use than this is claimed from without marks.
_MOST_RANKS: Final = 16
# Marks go along for so many queues, those that are asked first: of a thousand, reading them would
# take longer than the claim.
_MOST_QUEUES: Final = 50


class Marks:
    """For each queue and kind of work: the rank and the lowest number of the last claim."""

    __slots__ = ("_affordable_at", "_by_queue", "_full_scan_at")

    def __init__(self) -> None:
        self._by_queue: dict[str, dict[str, dict[int, int]]] = {}
        self._full_scan_at = 0.0
        self._affordable_at = 0.0

    def hints(
        self, queues: Sequence[str], now: float, *, before_sleep: bool = False
    ) -> dict[str, Any]:
        """The hints for a claim; empty if it is time to look without.

        Args:
            queues: in the order in which they are asked.
            before_sleep: it is, unless that has been done not long ago for what it took.
        """
        due_at = self._affordable_at if before_sleep else self._full_scan_at
        if now >= due_at or not self._by_queue:
            return {}
        return {
            "marks": {
                queue: {
                    kind: sorted(ranks.items())
                    for kind, ranks in self._by_queue[queue].items()
                    if len(ranks) <= _MOST_RANKS
                }
                for queue in islice(filter(self._by_queue.__contains__, queues), _MOST_QUEUES)
            }
        }

    def learn(
        self, claimed: Sequence[models.Claimed], *, is_full_scan: bool, at: float, took: float
    ) -> None:
        """Remember where a claim that ended at this time, and took this long, began."""
        if is_full_scan:
            self._affordable_at = at + _FULL_SCAN_SHARE * took
            self._full_scan_at = max(at + _FULL_SCAN_INTERVAL, self._affordable_at)
        lowest: dict[tuple[str, str, int], int] = {}
        for one in claimed:
            place = (one.queue, "t" if one.kind == "task" else "w", one.rank)
            lowest[place] = min(one.seq, lowest.get(place, one.seq))
        for (queue, kind, rank), seq in lowest.items():
            self._by_queue.setdefault(queue, {}).setdefault(kind, {})[rank] = seq

    def forget(self, now: float) -> bool:
        """Have the next claim look everywhere, unless one has done so not long ago for what it
        took; whether it will."""
        if now < self._affordable_at:
            return False
        self._full_scan_at = 0.0
        return True
