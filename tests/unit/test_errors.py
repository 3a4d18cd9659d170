"""Errors: one line for people, attributes for programs, text that any database can store."""

import copy
import pickle
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from currant import errors
from currant.errors import Cancelled, CurrantError, ExecutionFailed, Retry, TaskFailed


def test_the_text_of_an_error_holds_what_the_details_and_the_remedy() -> None:
    error = CurrantError("it broke", detail="the left half", hint="glue it")

    assert str(error) == "it broke: the left half (glue it)"


def test_a_detail_that_repeats_the_message_is_not_shown_twice() -> None:
    assert str(CurrantError("it broke", detail="it broke")) == "it broke"


@pytest.mark.parametrize(
    "error",
    [
        CurrantError("it broke", detail="left", hint="glue it"),
        errors.SettingsError("no"),
        errors.OptionError("no", hint="yes"),
        errors.DatabaseUnavailable("gone"),
        ExecutionFailed("ValueError", "bad", traceback="tb", attempts=3, function="f"),
        TaskFailed("ValueError"),
        Cancelled(reason="enough", execution_id="x"),
        Retry("later", delay=3),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("travel", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
def test_errors_survive_copying_and_pickling(error: CurrantError, travel: object) -> None:
    arrived = travel(error)  # type: ignore[operator]

    assert type(arrived) is type(error)
    assert str(arrived) == str(error)
    assert arrived.__dict__ == error.__dict__


def test_a_failure_names_function_id_attempts_and_the_remote_error() -> None:
    error = ExecutionFailed.from_json(
        {"type": "ValueError", "message": "bad card", "traceback": "…", "attempts": 9},
        attempts=3,
        execution_id="0197",
        function="charge",
    )

    assert str(error) == "charge 0197 failed after 3 attempts: ValueError: bad card"
    assert (error.type, error.reason, error.traceback, error.attempts) == (
        "ValueError",
        "bad card",
        "…",
        3,
    )


def test_a_task_failure_takes_its_attempts_from_the_event() -> None:
    error = TaskFailed.from_json({"type": "E", "message": "m", "attempts": 2, "status": "failed"})

    assert error.attempts == 2


@pytest.mark.parametrize("stored", [None, "text", 3, [], {}, {"message": None, "type": 3}])
def test_an_error_that_another_language_stored_oddly_is_still_shown(stored: object) -> None:
    error = ExecutionFailed.from_json(stored)

    assert str(error).startswith("execution failed: ")


def test_a_cancelled_outcome_tells_its_reason() -> None:
    error = Cancelled.from_json(
        {"type": "Cancelled", "message": "not needed"}, execution_id="0197", function="f"
    )

    assert str(error) == "f 0197 was cancelled: not needed"


@pytest.mark.parametrize("delay", [5, 5.0, timedelta(seconds=5)])
def test_retry_takes_seconds_or_a_timedelta(delay: float | timedelta) -> None:
    assert Retry(delay=delay).delay == timedelta(seconds=5)


@pytest.mark.parametrize("delay", [-1, float("nan"), float("inf"), timedelta(days=-1)])
def test_retry_refuses_delays_that_are_none(delay: float | timedelta) -> None:
    with pytest.raises(ValueError, match="delay has to be 0 or more"):
        Retry(delay=delay)


@pytest.mark.parametrize("delay", ["5", True, object()])
def test_retry_refuses_what_is_no_number(delay: object) -> None:
    with pytest.raises(TypeError, match="delay has to be seconds or a timedelta"):
        Retry(delay=delay)  # type: ignore[arg-type]


def test_describe_holds_type_message_and_traceback() -> None:
    try:
        raise ValueError("bad card")
    except ValueError as error:
        described = errors.describe(error)

    assert described["type"] == "ValueError"
    assert described["message"] == "bad card"
    assert "test_describe_holds" in described["traceback"]
    assert "retryable" not in described


def test_describe_marks_what_is_not_to_be_retried() -> None:
    assert errors.describe(ValueError(), retryable=False)["retryable"] is False
    assert "retryable" not in errors.describe(ValueError(), retryable=True)


def test_describe_of_a_remote_error_keeps_the_type_it_had_there() -> None:
    described = errors.describe(TaskFailed("CardDeclined", "no money", function="charge"))

    assert (described["type"], described["message"]) == ("CardDeclined", "no money")


def test_describe_survives_an_exception_that_cannot_be_shown() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    assert "Mute" in errors.describe(Mute())["message"]


@given(st.text(alphabet=st.characters(codec=None), max_size=300), st.integers(20, 100))
def test_storable_text_is_short_and_postgresql_takes_it(text: str, limit: int) -> None:
    stored = errors.storable(text, limit)

    stored.encode()
    assert "\x00" not in stored
    assert len(stored) <= limit + 50
