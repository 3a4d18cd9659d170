"""Recorded histories: what `currant history ID --json` prints, read again.

Values stay JSON text, digit by digit as they were recorded, until the code that they are for
decodes them.
"""

import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import msgspec

from currant.errors import InvalidArgument

FORMAT: Final = 1


class Execution(msgspec.Struct, frozen=True, kw_only=True):
    """Whose history it is."""

    id: UUID
    function: str
    version: int = 1
    queue: str = "default"
    args_json: msgspec.Raw = msgspec.field(name="args", default=msgspec.Raw(b"{}"))
    headers_json: msgspec.Raw = msgspec.field(name="headers", default=msgspec.Raw(b"null"))
    parent_id: UUID | None = None
    root_id: UUID | None = None
    created_at: datetime | None = None
    status: str | None = None
    first_event: int = 1

    @property
    def args(self) -> str:
        """The arguments of the run, as JSON text."""
        return bytes(self.args_json).decode()

    @property
    def headers(self) -> str | None:
        """Its headers, as JSON text."""
        return _text(self.headers_json)


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the history: an event at position 0, then the commands it caused."""

    event: int
    position: int
    kind: str
    at: datetime
    number: int | None = None
    name: str | None = None
    source: str | None = None
    execution_id: UUID | None = None
    payload_json: msgspec.Raw = msgspec.field(name="payload", default=msgspec.Raw(b"null"))
    args_json: msgspec.Raw = msgspec.field(name="args", default=msgspec.Raw(b"null"))

    @property
    def payload(self) -> str | None:
        """Its payload as JSON text, digit by digit as it was recorded."""
        return _text(self.payload_json)

    @property
    def args(self) -> str | None:
        """The arguments of the execution it asks for, as JSON text."""
        return _text(self.args_json)


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """A recorded history.

    Attributes:
        currant: the version that recorded it.
        hash_seed: Python's, of the workers that ran it: sets of texts iterate by it.
        entries: of the current run; what it did before it last continued as new is not there.
        file: where it was read from, with its number if others are in the same file.
    """

    format: int
    execution: Execution
    entries: list[Entry]
    currant: str = ""
    hash_seed: int | None = None
    file: str | None = None


def read(text: str | bytes) -> list[Document]:
    """The recorded histories in a JSON text: one, or an array of them.

    Raises:
        InvalidArgument: it holds something else, or is of a version that this one does not know.
    """
    try:
        found = msgspec.json.decode(text, type=Document | list[Document])
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise InvalidArgument(
            "this is not a recorded history",
            detail=str(error),
            hint="'currant history ID --json' prints one",
        ) from None
    documents = found if isinstance(found, list) else [found]
    for document in documents:
        if document.format != FORMAT:
            raise InvalidArgument(
                f"the recorded history of {document.execution.id} has format {document.format},"
                f" and this version of Currant reads {FORMAT}",
                hint="upgrade currant, or record it again",
            )
    return documents


def load(path: str | os.PathLike[str]) -> list[Document]:
    """The recorded histories in a file, or in every *.json file of a directory, by name.

    Raises:
        InvalidArgument: there are none; the message names the file.
    """
    place = Path(path)
    files = sorted(place.glob("*.json")) if place.is_dir() else [place]
    if not files:
        raise InvalidArgument(f"no file in {place} ends in .json", hint="name the files themselves")
    documents: list[Document] = []
    for file in files:
        try:
            found = read(file.read_bytes())
        except InvalidArgument as error:
            raise InvalidArgument(
                f"{file}: {error.message}", detail=error.detail, hint=error.hint
            ) from None
        except OSError as error:
            raise InvalidArgument(
                f"{file} cannot be read: {error.strerror or error}", hint="check the path"
            ) from None
        for number, document in enumerate(found, 1):
            place_in = f" (number {number})" if len(found) > 1 else ""
            documents.append(msgspec.structs.replace(document, file=f"{file}{place_in}"))
    return documents


def read_one(document: Document | Mapping[str, Any] | str | bytes) -> Document:
    """The recorded history that is given as text, or as what that holds.

    Raises:
        InvalidArgument: it is none.
    """
    if isinstance(document, Document):
        return document
    if isinstance(document, Mapping):
        document = msgspec.json.encode(document)
    if not isinstance(document, str | bytes):
        raise InvalidArgument(
            f"a recorded history is JSON text or what it holds, not {document!r:.100}",
            hint="load(path) reads files",
        )
    found = read(document)
    if len(found) != 1:
        raise InvalidArgument(
            f"one recorded history was expected, not {len(found)}",
            hint="read(text) gives each of them",
        )
    return found[0]


def _text(raw: msgspec.Raw) -> str | None:
    text = bytes(raw).decode()
    return None if text == "null" else text
