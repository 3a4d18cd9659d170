"""What a client sends: whom a signal is for, and under which key."""

import json
from typing import Any
from uuid import UUID

import pytest

from currant import Handle, sending, workflow
from currant.errors import EncodingError, InvalidArgument

ID = UUID("0197e0a0-0000-7000-8000-000000000001")


@workflow(name="sending.flow")
async def flow() -> None: ...


@pytest.mark.parametrize(
    ("to", "found"),
    [
        (ID, ID),
        (str(ID), ID),
        (Handle(ID), ID),
        ((flow, "k"), ("sending.flow", "k")),
        (("any.name", "k"), ("any.name", "k")),
    ],
    ids=str,
)
def test_a_signal_is_for_an_id_or_for_who_holds_a_key(to: Any, found: Any) -> None:
    assert sending.target(to) == found


@pytest.mark.parametrize(
    "to", ["x", None, 3, (), (flow,), (flow, ""), (flow, None), (3, "k"), (flow, "k", "l"), b"x"]
)
def test_whatever_else_is_refused_with_both_ways(to: Any) -> None:
    with pytest.raises(InvalidArgument, match=r"is not an execution id \(.*\(function, key\)"):
        sending.target(to)


def test_every_signal_has_an_id_unless_it_has_a_key() -> None:
    first, second = (sending.signal(ID, "a", {"n": 1}, None) for _ in range(2))
    keyed = sending.signal(ID, "a", None, "payment 7")

    assert (UUID(str(first.params[0])), *first.params[1:3]) == (ID, "a", '{"n":1}')
    assert UUID(json.loads(str(first.params[3]))["id"]) != UUID(
        json.loads(str(second.params[3]))["id"]
    )
    assert json.loads(str(keyed.params[3])) == {"key": "payment 7"}


def test_a_signal_by_key_names_function_and_key() -> None:
    call = sending.signal((flow, "k"), "a", 1, "once")

    assert "currant.signal_by_key" in call.sql
    assert call.params == ("sending.flow", "k", "a", "1", '{"key":"once"}')


@pytest.mark.parametrize("key", ["", "x" * 1001, 3, "\x00"])
def test_a_key_that_cannot_be_is_refused(key: Any) -> None:
    with pytest.raises(InvalidArgument, match="the key of signal 'a' has to be a text"):
        sending.signal(ID, "a", None, key)


def test_a_payload_that_cannot_be_sent_is_refused() -> None:
    with pytest.raises(EncodingError, match="the payload of signal 'a' cannot be sent"):
        sending.signal(ID, "a", object(), None)


@pytest.mark.parametrize("force", [False, True])
def test_cancelling_is_enforced_only_if_asked_for(force: bool) -> None:
    call = sending.cancel(ID, "why", force=force)

    assert call.params[1:] == ("why", '{"force":true}' if force else "{}")
