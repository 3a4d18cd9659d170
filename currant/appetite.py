"""What a worker wants to claim, and when: from what its last claims gave, and what it was told.

This decides and does nothing: the engine asks before it claims or sleeps, and tells what came of
it. All times are seconds of the monotonic clock.
"""

import time
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from currant import models
from currant.marks import Marks

# Seconds for which a sleeping worker asks to be notified; it asks again when half of them are over.
_DECLARATION: Final = 10.0
# Somebody who is woken more often than this polls for a while instead: producers need not notify.
_MOST_WAKES_PER_SECOND: Final = 50
# Who has just taken something does not go to sleep for this long.
_LINGER: Final = 0.005
# Naps get longer as long as there is nothing, since of many workers most find nothing time after
# time. Little by little: one that happened to find nothing must not delay what comes next.
_SHORTEST_NAP: Final = 0.003
_LONGEST_NAP: Final = 0.04
_NAP_GROWTH: Final = 1.25
# At most so many reports in one transaction, so that a backlog after an outage does not become one.
_MOST_REPORTS: Final = 500
# With this many slots or more on each side, one half of them runs while the other is on its way to
# the database and back. With fewer, an exchange for each half costs more than running both at once.
_LEAST_HALF: Final = 50
# After a claim that left slots free, workflows' tasks are taken without queueing for so long.
_DIRECT_SECONDS: Final = 0.1


class Claim(NamedTuple):
    """What to ask for with an exchange.

    Attributes:
        tasks, workflows: how many to claim; if both are none, there is no claim.
        direct: how many of the tasks that workflows ask for in the same exchange to take at once.
        hints: as `database.claim` takes them.
    """

    tasks: int
    workflows: int
    direct: int
    hints: dict[str, Any]

    @property
    def is_one(self) -> bool:
        """Whether anything is to be claimed."""
        return bool(self.tasks or self.workflows)


class Appetite:
    """Remembers what claims gave.

    Args:
        queues: where work is taken from.
        concurrency: how many tasks the worker runs at a time.
        poll_interval: seconds after which it looks for work though nobody has announced any.

    Attributes:
        queues: in the order in which they are asked next.
        poll_at: when it looks again.
        most_reports: how many reports go with one exchange.
    """

    def __init__(self, queues: Sequence[str], *, concurrency: int, poll_interval: float) -> None:
        self.queues = list(queues)
        self.poll_at = 0.0
        half = -(-concurrency // 2)
        self._most_tasks = half if half >= _LEAST_HALF else concurrency
        self.most_reports = half if half >= _LEAST_HALF else _MOST_REPORTS
        self._poll_interval = poll_interval
        self._wait = max(_DECLARATION, 2 * poll_interval + 1)
        self._marks = Marks()
        # There may be work of the kind that has not been asked for.
        self._wants_tasks = True
        self._wants_workflows = True
        self._holds_back = False  # new workflows may wait that there was no room for
        self._direct_until = 0.0  # until then workflows' tasks need not queue
        self._empty_until = 0.0  # until then steps go out without a claim
        self._is_listening = False  # notifications arrive
        self._declared_until = 0.0  # until then producers notify this worker
        self._declare_at = 0.0
        self._recent_wakes: deque[float] = deque(maxlen=_MOST_WAKES_PER_SECOND)
        self._nap = _SHORTEST_NAP

    # --- What it is told ------------------------------------------------------------------

    def nudge(self) -> None:
        """There may be work."""
        self._wants_tasks = self._wants_workflows = True

    def notified(self) -> None:
        """Somebody says that there is work."""
        self._recent_wakes.append(time.monotonic())
        self.nudge()

    def listening(self, is_listening: bool) -> None:
        """Notifications arrive from now on, or do not any more."""
        self._is_listening = is_listening
        self.begin_anew()

    def begin_anew(self) -> None:
        """Whatever was announced may have been missed."""
        self._declared_until = 0.0
        self.nudge()

    def serve(self, queues: Iterable[str]) -> None:
        """Take work from these queues too."""
        self.queues.extend(queue for queue in queues if queue not in self.queues)
        self.nudge()

    # --- When to claim --------------------------------------------------------------------

    @property
    def is_declared(self) -> bool:
        """Whether producers notify this worker."""
        return time.monotonic() < self._declared_until

    def is_hungry(self, tasks: int, workflows: int) -> bool:
        """Whether there may be work for free slots."""
        has_room = tasks > 0 and self._holds_back
        wants_tasks = tasks > 0 and self._wants_tasks
        return wants_tasks or (workflows > 0 and (self._wants_workflows or has_room))

    def pause(self, *, is_step_under_way: bool) -> float | None:
        """Until when to wait for reports and notifications; None: it is time to go to sleep."""
        now = time.monotonic()
        if self._is_woken_often():
            until = now + self._nap
            self._nap = min(_NAP_GROWTH * self._nap, _LONGEST_NAP)
            self.nudge()
            return until
        if is_step_under_way:
            return float("inf")  # its report comes in a moment
        if not self.is_declared and now < self._declare_at:
            # What has just begun may be over in a moment, and its report asks for more.
            return self._declare_at
        return None

    def looks_before_sleep(self) -> tuple[int, float]:
        """How often to claim before sleeping, and the seconds for which to declare that.

        A producer sees a declaration only once it has committed, hence a second look; what falls
        between a producer's look and that commit is found by the next poll.
        """
        if self._is_listening and not self.is_declared:
            return 2, self._wait
        return int(time.monotonic() >= self.poll_at), self._wait if self._is_listening else 0.0

    def _is_woken_often(self) -> bool:
        wakes = self._recent_wakes
        return len(wakes) == _MOST_WAKES_PER_SECOND and wakes[0] > time.monotonic() - 1

    # --- What to claim --------------------------------------------------------------------

    def plan(
        self,
        tasks: int,
        workflows: int,
        *,
        free: int,
        asked: int,
        is_step_under_way: bool,
        wait: float,
    ) -> Claim:
        """What to ask for.

        Args:
            tasks, workflows: slots to claim for.
            free: slots for tasks that are free.
            asked: how many tasks workflows ask for with this exchange.
            is_step_under_way: more of them are about to.
            wait: seconds for which the worker is going to sleep if there is nothing.
        """
        now = time.monotonic()
        # Workflows begin as others make room, so that those that have begun get on.
        fresh = max(tasks - asked, 0 if asked or is_step_under_way else 1)
        direct = min(asked, free) if self._may_go_first(now) else 0
        tasks = min(max(tasks - direct, 0), self._most_tasks)
        if 0 < asked == direct and now < self._empty_until:
            tasks = workflows = 0
        if not (tasks or workflows):
            return Claim(0, 0, direct, {})
        hints = self._marks.hints(self.queues, now, before_sleep=wait > 0)
        if wait:
            hints["wait"] = wait
        elif self.is_declared and not self._is_woken_often():
            # It lasts; a claim that does not say so would withdraw it.
            hints["wait"] = self._wait
        if fresh < workflows:
            hints["fresh"] = fresh
        # What is announced while the claim is under way may have come too late for it.
        self._wants_tasks &= not tasks
        self._wants_workflows &= not workflows
        return Claim(tasks, workflows, direct, hints)

    def _may_go_first(self, now: float) -> bool:
        """Whether nothing waits that would come before tasks that workflows ask for now: the last
        claims left slots free, or gave nothing but such tasks, just made; or what comes is
        announced."""
        return now < self._direct_until or (self.is_declared and not self._wants_tasks)

    # --- What came of it ------------------------------------------------------------------

    def began(self) -> None:
        """Tasks of workflows have begun without a claim."""
        self._declare_at = time.monotonic() + _LINGER

    def learn(self, claim: Claim, claimed: Sequence[models.Claimed], started: float) -> bool:
        """Take in what a claim gave, that was sent at `started`.

        Returns:
            Whether the worker is not told any more of what comes and what is due.
        """
        now = time.monotonic()
        tasks, workflows, _, hints = claim
        taken = sum(one.kind == "task" for one in claimed)
        is_full_scan = "marks" not in hints
        self.poll_at = now + self._poll_interval
        self._marks.learn(claimed, is_full_scan=is_full_scan, at=now, took=now - started)
        if workflows:
            self._holds_back = hints.get("fresh") == 0
        if tasks:
            may_go_first = taken < tasks or all(map(_has_not_waited, claimed))
            self._direct_until = now + _DIRECT_SECONDS if may_go_first else 0.0
        # A short claim has emptied the queues, as far as its marks let it see.
        has_more_tasks = taken == tasks > 0
        has_more_workflows = len(claimed) - taken == workflows > 0
        self._wants_tasks |= has_more_tasks
        self._wants_workflows |= has_more_workflows
        if claimed:
            self._nap = _SHORTEST_NAP
            self._declare_at = now + _LINGER
            # Queues take turns: those that gave something come last next time.
            served = {one.queue for one in claimed}
            self.queues.sort(key=served.__contains__)
            if not self.is_declared:
                self._recent_wakes.append(now)
        elif self.is_declared and not is_full_scan and self._marks.forget(now):
            # Something was announced that stands before the marks.
            self.nudge()
        self._empty_until = 0.0 if claimed else now + _LINGER
        if not claimed and "wait" in hints:
            self._declared_until = now + min(self._wait, 3600) / 2
        elif self.is_declared and (
            "wait" not in hints
            or has_more_tasks
            or has_more_workflows
            # Steps make work for this worker, and what it makes need not be announced to it.
            or any(one.kind == "workflow" or one.parent_id is not None for one in claimed)
        ):
            # The next claim withdraws it.
            self._declared_until = 0.0
            return True
        return False


def _has_not_waited(one: models.Claimed) -> bool:
    """Whether nothing is likely to wait that would come before the next step of a workflow."""
    waited = (one.claimed_at - one.created_at).total_seconds()
    return one.kind == "workflow" or (one.parent_id is not None and waited < _DIRECT_SECONDS)
