from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.workflow.support import Run, Workflow

Start = Callable[..., Run]


@pytest.fixture(params=[False, True], ids=["cached", "replayed"])
def start(request: pytest.FixtureRequest) -> Iterator[Start]:
    """Starts a run; every test happens with the instance kept, and with a replay at every event.

    Afterwards each run's history is replayed once more as a whole.
    """
    runs: list[Run] = []

    def begin(workflow: Workflow, *args: Any) -> Run:
        run = Run(workflow, *args, replay_always=request.param)
        runs.append(run)
        return run

    yield begin
    for run in runs:
        run.crash()
        run.instance.close()
