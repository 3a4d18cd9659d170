"""Results as the database will give them back, where that is sure; see also integration."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from currant.stored import stored

UNSURE = [
    "1e2",
    "1E2",
    "1e-7",
    "-0.0",
    "[1e400]",
    "9223372036854775808",
    "[-9223372036854775809]",
    "1" * 400 + ".5",
    '"' + "x" * 70_000 + '"',
    '"\\ud800"',
    "{",
    "nonsense",
    "",
]

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)


@pytest.mark.parametrize("text", UNSURE, ids=range(len(UNSURE)))
def test_what_is_not_sure_is_left_to_the_database(text: str) -> None:
    assert stored(text) is None


@given(value=st.recursive(
    st.none() | st.booleans() | TEXTS | st.integers(-(2**63), 2**63 - 1)
    | st.floats(-1e15, 1e15).filter(lambda x: x == 0 or abs(x) > 1e-4).map(lambda x: x + 0.0),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXTS, inner, max_size=6),
))  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_ordinary_values_are_foreseen(value: Any) -> None:
    text = msgspec.json.encode(value).decode()

    assert stored(text) is not None
