import io
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import click
import pytest

from currant.cli import parameters

ID = "0190c000-0000-7000-8000-000000000000"


def refusal(read: Callable[[str], object], text: str) -> str:
    with pytest.raises(click.BadParameter) as caught:
        read(text)
    assert "\n" not in caught.value.message
    return caught.value.message


@pytest.mark.parametrize("text", [ID, ID.upper(), f" {ID} ", ID.replace("-", "")])
def test_an_id_is_a_uuid_in_any_spelling(text: str) -> None:
    assert parameters.execution_id(text) == UUID(ID)


@pytest.mark.parametrize("text", ["", "7", "0190c000", ID + "0"])
def test_what_is_no_id_is_refused_with_where_ids_come_from(text: str) -> None:
    assert "currant list" in refusal(parameters.execution_id, text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("1.5", 1.5),
        ("250ms", 0.25),
        ("10m", 600),
        ("2h30m", 9000),
        ("1d 2h", 93600),
        ("1W", 604800),
        ("0", 0),
    ],
)
def test_durations_are_seconds_or_have_units(text: str, seconds: float) -> None:
    assert parameters.duration(text) == seconds


@pytest.mark.parametrize("text", ["", "x", "-5", "5x", "m", "1e3", "٣", "nan", "inf", "9" * 400])
def test_what_is_no_duration_is_refused(text: str) -> None:
    refusal(parameters.duration, text)


def test_a_time_without_offset_is_local() -> None:
    local = parameters.moment("2026-01-31T12:00")

    assert local.tzinfo is not None
    assert local.replace(tzinfo=None) == datetime(2026, 1, 31, 12)  # noqa: DTZ001
    assert parameters.moment("2026-01-31T12:00:00Z") == datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "tomorrow", "2026-13-01", "0001-01-01x"])
def test_what_is_no_time_is_refused(text: str) -> None:
    refusal(parameters.moment, text)
    refusal(parameters.past, text)


def test_the_past_may_be_so_long_ago() -> None:
    before = datetime.now(UTC)

    moment = parameters.past("2h")

    assert before <= moment + timedelta(hours=2) <= datetime.now(UTC)
    assert parameters.past("2026-01-31T12:00Z") == datetime(2026, 1, 31, 12, tzinfo=UTC)


def test_json_is_checked_and_kept_as_it_was_written() -> None:
    text = '{"amount": 1.10000000000000000000001}'

    assert parameters.json_arguments(text) == text
    assert parameters.json_value("null") == "null"
    assert parameters.json_object('{"a": 1}') == {"a": 1}


def test_a_dash_reads_json_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("[1, 2]\n"))

    assert parameters.json_arguments("-").strip() == "[1, 2]"


@pytest.mark.parametrize("text", ["", "{a: 1}", "{'a': 1}", "NaN", '{"a": 1', "hello", "[1] 2"])
def test_what_is_no_json_is_refused_with_an_example(text: str) -> None:
    assert '{"name": "value"}' in refusal(parameters.json_value, text)


@pytest.mark.parametrize("text", ['"a"', "1", "null", "true"])
def test_arguments_are_an_object_or_an_array(text: str) -> None:
    assert "object" in refusal(parameters.json_arguments, text)


@pytest.mark.parametrize("text", ['["\\u0000"]', '["\\\\\\u0000"]'])
def test_the_character_postgres_cannot_store_is_refused(text: str) -> None:
    assert "u0000" in refusal(parameters.json_value, text)


def test_an_escaped_backslash_before_u0000_is_no_such_character() -> None:
    assert parameters.json_value('"\\\\u0000"') == '"\\\\u0000"'


def test_bytes_that_are_no_utf_8_are_refused() -> None:
    assert "UTF-8" in refusal(parameters.json_value, '"\udce4"')


def test_a_long_value_is_shortened_in_the_message() -> None:
    assert len(refusal(parameters.json_value, "x" * 10_000)) < 200
