"""The generator of random programs; what they are for is in tests/properties/test_replay.py."""

import json

import pytest

from tests.workflow.performing import run_program
from tests.workflow.programs import from_seed, parts
from tests.workflow.support import Run

SEEDS = range(400)


def test_a_seed_always_gives_the_same_program() -> None:
    program = from_seed("a seed")

    assert program == from_seed("a seed")
    assert json.loads(json.dumps(program)) == program


def test_programs_use_everything_there_is() -> None:
    verbs = {part[0] for seed in SEEDS for part in parts(from_seed(seed))}

    assert {"task", "child", "launch", "continue", "gather", "group", "strings"} <= verbs
    assert len(verbs) == 43


def test_verbs_can_be_left_out() -> None:
    without = frozenset({"child", "launch", "continue"})

    verbs = {part[0] for seed in SEEDS for part in parts(from_seed(seed, without=without))}

    assert verbs.isdisjoint(without)


@pytest.mark.parametrize("seed", range(20))
def test_a_program_begins_in_an_ordinary_run(seed: int) -> None:
    run = Run(run_program, from_seed(seed))

    run.crash()

    assert len(run.history) == 1
