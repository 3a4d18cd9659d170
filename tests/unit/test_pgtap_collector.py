"""The collector must not take a broken pgTAP file for a passed one."""

import pytest

from tests.support.pgtap import check_tap

GOOD = "1..2\nok 1 - one\nok 2 - two\n"


def test_what_went_as_planned_passes() -> None:
    check_tap(GOOD, "", 0)


def test_a_failure_that_is_to_do_passes() -> None:
    check_tap("1..1\nnot ok 1 - one # TODO later\n", "", 0)


@pytest.mark.parametrize(
    ("output", "errors", "exit_code", "complaint"),
    [
        ("1..2\nok 1 - one\nnot ok 2 - two\n# have: 1\n", "", 0, "not ok 2 - two\n# have: 1"),
        ("1..3\nok 1 - one\nok 2 - two\n", "", 0, "planned 3 tests, ran 2"),
        ("1..1\nok 1 - one\nok 2 - two\n", "", 0, "planned 1 tests, ran 2"),
        ("ok 1 - one\n", "", 0, "no plan"),
        ("", "", 0, "no plan"),
        (GOOD, "ERROR: division by zero", 3, "psql ended with 3\nERROR: division by zero"),
    ],
)
def test_whatever_else_happened_fails(
    output: str, errors: str, exit_code: int, complaint: str
) -> None:
    with pytest.raises(pytest.fail.Exception) as failure:
        check_tap(output, errors, exit_code)

    assert complaint in str(failure.value)


def test_a_file_that_skips_itself_is_skipped_with_its_reason() -> None:
    with pytest.raises(pytest.skip.Exception, match="no plpgsql_check here"):
        check_tap("1..0 # SKIP no plpgsql_check here\n", "", 0)
