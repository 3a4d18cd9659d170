from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.workflow import support
from tests.workflow.support import Run, Workflow

Start = Callable[..., Run]


@pytest.fixture(autouse=True)
def close_runs() -> Iterator[None]:
    """Closes whatever runs the test has started."""
    yield
    while support.started:
        support.started.pop().instance.close()


@pytest.fixture(params=[False, True], ids=["cached", "replayed"])
def start(request: pytest.FixtureRequest) -> Iterator[Start]:
    """Starts a run; every test happens with the instance kept, and with a replay at every event.

    Afterwards each run's history is replayed once more, cut at every event.
    """
    runs: list[Run] = []

    def begin(workflow: Workflow, *args: Any, **how: Any) -> Run:
        run = Run(workflow, *args, replay_always=request.param, **how)
        runs.append(run)
        return run

    yield begin
    for run in runs:
        run.crash()
        run.crash_everywhere()
