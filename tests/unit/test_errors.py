"""Errors: one line for people, attributes for programs, and everything that led to them."""

import copy
import pickle
import traceback
from datetime import timedelta

import pytest

from currant import errors
from currant.errors import (
    Cancelled,
    ChildFailed,
    ContinueAsNew,
    CurrantError,
    ExecutionFailed,
    RemoteError,
    Retry,
    TaskFailed,
)


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
        ChildFailed("ValueError", "bad", status="cancelled", execution_id="x"),
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


@pytest.mark.parametrize(
    "stored",
    [
        None,
        "text",
        3,
        [],
        {},
        {"message": None, "type": 3},
        {"cause": "x"},
        {"cause": {"raised": [], "function": 3, "attempts": "many", "cause": 1}},
    ],
)
def test_an_error_that_another_language_stored_oddly_is_still_shown(stored: object) -> None:
    error = ExecutionFailed.from_json(stored)

    assert str(error).startswith("execution failed: ")


def test_a_cancelled_outcome_tells_its_reason() -> None:
    error = Cancelled.from_json(
        {"type": "Cancelled", "message": "not needed"}, execution_id="0197", function="f"
    )

    assert str(error) == "f 0197 was cancelled: not needed"


@pytest.mark.parametrize("kind", [TaskFailed, ChildFailed])
def test_what_was_cancelled_elsewhere_says_so(kind: type[RemoteError]) -> None:
    error = kind.from_json(
        {"type": "Cancelled", "message": "by hand", "status": "cancelled", "attempts": 2},
        function="charge",
    )

    assert str(error) == "charge was cancelled: by hand"
    assert error.status == "cancelled"


def test_a_printed_failure_shows_where_it_was_raised() -> None:
    error = ExecutionFailed("E", "m", traceback="Traceback …\n  line 7\n")

    printed = traceback.format_exception(error)

    assert "".join(printed).endswith("E: m\nRemote traceback:\nTraceback …\n  line 7\n")


def test_a_failure_has_its_causes_and_they_are_printed_before_it() -> None:
    stored = {
        "type": "E",
        "message": "m",
        "cause": {
            "raised": "ChildFailed",
            "function": "child",
            "execution_id": "0198",
            "type": "E",
            "message": "m",
            "traceback": "tb of child",
            "cause": {"raised": "Unheard", "type": "E", "message": "root", "attempts": 4},
        },
    }
    error = ExecutionFailed.from_json(stored, function="parent")

    child = error.cause
    assert isinstance(child, ChildFailed)
    assert (child.function, child.execution_id, child.reason) == ("child", "0198", "m")
    assert type(child.cause) is RemoteError
    assert (child.cause.attempts, child.cause.cause) == (4, None)
    printed = "".join(traceback.format_exception(error))
    assert printed.index("root") < printed.index("tb of child") < printed.index("parent failed")


@pytest.mark.parametrize("travel", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
def test_causes_travel_along(travel: object) -> None:
    error = ExecutionFailed("E", cause=ChildFailed("E", cause=TaskFailed("E", traceback="tb")))

    arrived = travel(error)  # type: ignore[operator]

    assert "".join(traceback.format_exception(arrived)) == "".join(
        traceback.format_exception(error)
    )
    assert arrived.cause is arrived.__cause__
    assert isinstance(arrived.cause.cause, TaskFailed)


def test_a_chain_without_end_is_cut() -> None:
    stored: dict[str, object] = {"type": "E"}
    for _ in range(10_000):
        stored = {"type": "E", "cause": stored}

    error: RemoteError | None = ExecutionFailed.from_json(stored)

    length = 0
    while error is not None:
        error, length = error.cause, length + 1
    assert length < 100


def test_continue_as_new_is_none_of_the_errors() -> None:
    assert not issubclass(ContinueAsNew, Exception)
    assert pickle.loads(pickle.dumps(ContinueAsNew("{}"))).arguments == "{}"


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
