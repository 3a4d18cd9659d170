"""The ledger of one run: numbers what the workflow asks for and holds it against the history.

Numbers are given when a drain ends, to what is then still wanted. So code such as
`async with asyncio.timeout(60)` around something that does not wait leaves nothing behind, not
even a gap. An intent whose id the workflow wants to know at once is numbered at once, after all
that were made before it; that order too is the same at every replay.
"""

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import zip_longest
from typing import NamedTuple

from currant.errors import NonDeterminism, PayloadTooLarge, UnsupportedVersion
from currant.workflow import sizes, strict
from currant.workflow.history import Command, Event, Recorded, RunInfo, describe, python_version
from currant.workflow.intents import Cancel, End, Intent, Marker, SideEffect, Site


class Mismatch(NamedTuple):
    """Where a run did not follow its history; None for what was not expected or not produced.

    `differences` are of a command that is the same but for what it carries.
    """

    event: Event
    expected: Recorded | None
    produced: Intent | None
    differences: Sequence[str] = ()


class Ledger:
    """What one run has asked for, and what of it is still open.

    Args:
        is_strict: compare also what commands carry, see `strict`.

    Attributes:
        is_live: the event being applied is not in the history yet. Nothing else decides whether
            the run is replaying.
        last_number: the highest number given so far.
        recorded_python: the Python version that the history began under.
        is_closed: the run is being torn down; nothing it asks for counts any more.
        last_matched: the last recorded command that was asked for again, and its event.
        mismatch: where it did not follow its history; None if it did.
        notes: differences from the history that are none of what it did.
    """

    __slots__ = (
        "_counted",
        "_effects",
        "_event",
        "_inferred",
        "_is_strict",
        "_issued",
        "_open",
        "_recorded",
        "_refused",
        "_run",
        "_sent",
        "_versions",
        "is_closed",
        "is_live",
        "last_matched",
        "last_number",
        "mismatch",
        "notes",
        "recorded_python",
    )

    def __init__(self, run: RunInfo, *, is_strict: bool = False) -> None:
        self._run = run
        self._is_strict = is_strict
        self._event: Event
        self._recorded: Sequence[Recorded] | None = None
        self._effects: dict[int, Recorded] = {}
        self._refused: dict[tuple[int, int], PayloadTooLarge] = {}
        self._sent = 0  # so many values were to be sent under this event
        self._issued: list[Intent] = []
        self._counted = 0  # so many of `_issued` have been considered for a number
        self._open: dict[int, Intent] = {}
        self._versions: dict[str, int] = {}
        self._inferred: list[Marker] = []
        self.last_matched: tuple[Event, Recorded] | None = None
        self.last_number = 0
        self.is_live = False
        self.is_closed = False
        self.recorded_python: str | None = None
        self.mismatch: Mismatch | None = None
        self.notes: list[str] = []

    @property
    def open(self) -> Collection[Intent]:
        """What is waited for, oldest first."""
        return self._open.values()

    def begin(self, event: Event, recorded: Sequence[Recorded] | None) -> None:
        """From here on everything is asked for while this event is applied; None: it is new."""
        self._event = event
        self._recorded = recorded
        self.is_live = recorded is None
        self._sent = 0

    def add(self, intent: Intent) -> None:
        """Ask for something."""
        if not self.is_closed:
            self._issued.append(intent)

    def number_now(self, intent: Intent) -> None:
        """Ask for something and give it its number at once."""
        self._issued.append(intent)
        self._assign_numbers()

    def cancel(self, intent: Intent) -> None:
        """Take an intent back. One that has been answered is left alone."""
        if self.is_closed:
            return
        if intent.number is not None and self._open.pop(intent.number, None) is not None:
            self._issued.append(Cancel(intent))
        else:
            intent.dropped = True

    def answered(self, number: int | None) -> Intent | None:
        """Close the command that an event answers; None if it was cancelled meanwhile."""
        return None if number is None else self._open.pop(number, None)

    def check_size(
        self, text: str, limit: int | None, what: str, site: Callable[[], Site | None]
    ) -> None:
        """Refuse a value that is too large to be sent, or was when it was to be sent.

        Args:
            text: its JSON.
            limit: bytes that are stored of one; None: any number.
            what: what to call it in errors.
            site: tells where the code is that sends it.

        Raises:
            PayloadTooLarge: it is not sent.
        """
        if self.is_closed:
            return
        self._sent += 1
        place = self._event.number, self._sent
        if not self.is_live:
            error = self._refused.pop(place, None)
        else:
            error = None if limit is None else sizes.measured(text, limit, what=what)
        if error is not None:
            self.number_now(sizes.Refusal(what, error, place, site()))
            raise error

    # --- what the code is told out of the history

    def learn(self, commands: Iterable[Recorded]) -> None:
        """Take note of recorded version markers, side effects and refusals.

        A marker may be recorded long after the call it belongs to (an inferred one is), so those
        of the whole history have to be known before its first event is replayed.
        """
        for command in commands:
            if command.kind == "version" and command.name is not None:
                version = json.loads(command.payload or "{}").get("version")
                self._versions.setdefault(command.name, version)
            elif command.kind == "side_effect" and (command.name or "").startswith(sizes.PREFIX):
                place, error = sizes.refused(command.payload)
                self._refused[place] = error
            elif command.kind == "side_effect" and command.number is not None:
                self._effects[command.number] = command

    def recall(self, effect: SideEffect) -> str:
        """What a side effect gave when it was live, as JSON text.

        Raises:
            NonDeterminism: the history has something else in its place.
        """
        number = effect.number
        found = None if number is None else self._effects.pop(number, None)
        if found is None or found.name != effect.name:
            there = (c for c in self._recorded or () if c.number == number and c.kind != "cancel")
            raise self._mismatch(Mismatch(self._event, found or next(there, None), effect))
        return found.payload or "null"

    def version(self, change: str, lowest: int, highest: int, site: Site | None) -> int:
        """The version of a change that this run follows, for its whole life.

        Raises:
            UnsupportedVersion: it follows one outside lowest..highest.
        """
        version = self._versions.get(change)
        if version is None:
            version = highest if self.is_live else lowest
            self._versions[change] = version
            marker = Marker(change, version, inferred=not self.is_live, site=site)
            (self._issued if self.is_live else self._inferred).append(marker)
        if not lowest <= version <= highest:
            raise UnsupportedVersion(
                f"this run follows version {version} of the change {change!r},"
                f" and this code supports {lowest} to {highest}",
                hint="it goes on as soon as a worker runs code that supports it",
            )
        return version

    # --- the end of a drain

    def settle(self) -> list[Command]:
        """End the drain of an event: number what was asked, then store it or compare it.

        Returns:
            The commands to store; none when replaying.

        Raises:
            NonDeterminism: the history has something else in this place.
        """
        event = self._event
        self._assign_numbers()
        issued = [intent for intent in self._issued if not intent.dropped]
        self._issued.clear()
        self._counted = 0
        commands: list[Command] = []
        if self._recorded is None:
            inferred, self._inferred = self._inferred, []
            commands = [intent.command(event, self._run.id) for intent in (*inferred, *issued)]
        else:
            self._compare(event, issued, self._recorded)
        for intent in issued:
            if intent.answer is not None and intent.number is not None:
                intent.opened_at = event.at
                self._open[intent.number] = intent
        return commands

    def _assign_numbers(self) -> None:
        issued = self._issued
        for intent in issued[self._counted :] if self._counted else issued:
            if intent.is_numbered and not intent.dropped:
                self.last_number += 1
                intent.number = self.last_number
        self._counted = len(issued)

    def _compare(self, event: Event, issued: list[Intent], recorded: Sequence[Recorded]) -> None:
        expected = [command for command in recorded if command.kind != "version"]
        for wanted, made in zip_longest(expected, issued):
            if (
                wanted is None
                or made is None
                or made.number != wanted.number
                or made.kind != wanted.kind
                # What a timer is the limit of tells people something, and changes nothing.
                or (made.name != wanted.name and made.kind != "timer")
            ):
                raise self._mismatch(Mismatch(event, wanted, made))
            if self._is_strict:
                found = strict.differences(event, self._run.id, made, wanted)
                self.notes += (f"event {event.number}, {describe(made)}: {n}" for n in found.notes)
                if found.wrong:
                    raise self._mismatch(Mismatch(event, wanted, made, found.wrong))
            self.last_matched = event, wanted

    def _mismatch(self, mismatch: Mismatch) -> NonDeterminism:
        self.mismatch = mismatch
        event, wanted, made, differences = mismatch
        last = "nothing before it"
        if self.last_matched is not None:
            matched_event, matched = self.last_matched
            last = f"{describe(matched)} at event {matched_event.number}"
        produced = "nothing" if made is None else describe(made)
        if isinstance(made, End) and made.reason:
            produced += f" with {made.reason}"
        if differences:
            produced += f" with other {', '.join(differences)}"
        return NonDeterminism(
            f"workflow {self._run.function} {self._run.id} does not follow its history"
            f" at event {event.number} ({event.kind})",
            detail=(
                f"expected {'nothing' if wanted is None else describe(wanted)},"
                f" produced {produced}; last match: {last};"
                f" recorded on Python {self.recorded_python or 'unknown'},"
                f" replayed on {python_version()}"
            ),
            hint="code that runs under way may change only behind currant.get_version()",
        )
