"""Histories of real runs are followed by the code that is there, on every Python version."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from currant import replaying
from currant.replaying import Outcome
from tests.replay import workflows
from tests.replay.environments import environment
from tests.support.debian import ROOT
from tests.support.pythons import pythons

FIXTURES = Path(__file__).parent / "fixtures"
FILES = sorted(FIXTURES.glob("*.json"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_recorded_histories_are_followed(file: Path) -> None:
    [document] = replaying.load(file)

    report = replaying.replay(document)

    assert report.ok, report.describe()
    assert report.events == report.recorded_events > 0
    assert report.notes == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_run_is_followed_as_far_as_it_has_come(file: Path) -> None:
    document: dict[str, Any] = json.loads(file.read_text())
    entries = document["entries"]
    first, last = entries[0]["event"], entries[-1]["event"]

    for reached in range(first, last):
        so_far = [entry for entry in entries if entry["event"] <= reached]
        report = replaying.replay({**document, "entries": so_far})

        assert report.ok, report.describe()
        assert report.events == reached - first + 1


def test_every_scenario_is_recorded() -> None:
    names = {scenario.__name__ for scenario in workflows.SCENARIOS}

    assert {file.stem for file in FILES} == names


@pytest.mark.timeout(300)
def test_every_python_version_of_this_machine_follows_them() -> None:
    others = [python for python in pythons() if python.executable != sys.executable]
    if not others:
        pytest.skip("there is no other version of Python")
    command = ["-m", "currant", "replay", "--json", "--app", workflows.__name__]
    for python in others:
        try:
            needed = environment(python)
        except subprocess.CalledProcessError as error:
            if os.environ.get("CI"):
                raise
            pytest.skip(f"no packages for Python {python.version}: {error.stderr[-200:]!r}")

        done = subprocess.run(
            [python.executable, *command, "--file", str(FIXTURES)],
            cwd=ROOT,
            env=needed,
            capture_output=True,
            text=True,
        )

        assert done.returncode == 0, done.stdout + done.stderr
        reports = json.loads(done.stdout)
        assert [report["outcome"] for report in reports] == [Outcome.OK] * len(FILES)
        assert {report["python"] for report in reports} == {python.version.rpartition(".")[0]}
