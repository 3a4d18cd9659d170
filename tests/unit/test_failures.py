"""How exceptions are written down: each part once, and in a form that any database can store."""

from __future__ import annotations

import asyncio
import json
import traceback
from functools import partial
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from currant import failures, side_effect, task, workflow
from currant.errors import ChildFailed, ExecutionFailed, RemoteError, TaskFailed


def test_describe_holds_type_message_and_traceback() -> None:
    try:
        raise ValueError("bad card")
    except ValueError as error:
        described = failures.describe(error)

    assert described["type"] == "ValueError"
    assert described["message"] == "bad card"
    assert "test_describe_holds" in described["traceback"]
    assert "retryable" not in described


def test_describe_marks_what_is_not_to_be_retried() -> None:
    assert failures.describe(ValueError(), retryable=False)["retryable"] is False
    assert "retryable" not in failures.describe(ValueError(), retryable=True)


def test_describe_of_a_remote_error_keeps_the_type_it_had_there() -> None:
    described = failures.describe(TaskFailed("CardDeclined", "no money", function="charge"))

    assert (described["type"], described["message"]) == ("CardDeclined", "no money")


def test_describe_survives_an_exception_that_cannot_be_shown() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    assert "Mute" in failures.describe(Mute())["message"]


@given(st.text(alphabet=st.characters(codec=None), max_size=300), st.integers(20, 100))
def test_storable_text_is_short_and_postgresql_takes_it(text: str, limit: int) -> None:
    stored = failures.storable(text, limit)

    stored.encode()
    assert "\x00" not in stored
    assert len(stored) <= limit + 50


# --- Chains: what a client sees of a task's failure in a child of a workflow


class Declined(Exception): ...


class OrderFailed(Exception): ...


def charge() -> None:
    raise Declined("no cover")


def written(error: BaseException) -> Any:
    """As another process reads it."""
    return json.loads(json.dumps(failures.describe(error, retryable=False)))


def escaped(raises: Any) -> Exception:
    try:
        raises()
    except Exception as error:
        return error
    raise AssertionError


def failed_task() -> TaskFailed:
    stored = {**written(escaped(charge)), "attempts": 2}
    return TaskFailed.from_json(stored, function="charge", execution_id="id-of-charge")


def seen_by_client(of_child: Exception) -> ExecutionFailed:
    child = ChildFailed.from_json(written(of_child), function="pay", execution_id="id-of-pay")

    def shop() -> None:
        raise child

    return ExecutionFailed.from_json(
        written(escaped(shop)), function="shop", execution_id="id-of-shop"
    )


def chain(error: RemoteError | None) -> list[str]:
    found = []
    while error is not None:
        found.append(f"{type(error).__name__} {error.function} {error.type} {error.reason}")
        error = error.cause
    return found


def test_an_error_that_nobody_caught_is_followed_to_where_it_began() -> None:
    task = failed_task()

    def pay() -> None:
        raise task

    error = seen_by_client(escaped(pay))

    assert chain(error) == [
        "ExecutionFailed shop Declined no cover",
        "ChildFailed pay Declined no cover",
        "TaskFailed charge Declined no cover",
    ]
    printed = "".join(traceback.format_exception(error))
    for once in ('raise Declined("no cover")', "in charge", "in pay", "in shop", "id-of-pay"):
        assert printed.count(once) == 1, printed
    assert printed.count("after 2 attempts") == 1


@pytest.mark.parametrize("is_explicit", [True, False])
def test_an_error_of_ones_own_keeps_the_one_that_led_to_it(is_explicit: bool) -> None:
    def pay() -> None:
        try:
            raise failed_task()
        except TaskFailed as error:
            if is_explicit:
                raise OrderFailed("o7") from error
            raise OrderFailed("o7")  # noqa: B904

    error = seen_by_client(escaped(pay))

    assert chain(error) == [
        "ExecutionFailed shop OrderFailed o7",
        "ChildFailed pay OrderFailed o7",
        "TaskFailed charge Declined no cover",
    ]
    printed = "".join(traceback.format_exception(error))
    assert printed.count('raise Declined("no cover")') == 1
    assert printed.count("in charge") == 1
    assert printed.count("OrderFailed: o7\n") == 3, "two headers and the end of one traceback"


def test_what_an_author_hides_stays_hidden() -> None:
    def pay() -> None:
        try:
            raise failed_task()
        except TaskFailed:
            raise OrderFailed("o7") from None

    assert chain(seen_by_client(escaped(pay)))[1:] == ["ChildFailed pay OrderFailed o7"]


def test_ordinary_causes_are_a_part_of_the_traceback() -> None:
    def pay() -> None:
        try:
            charge()
        except Declined as error:
            raise OrderFailed("o7") from error

    described = failures.describe(escaped(pay))

    assert "cause" not in described
    assert "direct cause" in described["traceback"]
    assert 'raise Declined("no cover")' in described["traceback"]


def test_what_came_before_is_a_part_of_the_traceback() -> None:
    def pay() -> None:
        try:
            charge()
        except Declined:
            raise OrderFailed("o7")  # noqa: B904

    shown = failures.describe(escaped(pay))["traceback"]

    assert "During handling" in shown
    assert 'raise Declined("no cover")' in shown


def test_a_remote_error_below_ordinary_ones_is_found() -> None:
    def pay() -> None:
        try:
            try:
                raise failed_task()
            except TaskFailed as error:
                raise ValueError("between") from error
        except ValueError as error:
            raise OrderFailed("o7") from error

    described = failures.describe(escaped(pay))

    assert described["cause"]["function"] == "charge"
    assert "ValueError: between" in described["traceback"]
    assert "charge" not in described["traceback"].replace("failed_task", "")


def test_a_group_shows_all_that_is_in_it() -> None:
    other = TaskFailed("Lost", "gone", traceback="where it was lost")
    group = ExceptionGroup("three", [ValueError("mine"), failed_task(), other])

    described = failures.describe(group)

    assert "ValueError: mine" in described["traceback"]
    assert "TaskFailed: charge id-of-charge failed" in described["traceback"]
    assert described["traceback"].count("where it was lost") == 1
    assert 'raise Declined("no cover")' in described["cause"]["traceback"]
    assert 'raise Declined("no cover")' not in described["traceback"]


@pytest.mark.parametrize("is_nested", [True, False])
def test_the_first_remote_error_in_a_group_is_followed_to_where_it_began(is_nested: bool) -> None:
    def pay() -> None:
        try:
            raise failed_task()
        except TaskFailed as error:
            raise OrderFailed("o7") from error

    def shop() -> None:
        group = ExceptionGroup("two", [ValueError("mine"), escaped(pay), TaskFailed("Later")])
        raise ExceptionGroup("one", [group]) if is_nested else group

    error = seen_by_client(escaped(shop))

    assert chain(error)[2:] == ["TaskFailed charge Declined no cover"]
    assert error.type == "ExceptionGroup"


def test_a_chain_is_described_however_long_and_however_large_it_is() -> None:
    error = TaskFailed("Root", "r" * 100_000, traceback="\ud800\x00" * 100_000)
    for level in range(100):
        error = TaskFailed("E" * 10_000, traceback="t" * 100_000, cause=error, function=f"f{level}")

    text = json.dumps(failures.describe(error), ensure_ascii=False)

    assert len(text.encode()) < 500_000
    assert "Root" in text
    assert "\\u0000" not in text
    assert "f99" in text


def test_two_errors_that_led_to_each_other_are_described() -> None:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one

    assert failures.describe(one)["type"] == "ValueError"


def test_describing_twice_gives_the_same() -> None:
    error = seen_by_client(failed_task())

    assert failures.describe(error) == failures.describe(error)
    assert ExecutionFailed.from_json(written(error)).reason == "no cover"


# --- Whose frames are shown


def test_a_traceback_shows_the_code_of_its_author_alone() -> None:
    @task(name="failures.mail")
    async def mail(to: str) -> None: ...

    def author() -> None:
        mail.bind(object())  # type: ignore[arg-type]

    shown = failures.describe(escaped(author))["traceback"]

    assert "in author" in shown
    assert "mail.bind(object())" in shown
    assert "codec.py" not in shown
    assert shown.endswith("currant.errors.EncodingError: " + str(escaped(author)) + "\n")


def test_frames_above_and_between_the_authors_are_left_out_in_all_parts() -> None:
    def broken() -> None:
        try:
            raise KeyError("first")
        except KeyError as error:
            raise ValueError("second") from error

    @workflow(name="failures.flow")
    async def flow() -> None:
        side_effect(broken)

    error = escaped(lambda: asyncio.run(flow()))  # type: ignore[arg-type]
    cause = failures.describe(error)["cause"]

    assert cause["traceback"].count("in broken") == 2
    assert "effects.py" not in cause["traceback"]


def test_a_mistake_in_currant_itself_is_shown_to_its_frame() -> None:
    def author() -> None:
        failures.in_short(None)  # type: ignore[arg-type]

    shown = failures.describe(escaped(author))["traceback"]

    assert "in author" in shown
    assert "in in_short" in shown


def test_where_no_frame_would_be_left_all_are_shown() -> None:
    @task(name="failures.mail")
    async def mail(to: str) -> None: ...

    error = escaped(partial(mail.decode_call, '{"to": 3}'))
    error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next

    assert "in decode_call" in failures.describe(error)["traceback"]


# --- Whatever an exception is made of


def test_errors_that_led_to_each_other_in_two_ways_are_described() -> None:
    def clean_up_and_tell() -> None:
        try:
            try:
                raise failed_task()
            except TaskFailed:
                raise ValueError("in between")  # noqa: B904
        except ValueError:
            try:
                raise KeyError("of the clean-up")
            except KeyError as error:
                found = error
            raise OrderFailed("o7") from found

    described = failures.describe(escaped(clean_up_and_tell))

    assert (described["type"], described["message"]) == ("OrderFailed", "o7")
    assert described["cause"]["function"] == "charge"
    for once in ("ValueError: in between", "KeyError: 'of the clean-up'", "OrderFailed: o7"):
        assert described["traceback"].count(once) == 1, described["traceback"]
    assert "Declined" not in described["traceback"]


def test_a_group_of_errors_that_led_to_each_other_is_described() -> None:
    def clean_up_and_tell() -> None:
        try:
            try:
                raise failed_task()
            except TaskFailed:
                raise ValueError("first")  # noqa: B904
        except ValueError as first:
            try:
                raise KeyError("second")
            except KeyError as second:
                raise ExceptionGroup("both", [first, second])  # noqa: B904

    described = failures.describe(escaped(clean_up_and_tell))

    assert described["message"] == "both (2 sub-exceptions): ValueError: first; KeyError: 'second'"
    assert described["cause"]["function"] == "charge"
    assert "Declined" not in described["traceback"]


def deep_group() -> BaseException:
    error: Exception = ValueError("at the bottom")
    for _ in range(5000):
        error = ExceptionGroup("g", [error])
    return error


def long_chain() -> BaseException:
    error: BaseException = ValueError("first")
    for number in range(5000):
        following = ValueError(number)
        following.__context__ = error
        error = following
    return error


class OddText(str):
    def replace(self, *args: Any) -> str:
        raise ValueError

    def __len__(self) -> int:
        raise ValueError


class Exits(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


class Odd(Exception):
    def __str__(self) -> str:
        return OddText("odd")


class Closed(ExceptionGroup[Exception]):
    @property
    def exceptions(self) -> Any:
        raise ValueError


class Rootless(Exception):
    @property
    def __cause__(self) -> Any:  # type: ignore[override]
        raise ValueError


@pytest.mark.parametrize(
    ("error", "name", "message"),
    [
        (deep_group(), "ExceptionGroup", "ValueError: at the bottom"),
        (long_chain(), "ValueError", "4999"),
        (Exits(), "Exits", "<Exits whose text cannot be read>"),
        (Odd(), "Odd", "odd"),
        (Closed("m", [ValueError()]), "Closed", ""),
        (Rootless("r"), "Rootless", "r"),
        (TaskFailed("\ud800", "r"), "?", "r"),
        (type("\u00e4" * 5000, (Exception,), {})("m"), "\u00e4", "m"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_any_exception_is_described_and_can_be_stored(
    error: BaseException, name: str, message: str
) -> None:
    described = failures.describe(error)

    stored = msgspec.json.decode(msgspec.json.encode(described))
    assert stored["type"].startswith(name)
    assert message in stored["message"]
    assert len(stored["type"]) < 1000
    assert isinstance(stored["traceback"], str)


def test_whoever_interrupts_is_not_kept_waiting_by_an_exception() -> None:
    class Slow(Exception):
        def __str__(self) -> str:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        failures.describe(Slow())
