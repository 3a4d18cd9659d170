"""Runs programs by their seeds, and replays what others have recorded; for other Pythons to run.

    echo '{"seeds": [1, 2, 3], "size": 10}' | python replay_recording.py record > recorded.jsonl
    python replay_recording.py replay < recorded.jsonl

Needs nothing of the project's requirements but msgspec. A line is a program's whole history.
With `"is_checked": true` everything else is checked as well, see `replay_checks`.
"""

import json
import logging
import sys
import warnings
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import UUID

if __name__ == "__main__":
    root = Path(__file__).resolve().parents[2]
    sys.path.insert(0, str(root))
    # The package itself would import the database driver.
    package = ModuleType("currant")
    package.__path__ = [str(root / "currant")]
    sys.modules["currant"] = package

from currant.workflow.history import Carried, Command, Event, RunInfo, Step
from tests.properties.replay_checks import check
from tests.properties.replay_model import START, Model, play
from tests.properties.replay_records import Run
from tests.workflow.performing import FUNCTION
from tests.workflow.programs import chooser, from_seed, parts


def recordings(seeds: Iterable[int], size: int, is_checked: bool = False) -> Iterator[Any]:
    """The history of the programs of some seeds, as JSON."""
    for seed in seeds:
        program = from_seed(f"program {seed}", size)
        model = play(program, chooser(f"schedule {seed}"))
        if is_checked:
            check(model, chooser(f"check {seed}"))
        yield {"seed": seed, "program": program, "runs": _runs(model)}


def replay(recording: Any) -> None:
    """Follow what is recorded, strictly."""
    for recorded in recording["runs"]:
        carried = recorded["carried"] and Carried(*recorded["carried"])
        parent = recorded["parent"]
        info = RunInfo(
            UUID(recorded["id"]),
            FUNCTION,
            parent_id=parent and UUID(parent),
            created_at=START,
            first_event=recorded["first_event"],
        )
        run = Run(info, recorded["program"], carried)
        for event, commands in recorded["steps"]:
            number, kind, at, command, name, payload, source = event
            run.steps.append(
                Step(
                    Event(
                        number,
                        kind,
                        datetime.fromisoformat(at),
                        command,
                        name,
                        payload,
                        source and UUID(source),
                    ),
                    [Command(*command) for command in commands],
                )
            )
        instance = run.new_instance(strict=True)
        instance.replay(run.steps)
        instance.close()


def essence(recording: Any) -> str:
    """What of a recording has to be the same everywhere: without the version, lines, tracebacks."""
    steps = [
        [
            [*event[:5], None if event[1] == "started" else _plain(event[5])],
            [[*command[:4], _plain(command[4])] for command in commands],
        ]
        for run in recording["runs"]
        for event, commands in run["steps"]
    ]
    return json.dumps(steps)


def has_texts_in_sets(recording: Any) -> bool:
    """Whether the order of things depends on the hashes of texts, hence on the hash seed."""
    return any(part[0] == "strings" for part in parts(recording["program"]))


def _runs(model: Model) -> list[Any]:
    return [
        {
            "id": str(run.info.id),
            "parent": run.info.parent_id and str(run.info.parent_id),
            "first_event": run.info.first_event,
            "program": run.program,
            "carried": run.carried,
            "steps": [
                [
                    [
                        *(
                            part if index != 2 else part.isoformat()
                            for index, part in enumerate(step.event[:6])
                        ),
                        step.event.execution and str(step.event.execution),
                    ],
                    step.commands,
                ]
                for step in run.steps
            ],
        }
        for execution in model.executions.values()
        for run in execution.runs
    ]


def _plain(payload: str | None) -> Any:
    return _without_tracebacks(json.loads(payload or "null"))


def _without_tracebacks(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_tracebacks(v) for k, v in value.items() if k != "traceback"}
    return value


def main(verb: str) -> None:
    """Record to the standard output, or replay from the standard input."""
    warnings.simplefilter("error")
    logging.getLogger("currant").setLevel(logging.CRITICAL)
    if verb == "record":
        for recording in recordings(**json.load(sys.stdin)):
            print(json.dumps(recording))
    else:
        for line in sys.stdin:
            recording = json.loads(line)
            try:
                replay(recording)
            except Exception as error:
                print(f"seed {recording['seed']}: {error}")


if __name__ == "__main__":
    main(*sys.argv[1:])
