"""A way to a server on which an answer gets lost."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from psycopg import conninfo

from tests.examples.shell import Shell

_IS_ENQUEUED = "select exists (select from currant.execution_status)"


@asynccontextmanager
async def silent_server(
    shell: Shell, url: str, meanwhile: Callable[[], Awaitable[None]]
) -> AsyncIterator[tuple[str, asyncio.Event]]:
    """A URL on which the answer to the first enqueue never arrives, though it is committed.

    Then `meanwhile` is awaited, the connection cut and the event set; later connections work.
    """
    parsed = conninfo.conninfo_to_dict(url)
    server_path = f"{parsed['host']}/.s.PGSQL.{parsed['port']}"
    is_done = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_unix_connection(server_path)

        async def ask() -> None:
            while data := await reader.read(65536):
                server_writer.write(data)
                if b"currant.enqueue" in data and not is_done.is_set():
                    answering.cancel()
                    await asyncio.to_thread(shell.until, _IS_ENQUEUED)
                    await meanwhile()
                    is_done.set()
                    return

        async def answer() -> None:
            while data := await server_reader.read(65536):
                writer.write(data)

        answering = asyncio.create_task(answer())
        try:
            await ask()
        finally:
            answering.cancel()
            writer.close()
            server_writer.close()

    directory = shell.directory / "silent"
    directory.mkdir()
    server = await asyncio.start_unix_server(serve, directory / ".s.PGSQL.5432")
    try:
        yield conninfo.make_conninfo(url, host=str(directory), port=5432), is_done
    finally:
        server.close()
