"""How results look: tables, labelled values and JSON, on a terminal or in a pipe.

On a terminal rich colours and fits them to the width; in a pipe the same text is aligned, complete
and plain.
"""

import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TextIO

import msgspec
from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from currant.cli.terminal import clean, has_colour, is_terminal, one_line

_STATUS_STYLES = {
    "pending": "cyan",
    "running": "bold blue",
    "suspended": "magenta",
    "blocked": "bold yellow",
    "completed": "green",
    "failed": "bold red",
    "cancelled": "yellow",
    "ok": "green",
    **dict.fromkeys(
        ("mismatch", "version", "unknown", "arguments", "deadlock", "error"), "bold red"
    ),
}
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")
_ID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-([0-9a-f]{12})\b")
_STATUS = re.compile(r"(\w+)\s*(?:$|[:,])")
_GAP = 2
_ALWAYS = 9
_NOTHING = "-"
_LONGEST_VALUE = 4000


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its title, and what gives way when the terminal is too narrow.

    Args:
        shrinks_to: the width it may be squeezed to, with an ellipsis; 0 = it stays whole.
        keep: columns with a lower number are left out first.
        short: gives values a shorter form before anything else gives way.
    """

    title: str
    shrinks_to: int = 0
    keep: int = _ALWAYS
    is_right: bool = False
    short: Callable[[str], str] | None = None


class Screen:
    """Prints what people and scripts read to one stream."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stdout
        self.is_terminal = is_terminal(self.stream)
        self._console = Console(
            file=self.stream,
            force_terminal=self.is_terminal,
            color_system="auto" if has_colour(self.stream) else None,
            highlight=False,
            markup=False,
            emoji=False,
            soft_wrap=False,
        )

    @property
    def width(self) -> int:
        """Columns of the terminal."""
        return self._console.width

    def line(self, text: str = "", style: str = "") -> None:
        """Print one line, whole, however wide the terminal is."""
        self._print(Text(clean(text), style=style))

    def parts(self, *parts: str) -> None:
        """Print one line, whole, of parts side by side; words for a status get their colour."""
        # Blanks at the end of a part align the next.
        cells = [_styled(one_line(part).ljust(len(part))) for part in parts]
        self._print(Text(" " * _GAP).join(cells))

    def table(self, columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> None:
        """Print rows under their titles; words for a status get its colour."""
        cells = [tuple(one_line(value) or _NOTHING for value in row) for row in rows]
        if self.is_terminal:
            self._rich_table(columns, cells)
        else:
            self._plain_table(columns, cells)

    def fields(self, pairs: Iterable[tuple[str, str]], *, indent: int = 0) -> None:
        """Print labelled values, one below the other; pairs without a value are left out."""
        shown = [(label, one_line(value)) for label, value in pairs if value]
        width = max((len(label) for label, _ in shown), default=0) + _GAP
        if not self.is_terminal:
            for label, value in shown:
                self._plain(f"{' ' * indent}{label:<{width}}{value}")
            return
        grid = Table.grid(padding=(0, _GAP, 0, 0))
        grid.add_column(style="dim", no_wrap=True)
        grid.add_column(overflow="fold")
        for label, value in shown:
            grid.add_row(label, Text(shortened(value), style=_STATUS_STYLES.get(value, "")))
        self._console.print(Padding(grid, (0, 0, 0, indent)))

    def json(self, document: Any) -> None:
        """Print a document as JSON; what raw_json() made is embedded exactly as it is."""
        text = msgspec.json.format(msgspec.json.encode(document, enc_hook=str)).decode()
        if not (self.stream.encoding or "utf-8").lower().startswith("utf"):
            # In JSON they are all inside of strings, where they may as well be escapes.
            text = _NOT_ASCII.sub(lambda match: json.dumps(match.group())[1:-1], text)
        self._plain(text)

    def _rich_table(self, columns: Sequence[Column], rows: list[tuple[str, ...]]) -> None:
        if _natural_width(columns, rows) > self.width:
            rows = [_short_forms(columns, row) for row in rows]
        widths = _fitted(columns, rows, self.width)
        if widths is None:
            self._plain_table(columns, rows)
            return
        table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="dim")
        for index, width in widths.items():
            column = columns[index]
            table.add_column(
                column.title,
                width=width,
                no_wrap=True,
                overflow="ellipsis" if column.shrinks_to else "crop",
                justify="right" if column.is_right else "left",
            )
        for row in rows:
            table.add_row(*(_styled(row[index]) for index in widths))
        self._console.print(table)

    def _plain_table(self, columns: Sequence[Column], rows: list[tuple[str, ...]]) -> None:
        widths = _natural_widths(columns, rows)
        for row in [tuple(column.title for column in columns), *rows]:
            padded = (
                _padded(value, width, is_right=column.is_right)
                for value, width, column in zip(row, widths, columns, strict=True)
            )
            self._plain((" " * _GAP).join(padded).rstrip())

    def _print(self, text: Text) -> None:
        if self.is_terminal:
            self._console.print(text, soft_wrap=True)
        else:
            self._plain(text.plain)

    def _plain(self, text: str) -> None:
        self.stream.write(text + "\n")


def raw_json(text: str | None) -> Any:
    """Return a JSON text for Screen.json() to embed as it is: numbers keep every digit."""
    return None if text is None else msgspec.Raw(text.encode())


def compact_json(text: str | None) -> str:
    """Return a JSON text on one line, or nothing for none."""
    if text is None:
        return ""
    return msgspec.json.format(text.encode(), indent=0).decode()


def shortened(text: str, limit: int = _LONGEST_VALUE) -> str:
    """Cut a long value; the rest is in the --json output."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]}… ({len(text):,} characters; --json shows all)"


def short_ids(text: str) -> str:
    """Return a text with only the last group of the ids in it, by which people tell them apart.

    What comes before that is mostly the time, and the same for all that began together.
    """
    return _ID.sub(r"\1", text)


def seconds(duration: timedelta | float | None) -> str:
    """Return a duration as people say it: ``0.12s``, ``23.2s``, ``4m05s``, ``3h12m``, ``2d03h``."""
    if duration is None:
        return ""
    number = duration.total_seconds() if isinstance(duration, timedelta) else float(duration)
    if number < 0:
        return f"-{seconds(-number)}"
    if number < 9.995:
        return f"{number:.2f}s"
    if number < 59.95:
        return f"{number:.1f}s"
    whole = round(number)
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02}h"


def age(moment: datetime | None, *, now: datetime | None = None) -> str:
    """Return how long ago a moment was, in one unit: ``5s``, ``3m``, ``2h``, ``4d``."""
    if moment is None:
        return ""
    elapsed = int(((now or datetime.now(UTC)) - moment).total_seconds())
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if abs(elapsed) >= size:
            return f"{elapsed // size}{unit}"
    return f"{max(elapsed, 0)}s"


def local_time(moment: datetime | None) -> str:
    """Return a moment in the reader's time zone, to the second."""
    return "" if moment is None else moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def between(start: datetime | None, end: datetime | None) -> timedelta | None:
    """Return the time from start to end, if both are known."""
    return None if start is None or end is None else end - start


def error_line(error: str | Mapping[str, Any] | None) -> str:
    """Return a stored error (JSON text, or already read) as ``ValueError: message``."""
    if error is None:
        return ""
    document = msgspec.json.decode(error) if isinstance(error, str) else error
    if not isinstance(document, Mapping):
        return str(document)
    kind, message = document.get("type"), document.get("message")
    return ": ".join(str(part) for part in (kind, message) if part)


def _styled(value: str) -> Text:
    """Return the value with a word for a status that it consists of, or begins with, in colour."""
    text = Text(value)
    found = _STATUS.match(value)
    if found is not None and found[1] in _STATUS_STYLES:
        text.stylize(_STATUS_STYLES[found[1]], *found.span(1))
    return text


def _natural_widths(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> list[int]:
    return [
        max(cell_len(column.title), *(cell_len(row[index]) for row in rows), 0)
        for index, column in enumerate(columns)
    ]


def _natural_width(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> int:
    return sum(_natural_widths(columns, rows)) + _GAP * (len(columns) - 1)


def _short_forms(columns: Sequence[Column], row: Sequence[str]) -> tuple[str, ...]:
    return tuple(
        value if column.short is None else column.short(value)
        for column, value in zip(columns, row, strict=True)
    )


def _fitted(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int
) -> dict[int, int] | None:
    """Return the widths of the columns that are shown: some left out, then some squeezed.

    None means that even the indispensable ones are wider than the terminal.
    """
    widths = dict(enumerate(_natural_widths(columns, rows)))

    def smallest(index: int) -> int:
        return min(widths[index], columns[index].shrinks_to or widths[index])

    def total(of: Callable[[int], int]) -> int:
        return sum(of(index) + _GAP for index in widths) - _GAP

    for index, column in enumerate(columns):
        # A column that says nothing is the first to go.
        is_empty = bool(rows) and all(row[index] == _NOTHING for row in rows)
        if is_empty and column.keep < _ALWAYS and total(widths.__getitem__) > width:
            del widths[index]
    while total(smallest) > width:
        dropped = min(widths, key=lambda index: (columns[index].keep, -index))
        if columns[dropped].keep >= _ALWAYS:
            return None
        del widths[dropped]
    while total(widths.__getitem__) > width:
        widest = max(widths, key=lambda index: widths[index] - smallest(index))
        widths[widest] -= 1
    return widths


def _padded(value: str, width: int, *, is_right: bool) -> str:
    blank = " " * (width - cell_len(value))
    return blank + value if is_right else value + blank
