"""One version of Python goes on with what another has begun, whatever the hash seeds."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.properties import replay_recording
from tests.properties.extent import FIRST_SEED, PROGRAMS_PER_VERSION, SECONDS
from tests.properties.replay_recording import essence, has_texts_in_sets, replay
from tests.support.pythons import Python, pythons
from tests.workflow.programs import from_seed

pytestmark = pytest.mark.timeout(SECONDS)

SCRIPT = Path(replay_recording.__file__)
SIZE = 14
# One file for each version of the engine's rules, never changed, as in tests/workflow/histories.
RECORDINGS = sorted((Path(__file__).parent / "recordings").glob("*.jsonl"))


def usable() -> list[Python]:
    """Those that can run workflow code."""
    return [python for python in pythons() if python.path is not None]


def record(seeds: list[int], hash_seeds: dict[str, int]) -> dict[str, list[Any]]:
    """What each version makes of the programs."""
    running = {
        python.version: python.start(SCRIPT, "record", hash_seed=hash_seeds[python.version])
        for python in usable()
    }
    order = [json.dumps({"seeds": seeds, "size": SIZE, "is_checked": True})]
    return {
        version: [json.loads(line) for line in _output(process, order).splitlines()]
        for version, process in running.items()
    }


def _output(process: subprocess.Popen[str], lines: list[str]) -> str:
    output, errors = process.communicate("\n".join(lines))
    assert process.returncode == 0, errors
    assert not errors
    return output


@pytest.fixture(scope="module")
def recorded() -> dict[str, list[Any]]:
    """The same programs on every version, with other hash seeds."""
    hash_seeds = {python.version: 11 * n for n, python in enumerate(usable())}
    return record(list(range(FIRST_SEED, FIRST_SEED + PROGRAMS_PER_VERSION)), hash_seeds)


def differing(recorded: dict[str, list[Any]], *, with_texts: bool) -> list[str]:
    first, *others = recorded
    found = []
    for version in others:
        for one, other in zip(recorded[first], recorded[version], strict=True):
            is_compared = with_texts or not has_texts_in_sets(one)
            if is_compared and essence(one) != essence(other):
                found.append(f"seed {one['seed']} on {first} and {version}: {one['program']}")
    return found


def test_every_version_does_the_same(recorded: dict[str, list[Any]]) -> None:
    assert differing(recorded, with_texts=False) == []


def test_sets_of_texts_are_the_same_with_the_same_hash_seed() -> None:
    seeds = [
        seed
        for seed in range(FIRST_SEED, FIRST_SEED + 2 * PROGRAMS_PER_VERSION)
        if has_texts_in_sets({"program": from_seed(f"program {seed}", SIZE)})
    ]

    recorded = record(seeds, {python.version: 7 for python in usable()})

    assert differing(recorded, with_texts=True) == []


@pytest.mark.parametrize("file", RECORDINGS, ids=lambda file: file.stem)
def test_recordings_of_earlier_versions_are_followed(file: Path) -> None:
    for line in file.read_text().splitlines():
        replay(json.loads(line))


def test_every_version_follows_what_the_others_recorded(recorded: dict[str, list[Any]]) -> None:
    lines = [
        json.dumps(recording)
        for recordings in recorded.values()
        for recording in recordings
        if not has_texts_in_sets(recording)
    ]
    lines += [line for file in RECORDINGS for line in file.read_text().splitlines()]
    running = {
        python.version: python.start(SCRIPT, "replay", hash_seed=12345) for python in usable()
    }

    complaints = {version: _output(process, lines) for version, process in running.items()}

    assert not any(complaints.values()), complaints


@pytest.mark.parametrize("minor", ["3.11", "3.12", "3.13"])
def test_every_supported_version_is_there(minor: str) -> None:
    found = [python for python in pythons() if python.version.startswith(f"{minor}.")]
    if not found:
        pytest.skip(f"no Python {minor} on this machine")
    if all(python.path is None for python in found):
        pytest.skip(f"msgspec for Python {minor} cannot be downloaded")
