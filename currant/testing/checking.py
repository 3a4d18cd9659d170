"""Replays what workflows have done, with the code as it is, and compares every value."""

from collections.abc import Collection
from typing import Any
from uuid import UUID

import psycopg

from currant import database, errors, replaying
from currant.database import virtual
from currant.replaying import Outcome
from currant.testing.errors import hidden
from currant.testing.replacements import Functions

__tracebackhide__ = hidden

# What says nothing against the code: it is another's, or the run is left to others.
_NO_FAULT = frozenset({Outcome.OK, Outcome.UNKNOWN, Outcome.VERSION})


class Checker:
    """Checks the workflows of one database, each as far as it has come."""

    def __init__(self, connection: psycopg.Connection[Any], functions: Functions) -> None:
        self._connection = connection
        self._functions = functions
        self._checked: dict[UUID, int] = {}

    def check(self, execution: UUID) -> None:
        """Replay a workflow.

        Raises:
            NonDeterminism: it does something else than is recorded.
            ExecutionNotFound: there is no such execution.
            InvalidArgument: it is not a workflow.
        """
        report = self._replay(execution)
        if not report.ok:
            raise errors.NonDeterminism(str(report))

    def check_all(self, *, only_ended: bool = False, known: Collection[UUID] = ()) -> None:
        """Replay those that have got further since they were checked last.

        Args:
            only_ended: leave those alone that have not ended.
            known: leave these alone.

        Raises:
            NonDeterminism: one does something else than is recorded.
        """
        for one in database.run_sync(self._connection, virtual.begun()):
            is_new = self._checked.get(one.execution_id) != one.last_event
            is_own = one.execution_id not in known
            # What a replaced one did is not all its own.
            is_own = is_own and not self._functions.has_replaced(one.function)
            if not (is_new and is_own and (one.has_ended or not only_ended)):
                continue
            self._checked[one.execution_id] = one.last_event
            report = self._replay(one.execution_id)
            if report.outcome not in _NO_FAULT:
                raise errors.NonDeterminism(str(report))

    def _replay(self, execution: UUID) -> replaying.Report:
        try:
            document = database.run_sync(self._connection, database.export_history(execution))
        except psycopg.Error as error:
            raise database.translate(error) from error
        return replaying.replay(document, self._functions)
