"""Histories recorded by earlier versions are followed for ever, whatever Python runs them.

A file holds programs (see programs.py) with the events and commands of a run of each. It is never
changed; a later version of the engine adds a file of its own.
"""

import json
import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from currant.workflow.history import Command, Event, Step
from tests.workflow.performing import run_program
from tests.workflow.support import new_instance

FILES = sorted((Path(__file__).parent / "histories").glob("*.json"))


def read_steps(steps: list[dict[str, Any]]) -> list[Step]:
    found = []
    for step in steps:
        number, kind, at, *rest = step["event"]
        event = Event(number, kind, datetime.fromisoformat(at), *rest)
        found.append(Step(event, [Command(*command) for command in step["commands"]]))
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_recorded_histories_are_followed(file: Path) -> None:
    for recorded in json.loads(file.read_text()):
        instance = new_instance(run_program, recorded["program"])
        instance.replay(read_steps(recorded["steps"]))

        assert instance.finished
        instance.close()


# Prints every command that the recorded events cause when they are new.
LIVE = """
import json, sys
from tests.workflow.test_histories import FILES, read_steps, run_program, new_instance
for recorded in json.loads(FILES[0].read_text()):
    instance = new_instance(run_program, recorded["program"])
    for event, _ in read_steps(recorded["steps"]):
        print([(c.kind, c.number, c.name, c.payload) for c in instance.apply(event)])
    instance.close()
"""


def test_hash_seed_of_the_process_does_not_matter() -> None:
    root = Path(__file__).parents[2]
    printed = {
        subprocess.run(
            [sys.executable, "-c", LIVE],
            cwd=root,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(root)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("0", "1", "12345")
    }

    assert len(printed) == 1
    assert len(printed.pop()) > 1000
