"""The worker in Node.js, where Node.js and its Postgres client are installed."""

import http.server
import shutil
import subprocess
import threading
from collections.abc import Iterator

import pytest

from currant import Client
from tests.examples.shell import ROOT, Process, Shell

_WORKER = ROOT / "examples/worker.mjs"


def _can_run() -> bool:
    if shutil.which("node") is None:
        return False
    probe = ["node", "--input-type=module", "--eval", "import 'pg'"]
    return subprocess.run(probe, check=False, capture_output=True, cwd=ROOT).returncode == 0


pytestmark = pytest.mark.skipif(not _can_run(), reason="needs node and npm install pg")


class _Unreliable(http.server.BaseHTTPRequestHandler):
    """Fails the first request."""

    requests = 0

    def do_GET(self) -> None:
        type(self).requests += 1
        self.send_response(503 if self.requests == 1 else 200)
        self.end_headers()
        self.wfile.write(b"abc")

    def log_message(self, *_args: object) -> None:
        pass


@pytest.fixture
def page() -> Iterator[str]:
    """The URL of a page that is there from the second time on."""
    _Unreliable.requests = 0
    with http.server.HTTPServer(("127.0.0.1", 0), _Unreliable) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture
def worker(shell: Shell) -> Process:
    """A running worker."""
    process = shell.start("node", _WORKER, CURRANT_WORKER_POLL_INTERVAL="0.1")
    shell.until("select exists (select from currant.worker_heartbeats)")
    return process


async def test_task_fails_and_is_completed_at_the_next_attempt(
    worker: Process, client: Client, shell: Shell, page: str
) -> None:
    execution = await client.enqueue("fetch_page", {"url": page})

    assert await execution.result(timeout=10) == {"status": 200, "bytes": 3}
    error = shell.one("select attempts -> 0 -> 'error' from currant.status(%s)", execution)
    assert error["message"].endswith("answered 503")
    assert worker.stop() == 0
