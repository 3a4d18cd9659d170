"""A mail server that keeps what it gets in memory: enough SMTP for smtplib.

Like many real ones it puts off senders it has not seen before: mail to an address at slow.example
is refused the first time with "try again later".
"""

import asyncio
import email
from collections import Counter
from typing import Self

_GREYLISTED = "@slow.example"
_ANSWER_SECONDS = 0.15


class Mailbox:
    """Listens on a port of its own while its context is open.

    Attributes:
        received: how often each Message-ID has come.
        refusals: how many messages were put off.
    """

    def __init__(self) -> None:
        self.received: Counter[str] = Counter()
        self.refusals = 0
        self._known: set[str] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._converse, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._server.close()

    @property
    def address(self) -> str:
        """Where it listens, as host:port."""
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"{host}:{port}"

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        recipients: list[str] = []
        try:
            await _say(writer, "220 mailbox")
            while line := await reader.readline():
                command = line.decode(errors="replace").strip()
                match command[:4].upper():
                    case "EHLO" | "HELO" | "MAIL" | "RSET" | "NOOP":
                        recipients = []
                        await _say(writer, "250 ok")
                    case "RCPT":
                        recipients.append(command.partition(":")[2].strip())
                        await _say(writer, self._greylist(recipients))
                    case "DATA":
                        await _say(writer, "354 go on")
                        data = await reader.readuntil(b"\r\n.\r\n")
                        # Other mail waits in no queue behind this one: each has its connection.
                        await asyncio.sleep(_ANSWER_SECONDS)
                        self.received[str(email.message_from_bytes(data)["Message-ID"])] += 1
                        await _say(writer, "250 got it")
                    case "QUIT":
                        await _say(writer, "221 bye")
                        return
                    case _:
                        await _say(writer, "502 what?")
        except (ConnectionError, asyncio.IncompleteReadError):
            return  # a sender that was killed
        finally:
            writer.close()

    def _greylist(self, recipients: list[str]) -> str:
        newest = recipients[-1].strip("<>")
        if not newest.endswith(_GREYLISTED) or newest in self._known:
            return "250 ok"
        self._known.add(newest)
        self.refusals += 1
        return "451 4.7.1 greylisted, try again later"


async def _say(writer: asyncio.StreamWriter, line: str) -> None:
    writer.write(line.encode() + b"\r\n")
    await writer.drain()
