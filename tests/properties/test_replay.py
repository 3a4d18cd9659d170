"""Random workflows under random events, crashes and changes of workers.

Whatever happens, a replay does what the run did, and plain asyncio would have done the same.
"""

import logging
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.properties.extent import FIRST_SEED, PROGRAMS, SECONDS
from tests.properties.replay_checks import check, check_plain
from tests.properties.replay_model import play
from tests.workflow.programs import Maker, chooser, from_seed

# What the programs do at random is logged in vain.
pytestmark = pytest.mark.usefixtures("quiet")

IS_OLD = sys.version_info < (3, 13)
AT_ONCE = 200


@pytest.fixture(scope="module")
def quiet() -> Iterator[None]:
    logger = logging.getLogger("currant")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(level)


@pytest.mark.timeout(SECONDS)
@pytest.mark.parametrize("begin", range(FIRST_SEED, FIRST_SEED + PROGRAMS, AT_ONCE))
def test_programs_of_seeds_replay_and_do_what_asyncio_does(begin: int) -> None:
    for seed in range(begin, begin + AT_ONCE):
        program = from_seed(f"program {seed}", size=6 + seed % 30)

        model = play(program, chooser(f"schedule {seed}"))

        try:
            check(model, chooser(f"check {seed}"))
        except BaseException as error:
            error.add_note(f"seed {seed}: {program}")
            raise


@pytest.mark.timeout(SECONDS)
@given(data=st.data())
def test_no_choices_make_a_replay_differ(data: st.DataObject) -> None:
    def choose(below: int) -> int:
        return data.draw(st.integers(0, below - 1))

    program = Maker(choose, size=8).make()

    model = play(program, choose)

    check(model, choose)


def test_a_calm_run_is_what_plain_asyncio_gives() -> None:
    compared = 0
    for seed in range(FIRST_SEED, FIRST_SEED + 100):
        model = play(from_seed(f"calm {seed}", 12), chooser(f"calm {seed}"), is_calm=True)

        runs = [run for execution in model.executions.values() for run in execution.runs]
        compared += sum(map(check_plain, runs)) == len(runs)

    assert compared > 80


def test_nothing_but_sets_of_tasks_is_left_to_their_addresses() -> None:
    without = frozenset({"wait", "group", "first", "queued", "each", "futures"})
    for seed in range(FIRST_SEED, FIRST_SEED + 100):
        program = from_seed(f"address {seed}", 12, without=without)

        model = play(program, chooser(f"address {seed}"))

        for run in (run for execution in model.executions.values() for run in execution.runs):
            assert check_plain(run, salt=7919 * seed) or IS_OLD
