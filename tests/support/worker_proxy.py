"""A way to the database that can be cut: for the client all is lost, the server notices nothing."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path
from urllib.parse import quote

from psycopg.conninfo import conninfo_to_dict

_CHUNK = 1 << 16


class Proxy:
    """Hands connections on to a server's socket, until they are cut.

    Attributes:
        url: of the same database, by way of this.
    """

    def __init__(self, url: str, directory: Path) -> None:
        to = conninfo_to_dict(url)
        self._server = f"{to['host']}/.s.PGSQL.{to['port']}"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(directory / f".s.PGSQL.{to['port']}"))
        self._listener.listen()
        host = quote(str(directory), safe="")
        self.url = f"postgresql://{to['user']}@/{to['dbname']}?host={host}&port={to['port']}"
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(self._server)
            except OSError:
                client.close()
                continue
            self._pairs.append((client, server))
            self._copy(client, server, with_end=False)
            self._copy(server, client, with_end=True)

    def _copy(self, source: socket.socket, sink: socket.socket, *, with_end: bool) -> None:
        thread = threading.Thread(
            target=_copy, args=(source, sink), kwargs={"with_end": with_end}, daemon=True
        )
        self._threads.append(thread)
        thread.start()

    def cut(self) -> None:
        """Cut all connections on the client's side; what was sent is still done and answered."""
        for client, _ in self._pairs:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End everything."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for pair in self._pairs:
            for one in pair:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        for pair in self._pairs:
            for one in pair:
                one.close()


def _copy(source: socket.socket, sink: socket.socket, *, with_end: bool) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(_CHUNK):
            sink.sendall(data)
        if with_end:
            sink.shutdown(socket.SHUT_RDWR)
