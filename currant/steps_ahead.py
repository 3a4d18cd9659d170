"""Steps of workflows that this worker takes ahead: a result and what the workflow makes of it go to
the database together.

It is possible if the task ran here and its workflow is in memory. The database accepts the second
half only if nothing else has happened to the workflow; else the completion stands, and the workflow
goes on with an activation, as it does whenever a step is given up here. One step of a workflow is
under way at a time: what completes meanwhile waits for its answer.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from currant import models
from currant.activation import Ahead, Completed, log_end
from currant.instances import Instances
from currant.loglines import Lines
from currant.models import Report
from currant.stored import stored
from currant.workflow_threads import WorkflowThreads

# Seconds for which results wait for what a workflow makes of them, while it runs and altogether.
_PATIENCE: Final = 0.1
_LONGEST_WAIT: Final = 1.0


class StepsAhead:
    """The steps under way, each from the first completion to the database's answer.

    Args:
        report: tells the database.
        instances: the runs that can go on ahead.
        threads: where they do so.
        later: calls a function at the end of this turn of the event loop.
        lines: which ends are logged.
    """

    def __init__(
        self,
        report: Callable[[Report], None],
        instances: Instances,
        threads: WorkflowThreads,
        later: Callable[..., object],
        lines: Lines,
    ) -> None:
        self._report = report
        self._instances = instances
        self._threads = threads
        self._later = later
        self._lines = lines
        self._steps: dict[UUID, Ahead] = {}  # by workflow
        self._reported: dict[int, Ahead] = {}  # those of them that wait for the answer
        self._is_stopped = False

    def __len__(self) -> int:
        return len(self._steps)

    @property
    def under_way(self) -> int:
        """How many steps have not been reported; what takes long is given up and not counted."""
        return len(self._steps) - len(self._reported)

    @property
    def completing(self) -> dict[int, UUID]:
        """Token and execution of each completion that a workflow goes on with."""
        return {
            one.report.token: one.report.execution_id
            for job in self._steps.values()
            for one in (*job.completions, *job.later)
        }

    def take(self, completion: models.Completion, claimed: models.Claimed, at: datetime) -> bool:
        """Go on with the workflow that waits for a task, if it is in memory.

        Args:
            at: now, by the database's clock; rather too early than too late.

        Returns:
            Whether the completion is taken care of.
        """
        workflow, number = claimed.parent_id, claimed.command_number
        if workflow is None or number is None or self._is_stopped:
            return False
        step = self._steps.get(workflow)
        if step is None and workflow not in self._instances:
            return False
        payload = stored(completion.result)
        if payload is None:
            return False
        completed = Completed(completion, number, at, payload)
        if step is not None:
            step.later.append(completed)
        else:
            self._begin(workflow, [completed])
        return True

    def _begin(self, workflow: UUID, completions: Sequence[Completed]) -> None:
        instance = None if self._is_stopped else self._instances.take(workflow)
        if instance is None:
            self._send_alone(completions)
            return
        self._steps[workflow] = step = Ahead(instance, completions)
        self._threads.put(step)
        # Many tasks end in one turn of the loop, and a thread takes all of them.
        self._threads.drain_soon()

    def _send_alone(self, completions: Iterable[Completed]) -> None:
        for one in completions:
            self._report(one.report)

    def computed(self, job: Ahead, step: models.Step | None) -> None:
        """It has come out of the threads; None: with nothing."""
        if step is None or job.is_given_up:
            self._instances.close(job.instance)
            self._give_up(job)
            return
        # The database is told of them by itself, and after this: it would refuse the step else.
        job.later[:0] = job.completions[len(step.completions) :]
        self._reported[step.token] = job
        self._report(step)

    def _give_up(self, job: Ahead) -> None:
        """Report the completions without what the workflow makes of them."""
        if not job.is_given_up:
            job.is_given_up = True
            del self._steps[job.instance.run.id]
            self._send_alone((*job.completions, *job.later))

    def give_up_late(self, now: float) -> None:
        """No longer wait for those that take long, whatever keeps them."""
        for job in list(self._steps.values()):
            if job.is_computed:
                continue
            is_slow = job.started and now - job.started > _PATIENCE
            if is_slow or now - job.made > _LONGEST_WAIT:
                self._give_up(job)

    def stop(self) -> None:
        """From now on completions go alone, those at hand too."""
        self._is_stopped = True
        for job in list(self._steps.values()):
            if job.token not in self._reported:
                self._give_up(job)

    def settled(self, token: int, word: models.Word) -> bool:
        """The database has answered; whether that was about a step."""
        job = self._reported.pop(token, None)
        if job is None:
            return False
        if word is models.Word.ACCEPTED:
            run = job.instance.run
            log_end(run.function, run.id, run.parent_id, job.end, self._lines)
        if word is models.Word.ACCEPTED and job.end is None:
            self._instances.park(job.instance)
        else:
            self._instances.close(job.instance)
        job.completions = ()
        if job.later and not self._is_stopped:
            # A claim of the same answer comes first.
            self._later(self._go_on, job)
        else:
            self._go_on(job)
        return True

    def _go_on(self, job: Ahead) -> None:
        if not job.is_given_up:
            workflow = job.instance.run.id
            del self._steps[workflow]
            if job.later:
                self._begin(workflow, job.later)

    def forget(self) -> None:
        """Close the instances of those that have not been answered: the process ends."""
        for job in self._reported.values():
            self._threads.close(job.instance)
        self._reported.clear()
        self._steps.clear()
