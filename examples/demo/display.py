"""What the demonstration shows: a line per step, progress that moves on a terminal, tables."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import contextmanager
from uuid import UUID

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from examples.demo.observe import Snapshot

_PLAIN_WIDTH = 120
_PLAIN_INTERVAL_SECONDS = 1.0


class Display:
    """Writes to standard output, whatever that is: a terminal, a dumb one, a pipe."""

    def __init__(self) -> None:
        self._console = Console(highlight=False)
        self._is_moving = self._console.is_terminal and not self._console.is_dumb_terminal
        if not self._is_moving:
            self._console = Console(highlight=False, width=_PLAIN_WIDTH, no_color=True)
        self._start = time.monotonic()

    def say(self, text: str, style: str = "") -> None:
        """One line, with the time since the start."""
        elapsed = f"{time.monotonic() - self._start:5.1f} s  "
        self._console.print(Text(elapsed, "dim").append(text, style), soft_wrap=True)

    def plain(self, text: str = "", style: str = "") -> None:
        """One line as it is."""
        self._console.print(Text(text, style), soft_wrap=True)

    def table(self, title: str, headings: list[str], rows: list[list[str]]) -> None:
        """A table; headings that begin with > are of numbers."""
        table = Table(
            title=title, title_justify="left", title_style="bold", box=None, pad_edge=False
        )
        for heading in headings:
            is_number = heading.startswith(">")
            table.add_column(
                heading.removeprefix(">"),
                justify="right" if is_number else "left",
                no_wrap=heading != "note",
                min_width=9 if heading == "status" else len(heading.removeprefix(">")),
            )
        for row in rows:
            table.add_row(*(Text(cell, _STYLES.get(cell, "")) for cell in row))
        self._console.print()
        self._console.print(table)

    @contextmanager
    def deploying(self, total: int) -> Iterator[Callable[[str], None]]:
        """Progress over Sqitch's lines, one for each of `total` changes."""
        bar = Progress(
            TextColumn("         "), BarColumn(30), TextColumn("{task.description}"),
            console=self._console, transient=True, disable=not self._is_moving,
        )  # fmt: skip
        with bar:
            task = bar.add_task("", total=total)

            def show(line: str) -> None:
                bar.update(task, description=line.strip(), advance=line.startswith("  + "))

            yield show

    @contextmanager
    def progressing(
        self, names: Mapping[UUID, str], killed: Set[UUID]
    ) -> Iterator[Callable[[Snapshot], None]]:
        """Progress of the executions; call the function with every new snapshot.

        Args:
            names: of the workers, by id.
            killed: those that are no more; the set may grow meanwhile.
        """
        if not self._is_moving:
            yield self._in_lines(names, killed)
            return
        with Live(console=self._console, transient=True, refresh_per_second=12) as live:
            yield lambda snapshot: live.update(_picture(snapshot, names, killed))

    def _in_lines(self, names: Mapping[UUID, str], killed: Set[UUID]) -> Callable[[Snapshot], None]:
        last_time, last_text = 0.0, ""

        def show(snapshot: Snapshot) -> None:
            nonlocal last_time, last_text
            running = ", ".join(f"{n} on {name}" for name, n in _loads(snapshot, names, killed))
            asked_for = snapshot.asked_for
            ended = sum(one.has_ended for one in asked_for)
            steps = snapshot.steps
            done = f"{sum(one.has_ended for one in steps)} of {len(steps)} steps"
            text = f"{ended} of {len(asked_for)} and {done} done; running: {running}"
            if text != last_text and time.monotonic() - last_time > _PLAIN_INTERVAL_SECONDS:
                self.say(text)
                last_time, last_text = time.monotonic(), text

        return show


_STYLES = {"completed": "green", "failed": "red", "cancelled": "yellow", "ok": "green"}


def _loads(
    snapshot: Snapshot, names: Mapping[UUID, str], killed: Set[UUID]
) -> list[tuple[str, int]]:
    running = snapshot.running()
    return [
        (f"{name} (killed)" if worker in killed else name, running[worker])
        for worker, name in names.items()
    ]


def _picture(snapshot: Snapshot, names: Mapping[UUID, str], killed: Set[UUID]) -> Group:
    bars = Progress(
        TextColumn("         {task.description:<18}"), BarColumn(40),
        TextColumn("{task.completed:>3.0f} of {task.total:.0f}"),
    )  # fmt: skip
    for function in dict.fromkeys(one.function for one in snapshot.executions):
        all_of_it = [one for one in snapshot.executions if one.function == function]
        ended = sum(one.has_ended for one in all_of_it)
        bars.add_task(function, total=len(all_of_it), completed=ended)
    loads = [
        Text(f"         {name:<18} ").append("#" * load, "cyan")
        for name, load in _loads(snapshot, names, killed)
    ]
    return Group(bars, *loads)
