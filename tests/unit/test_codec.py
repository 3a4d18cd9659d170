"""Values become JSON text and come back as their annotation says, or are refused when sent."""

import base64
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, TypedDict
from uuid import UUID

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from currant import codec
from currant.errors import DecodingError, DefinitionError, EncodingError


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Size(IntEnum):
    SMALL = 1
    LARGE = 2


class Word(StrEnum):
    YES = "yes"


@dataclass
class Item:
    name: str
    price: Decimal
    at: datetime | None = None
    parts: list["Item"] = field(default_factory=list)


class Options(TypedDict):
    colour: Colour
    size: NotRequired[Size]


class Point(NamedTuple):
    x: int
    y: float = 0.0


class Struct(msgspec.Struct):
    id: UUID
    tags: set[str]


class Model(pydantic.BaseModel):
    at: datetime
    ids: list[UUID] = []
    nested: "Model | None" = None


class StrictModel(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)
    at: datetime


class Name(str):
    __slots__ = ()


SOME_ID = UUID("0197e0a0-0000-7000-8000-000000000001")
SOME_TIME = datetime.fromisoformat("2026-01-31T08:00:00.000123+02:00")

TYPED = [
    (None, None),
    (True, bool),
    (3, int),
    (2**80, int),
    (-1.5, float),
    (3, float),
    ("ä\u2028\U0001f600\\u0000", str),
    (b"\x00\xff", bytes),
    (bytearray(b"ab"), bytearray),
    (Decimal("1.10"), Decimal),
    (SOME_ID, UUID),
    (SOME_TIME, datetime),
    (SOME_TIME.replace(tzinfo=None), datetime),
    (date(2026, 1, 31), date),
    (time(8, 30), time),
    (timedelta(days=-1, microseconds=3), timedelta),
    (Colour.RED, Colour),
    (Size.LARGE, Size),
    (Word.YES, Word),
    ([1, 2], list[int]),
    ((1, "a"), tuple[int, str]),
    ((1, 2, 3), tuple[int, ...]),
    pytest.param({"b", "a"}, set[str], id="a set of two"),
    (frozenset({1}), frozenset[int]),
    ({1: SOME_ID}, dict[int, UUID]),
    ({SOME_ID: None}, dict[UUID, None]),
    (Item("a", Decimal("1.0"), SOME_TIME, [Item("b", Decimal("0"))]), Item),
    ({"colour": Colour.BLUE, "size": Size.SMALL}, Options),
    (Point(1, 2.5), Point),
    (Struct(SOME_ID, {"x"}), Struct),
    (Model(at=SOME_TIME, ids=[SOME_ID], nested=Model(at=SOME_TIME)), Model),
    ([Model(at=SOME_TIME)], list[Model]),
    (StrictModel(at=SOME_TIME), StrictModel),
    (None, Model | None),
    (Name("x"), Name),
    (PurePosixPath("/tmp/x"), PurePosixPath),
    ("a", Literal["a", "b"]),
    (5, Annotated[int, msgspec.Meta(ge=0)]),
    ({"a": [1, None, {"b": False}]}, Any),
    ({"a": 1}, object),
]


@pytest.mark.parametrize(("value", "hint"), TYPED, ids=lambda each: str(each)[:40])
def test_a_value_comes_back_as_its_annotation_says(value: object, hint: Any) -> None:
    text = codec.encode(value, what="it", hint=hint)

    back = codec.decode(text, hint, what="it")

    assert back == value
    if hint not in (float, Any, object):
        assert type(back) is type(value)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**200), 2**200)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(JSON)
def test_any_json_value_round_trips_without_an_annotation(value: Any) -> None:
    assert codec.decode(codec.encode(value, what="it"), what="it") == value


@given(JSON)
def test_other_languages_read_the_same(value: Any) -> None:
    assert json.loads(codec.encode(value, what="it")) == value


@given(
    st.builds(
        Item,
        name=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")),
        price=st.decimals(allow_nan=False, allow_infinity=False),
        at=st.none() | st.datetimes(timezones=st.timezones()),
    )
)
def test_dataclasses_round_trip(item: Item) -> None:
    back = codec.decode(codec.encode(item, what="it", hint=Item), Item, what="it")

    assert (back.name, back.price) == (item.name, item.price)
    # Only the offset travels, to the minute, not the name of the zone: so the texts are compared.
    if item.at is not None and not (item.at.utcoffset() or timedelta()) % timedelta(minutes=1):
        assert back.at is not None
        assert back.at.isoformat() == item.at.isoformat()


@given(JSON, st.sampled_from([math.nan, math.inf, -math.inf]), st.booleans())
def test_what_is_no_number_is_refused_wherever_it_hides(
    value: Any, number: float, is_deep: bool
) -> None:
    hidden = {"a": [value, {"b": number}]} if is_deep else [value, number]

    with pytest.raises(EncodingError, match=r"it cannot be sent: -?(nan|inf) at \$"):
        codec.encode(hidden, what="it")


@given(JSON, st.text(max_size=3), st.text(max_size=3))
def test_a_nul_is_refused_wherever_it_hides(value: Any, before: str, after: str) -> None:
    with pytest.raises(EncodingError, match="it cannot be sent"):
        codec.encode([value, {before + "\x00" + after: 1}], what="it")


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")))
def test_text_that_only_looks_like_an_escaped_nul_is_fine(text: str) -> None:
    looks = text + "\\u0000"

    assert codec.decode(codec.encode(looks, what="it"), what="it") == looks


def _cycle() -> list[Any]:
    items: list[Any] = []
    items.append(items)
    return items


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (object(), "object has no form in JSON"),
        (1j, "complex"),
        ({(1, 2): 3}, "tuple has no form as a key"),
        ("\ud800", "surrogate"),
        ({"\udfff": 1}, "surrogate"),
        (_cycle(), "contains itself"),
        ((x for x in "a"), "generator"),
        ({"a": {"b": ValueError("x")}}, "ValueError"),
    ],
    ids=lambda each: str(type(each)),
)
def test_what_json_cannot_say_is_refused_with_the_reason(value: object, reason: str) -> None:
    with pytest.raises(EncodingError, match=f"the colour cannot be sent: .*{reason}"):
        codec.encode(value, what="the colour")


def test_a_value_that_would_not_come_back_is_refused_when_sent() -> None:
    with pytest.raises(EncodingError, match=r"it does not fit its annotation int: .*`int`.*`str`"):
        codec.encode("5", what="it", hint=int)


def test_decoding_says_where_it_does_not_fit() -> None:
    text = '{"name": "a", "price": "1", "parts": [{"name": 5, "price": "1"}]}'

    with pytest.raises(
        DecodingError, match=r"the item does not fit .*Item: .*\$\.parts\[0\]\.name"
    ):
        codec.decode(text, Item, what="the item")


@pytest.mark.parametrize("text", ["", "{", "nope", "[1,]", "\ud800"])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(DecodingError):
        codec.decode(text, what="it")


def test_a_pydantic_model_says_what_it_misses() -> None:
    with pytest.raises(DecodingError, match="Field required"):
        codec.decode("{}", Model, what="it")


def test_nothing_stored_is_none() -> None:
    assert codec.decode(None, what="it") is None
    assert codec.decode(None, int | None, what="it") is None


class Mixed(Enum):
    A = "a"
    B = 2


@pytest.mark.parametrize("hint", [datetime | str, Mixed, Model | int, "Nowhere"])
def test_an_annotation_that_json_cannot_carry_is_refused(hint: Any) -> None:
    with pytest.raises(DefinitionError, match="it has an annotation that JSON cannot carry"):
        codec.encode("a", what="it", hint=hint)


def test_a_class_that_json_cannot_make_is_refused_when_sent() -> None:
    class Socket:
        pass

    with pytest.raises(EncodingError, match=r"it does not fit its annotation .*Socket"):
        codec.encode({}, what="it", hint=Socket)


def test_an_annotation_that_cannot_be_hashed_works() -> None:
    hint = Annotated[list[int], ["a note"]]

    assert codec.decode("[1]", hint, what="it") == [1]


def test_subclasses_of_simple_types_lose_only_their_class() -> None:
    class Number(int):
        pass

    class Amount(float):
        def __repr__(self) -> str:
            return "?"

    assert codec.encode([Number(3), Amount(2.5), Name("a")], what="it") == '[3,2.5,"a"]'
    assert codec.decode("3", Number, what="it") == Number(3)
    assert codec.encode(Path("a") / "b", what="it") == '"a/b"'


def test_calls_travel_as_an_object_an_array_or_both() -> None:
    a, b = (1, Any, "a"), ("x", str, "b")

    assert codec.encode_call([], {}) == "{}"
    assert codec.encode_call([], {"a": a, "b": b}) == '{"a":1,"b":"x"}'
    assert codec.encode_call([a, b], {}) == '[1,"x"]'
    assert codec.encode_call([a], {"b": b}) == '{"*":[1],"b":"x"}'


@pytest.mark.parametrize(
    ("text", "places", "names"),
    [
        ("{}", 0, set()),
        ('{"a": 1}', 0, {"a"}),
        ("[1, 2]", 2, set()),
        ('{"*": [1, 2], "a": 3}', 2, {"a"}),
    ],
)
def test_calls_are_taken_apart_again(text: str, places: int, names: set[str]) -> None:
    positional, named = codec.decode_call(text, what="it")

    assert (len(positional), named.keys()) == (places, names)


@pytest.mark.parametrize("text", ["1", "null", '"a"', '{"*": 1}'])
def test_arguments_that_are_neither_object_nor_array_are_refused(text: str) -> None:
    with pytest.raises(DecodingError, match="it"):
        codec.decode_call(text, what="it")


class Base64Hook:
    def outgoing(self, text: str) -> str:
        return json.dumps({"$packed": base64.b64encode(text.encode()).decode()})

    def incoming(self, text: str) -> str:
        value = json.loads(text)
        if isinstance(value, dict) and "$packed" in value:
            return base64.b64decode(value["$packed"]).decode()
        return text


@pytest.fixture
def hook() -> Iterator[None]:
    codec.set_hook(Base64Hook())
    yield
    codec.set_hook(None)


@pytest.mark.usefixtures("hook")
def test_a_hook_sees_payloads_both_ways() -> None:
    text = codec.encode({"a": 1}, what="it")

    assert json.loads(text).keys() == {"$packed"}
    assert codec.decode(text, what="it") == {"a": 1}
    assert codec.decode('{"a": 2}', what="it") == {"a": 2}
    call = codec.encode_call([], {"a": (1, Any, "a")})
    assert json.loads(call).keys() == {"$packed"}
    assert codec.decode_call(call, what="it")[1].keys() == {"a"}
    assert codec.plain([1], what="it") == "[1]"
