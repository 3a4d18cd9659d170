"""What the examples' tests share: a shell on a database of the test's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from currant import Client
from tests.examples.shell import Shell


@pytest.fixture
def url(database_url: str) -> str:
    """The database of the test's shell; a test module may say which."""
    return database_url


@pytest.fixture
def shell(tmp_path: Path, url: str) -> Iterator[Shell]:
    """A shell on a database with Currant's schema."""
    with psycopg.connect(url, autocommit=True) as connection:
        shell = Shell(tmp_path, url, connection)
        yield shell
        shell.stop_all()


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    """A client of that database, which functions use while the test runs."""
    with Client(url) as client:
        yield client
