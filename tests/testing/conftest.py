"""The kit's fixtures, on the suite's own server."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support import servers
from tests.support.servers import Server


@pytest.fixture(scope="session")
def currant_server(start_server: Callable[[int], Server]) -> str:
    """The URL of the server that the kit is to use."""
    return start_server(servers.newest_version()).url()
