"""How calls are written, how errors are translated, which failures may pass by themselves."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import RFC_4122, UUID

import msgspec
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from currant import database, errors, models
from currant.database import sessions, values
from currant.settings import Settings

ID = UUID("0197e0a0-0000-7000-8000-000000000001")


def refusal(sqlstate: str | None, kind: type[psycopg.Error] = psycopg.Error) -> psycopg.Error:
    class Refusal(kind):  # type: ignore[misc, valid-type]
        pass

    Refusal.sqlstate = sqlstate
    return Refusal("it is so\n\tand not otherwise")


@pytest.mark.parametrize(
    ("sqlstate", "kind"),
    [
        ("KR001", errors.UnknownFunction),
        ("KR002", errors.UnknownWorker),
        ("KR003", errors.AlreadyEnded),
        ("KR004", errors.ExecutionNotFound),
        ("KR005", errors.PayloadTooLarge),
        ("KR006", errors.NotEnded),
        ("KR007", errors.NoResult),
        ("KR008", errors.IsolationRefused),
        ("22023", errors.InvalidArgument),
        ("22004", errors.InvalidArgument),
        ("3F000", errors.SchemaMissing),
        ("42883", errors.SchemaMissing),
        ("42501", errors.DatabaseError),
        ("23505", errors.DatabaseError),
        (None, errors.DatabaseError),
    ],
)
def test_errors_are_translated_by_sqlstate(
    sqlstate: str | None, kind: type[errors.CurrantError]
) -> None:
    translated = database.translate(refusal(sqlstate))

    assert type(translated) is kind
    assert isinstance(translated, errors.DatabaseError)
    assert translated.sqlstate == sqlstate
    assert "\n" not in str(translated)


@pytest.mark.parametrize("sqlstate", [None, "08006", "57P01", "57P03", "53300", "25006"])
def test_a_lost_connection_is_told_from_a_refusal(sqlstate: str | None) -> None:
    error = refusal(sqlstate, psycopg.OperationalError)

    assert database.is_connection_lost(error)
    assert database.is_transient(error)
    assert isinstance(database.translate(error), errors.DatabaseUnavailable)
    assert "it is so; and not otherwise" in str(database.translate(error))


def test_a_closed_connection_counts_as_lost() -> None:
    assert database.is_connection_lost(psycopg.InterfaceError("closed"))


@pytest.mark.parametrize("sqlstate", ["40001", "40P01"])
def test_a_conflict_may_pass_but_is_no_lost_connection(sqlstate: str) -> None:
    error = refusal(sqlstate, psycopg.OperationalError)

    assert database.is_transient(error)
    assert not database.is_connection_lost(error)


@pytest.mark.parametrize("error", [ValueError(), refusal("22023"), refusal("57014")])
def test_a_refusal_does_not_pass(error: BaseException) -> None:
    assert not database.is_transient(error)


@pytest.mark.parametrize("url", ["postgresql://x?colour=red", "not a url", "postgresql://[x"])
def test_a_url_that_cannot_be_read_is_refused(url: str) -> None:
    with pytest.raises(errors.SettingsError, match="the database URL cannot be read"):
        database.check_url(url)


def test_a_url_keeps_what_it_says_itself() -> None:
    url = (
        "postgresql://u@h/d?connect_timeout=3&application_name=mine"
        "&options=-c%20statement_timeout%3D5s&target_session_attrs=read-write"
    )

    made = conninfo_to_dict(sessions._conninfo(url, "currant", Settings()))

    assert made["connect_timeout"] == 3 or made["connect_timeout"] == "3"
    assert made["application_name"] == "mine"
    assert made["target_session_attrs"] == "read-write"
    assert made["options"] == (
        r"-c statement_timeout=5s -c default_transaction_isolation=read\ committed"
    )


def test_through_a_transaction_pooler_no_options_are_sent() -> None:
    made = conninfo_to_dict(
        sessions._conninfo("postgresql://h/d", "currant", Settings(database_prepare=False))
    )

    assert "options" not in made


def parse_array(text: str) -> list[str | None]:
    """What PostgreSQL reads from an array literal of one dimension."""
    items: list[str | None] = []
    rest = text[1:-1]
    while rest:
        if not rest.startswith('"'):
            word, _, rest = rest.partition(",")
            assert word == "NULL"
            items.append(None)
            continue
        item, place = "", 1
        while rest[place] != '"':
            place += rest[place] == "\\"
            item += rest[place]
            place += 1
        items.append(item)
        rest = rest[place + 2 :]
    return items


@given(st.lists(st.none() | st.text()))
def test_texts_survive_the_array_literal(texts: list[str | None]) -> None:
    literal = values.text_array(texts)

    assert parse_array(literal) == texts


def test_many_arguments_and_ids_are_sent_as_arrays() -> None:
    call = database.enqueue_many("f", ['{"a":"x\\"y"}', "[]"], {"queue": "q"}, [ID.hex, ID.hex])

    assert call.params == (
        "f",
        '{"{\\"a\\":\\"x\\\\\\"y\\"}","[]"}',
        '{"queue":"q"}',
        "{" + f"{ID.hex},{ID.hex}" + "}",
    )


def test_an_activation_is_sent_as_one_json_object() -> None:
    activation = models.Activation(ID, 7, 3, (4, 5), '[{"event":4}]', '{"version":2}')

    call = database.advance_many(ID, [activation])

    [text] = parse_array(str(call.params[1]))
    assert msgspec.json.decode(text or "") == {
        "execution": ID.hex,
        "token": 7,
        "last_event": 3,
        "arrivals": [4, 5],
        "commands": [{"event": 4}],
        "options": {"version": 2},
    }


def test_durations_are_sent_to_the_microsecond() -> None:
    failure = models.Failure(ID, 1, "{}", timedelta(days=1, microseconds=3))

    call = database.fail_many(ID, [failure, models.Failure(ID, 2, "{}")])

    assert call.params[-1] == '{"86400.000003 seconds",NULL}'


@pytest.mark.parametrize("execution", ["", "x", "0197", None, 3])
def test_what_is_no_id_is_refused_before_anything_is_sent(execution: Any) -> None:
    with pytest.raises(errors.InvalidArgument, match="is not an id"):
        database.status(execution)


def test_a_list_asks_only_for_what_was_given() -> None:
    plain = database.list_executions()
    full = database.list_executions(
        queue="q",
        status="failed",
        function="f",
        since=datetime(2026, 1, 31, tzinfo=UTC),
        limit=3,
    )

    assert "where" not in plain.sql
    assert plain.params == (50,)
    assert full.sql.count(" and ") == 3
    assert full.params == ("q", "failed", "f", "2026-01-31T00:00:00+00:00", 3)


def test_a_tree_is_read_by_the_names_of_its_columns() -> None:
    row = dict.fromkeys(models.TreeNode.__struct_fields__) | {"status": "blocked"}

    call = database.tree(ID, 7)
    [node] = call.read([tuple(row.values())])

    assert call.params == (ID.hex, 7)
    assert f"r.{', r.'.join(row)} from" in call.sql
    assert node.status is models.Status.BLOCKED


def test_versions_of_one_change_come_with_the_runs_that_have_recorded_none() -> None:
    every = database.workflow_versions()
    one = database.workflow_versions("sms")

    assert "where" not in every.sql
    assert every.params == ()
    assert "where r.change_id = %s::text or r.change_id is null" in one.sql
    assert one.params == ("sms",)


def test_a_cancellation_says_where_the_execution_then_stands() -> None:
    call = database.cancel(ID, None, {"force": True})

    assert call.params == (ID.hex, None, '{"force":true}')
    assert call.read([("cancelled",)]) is models.Status.CANCELLED


def test_only_known_channels_are_listened_to() -> None:
    assert database.listen("currant_ended").sql == "listen currant_ended"
    with pytest.raises(ValueError, match="x; drop"):
        database.listen("x; drop table y")


def test_every_call_casts_its_parameters_so_that_any_driver_can_carry_them() -> None:
    calls = [
        database.enqueue("f", "{}", {}),
        database.enqueue_many("f", [], {}),
        database.signal(ID, "n"),
        database.signal_by_key("f", "k", "n", options={"key": "m"}),
        database.enqueue_and_signal("f", "{}", "n", options={"key": "k"}),
        database.cancel(ID),
        database.cancel(ID, "why", {"force": True}),
        database.retry(ID),
        database.status(ID),
        database.watch(ID),
        database.tree(ID),
        database.workflow_versions("c"),
        database.export_history(ID),
        database.claim(ID, ["q"], 1),
        database.complete_many(ID, []),
        database.heartbeat(ID, []),
        database.advance(ID, models.Activation(ID, 1, 0, (), "[]")),
    ]

    for call in calls:
        assert call.sql.count("%s") == len(call.params)
        assert call.sql.count("%s::") == len(call.params)
        assert all(isinstance(each, str | int | None) for each in call.params)


def test_statuses_that_are_ends_know_it() -> None:
    ends = {status for status in models.Status if status.is_end}

    assert ends == {"completed", "failed", "cancelled"}


@pytest.mark.parametrize(
    "make",
    [
        lambda count: [models.new_id() for _ in range(count)],
        lambda count: [UUID(each) for each in models.new_ids(count)],
    ],
    ids=["one by one", "together"],
)
def test_new_ids_are_uuids_of_version_7_in_the_order_of_their_time(
    make: Callable[[int], list[UUID]],
) -> None:
    before = time.time_ns() // 1_000_000
    ids = make(1000)
    after = time.time_ns() // 1_000_000

    assert len(set(ids)) == 1000
    assert {each.version for each in ids} == {7}
    assert {each.variant for each in ids} == {RFC_4122}
    times = [each.int >> 80 for each in ids]
    assert times == sorted(times)
    assert before <= times[0]
    assert times[-1] <= after
    # Every other bit is up to chance.
    for first_bit in (0, 16, 32):
        assert len({each.int >> first_bit & 0xFFFF for each in ids}) > 900
    assert len({each.int >> 64 & 0xFFF for each in ids}) > 500
    assert len({each.int >> 48 & 0x3FFF for each in ids}) > 700
