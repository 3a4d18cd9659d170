"""The runs that stay in memory, parked, until they go on: a cache and nothing more."""

from collections import OrderedDict
from collections.abc import Callable
from uuid import UUID

from currant.workflow.instance import Instance
from currant.workflow_threads import WorkflowThreads


class Instances:
    """Parked runs by their execution, at most `largest` of them; the oldest go first.

    Args:
        keeps: whether a run is to stay at all.
        threads: where what goes is closed.
    """

    def __init__(
        self, largest: int, keeps: Callable[[Instance], bool], threads: WorkflowThreads
    ) -> None:
        self._largest = largest
        self._keeps = keeps
        self._threads = threads
        self._runs: OrderedDict[UUID, Instance] = OrderedDict()

    def __contains__(self, execution: UUID) -> bool:
        return execution in self._runs

    def __len__(self) -> int:
        return len(self._runs)

    def take(self, execution: UUID) -> Instance | None:
        """Out of here, to go on."""
        return self._runs.pop(execution, None)

    def park(self, instance: Instance) -> None:
        """It waits again: it stays, or is closed."""
        if not self._keeps(instance):
            self.close(instance)
            return
        self._runs[instance.run.id] = instance
        if len(self._runs) > self._largest:
            self.close(self._runs.popitem(last=False)[1])

    def close(self, instance: Instance) -> None:
        """It is of no more use."""
        self._threads.close(instance)
        self._threads.drain()

    def close_all(self) -> None:
        """None of them is."""
        while self._runs:
            self._threads.close(self._runs.popitem()[1])
