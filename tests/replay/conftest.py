from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from currant import definitions


@pytest.fixture(autouse=True)
def _own_functions() -> Iterator[None]:
    """What a test defines, also in place of what is recorded, is forgotten at its end."""
    before = definitions.registry.all()
    yield
    for function in definitions.registry.all():
        definitions.registry.remove(function.name)
    for function in before:
        definitions.registry.add(function)


@pytest.fixture
def recorded(request: pytest.FixtureRequest) -> Any:
    """Gives the document of a scenario."""

    def read(name: str) -> dict[str, Any]:
        text = (Path(__file__).parent / "fixtures" / f"{name}.json").read_text()
        document: dict[str, Any] = json.loads(text)
        return document

    return read
