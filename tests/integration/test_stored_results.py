"""Results as the database gives them back: a step sees exactly what a replay of it will see."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from currant.stored import stored

SURE = [
    "null",
    "true",
    '""',
    "{}",
    "[]",
    " [ 1 ,\t2 ] ",
    "0",
    "-0",
    "1.0",
    "1.10",
    "0.1",
    "-1.5",
    "9223372036854775807",
    "-9223372036854775808",
    "0.30000000000000004",
    "123456789.123456789",
    "0.1000000000000000055511151231257827021181583404541015625",
    '"\\u00e9 \\ud83d\\ude00 \\n \\/ \\"\\\\"',
    '"\u2028\u00e9\U0001f600"',
    '{"b":1,"a":2}',
    '{"bb":1,"a":2,"aa":3,"B":4,"":5}',
    '{"é":1,"zz":2,"z":3,"ab":4}',
    '{"\\u0061":1,"a":2}',
    '{"a":1,"a":{"c":2,"b":3},"a":[]}',
    '[{"long key":[{"y":1,"x":[1.0,1,"1",null,true]}]},[],{}]',
    '{"1":1,"10":2,"2":3}',
]


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database_url, autocommit=True) as opened:
        yield opened


def through_jsonb(connection: psycopg.Connection[Any], texts: list[str]) -> list[str]:
    rows = connection.execute(
        "select t.value::jsonb::text from unnest(%s::text[]) with ordinality as t (value, n)"
        " order by t.n",
        (texts,),
    ).fetchall()
    return [row[0] for row in rows]


def exactly(text: str) -> Any:
    """What a text decodes to, with the order of keys, and equal values of two types apart."""

    def told(value: Any) -> Any:
        match value:
            case dict():
                return ("dict", [(key, told(each)) for key, each in value.items()])
            case list():
                return ("list", [told(each) for each in value])
            case float():
                return ("float", value.hex())
            case _:
                return (type(value).__name__, value)

    return told(msgspec.json.decode(text))


@pytest.mark.parametrize("text", SURE, ids=range(len(SURE)))
def test_what_is_sure_is_what_the_database_gives_back(
    connection: psycopg.Connection[Any], text: str
) -> None:
    (back,) = through_jsonb(connection, [text])
    guess = stored(text)

    assert guess is not None
    assert exactly(guess) == exactly(back)


NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXTS, inner, max_size=6),
    max_leaves=12,
)
WRITERS = [
    lambda value: msgspec.json.encode(value).decode(),
    json.dumps,
    lambda value: json.dumps(value, ensure_ascii=False, indent=1),
]


@given(values=st.lists(VALUES, min_size=1, max_size=20))
@example(values=[5e-324, 1e16, 1e15, 0.0001, 1e-5, 123456.0, -0.0, 2.0**53, 1.7976931348623157e308])
@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_value_comes_back_as_it_was_foreseen(
    connection: psycopg.Connection[Any], values: list[Any]
) -> None:
    texts = [_written(write, value) for value in values for write in WRITERS]
    texts = [text for text in texts if text is not None]

    for text, back in zip(texts, through_jsonb(connection, texts), strict=True):
        guess = stored(text)
        if guess is not None:
            assert exactly(guess) == exactly(back), text


def _written(write: Any, value: Any) -> str | None:
    try:
        text: str = write(value)
    except OverflowError:  # msgspec writes 64 bits
        return None
    return text
