"""Stops a transaction at an exact place: triggers that wait for a lock which the test holds.

A test closes a gate, does something that runs into it, sees in pg_locks who waits there, and then
decides what becomes of it. The engine knows nothing of gates.
"""

from __future__ import annotations

import itertools

import psycopg

from tests.support.worker_database import PATIENCE, Database

_keys = itertools.count(1)


class Gate:
    """A lock that others run into; open until it is closed."""

    def __init__(self, database: Database) -> None:
        self.key = next(_keys)
        self._database = database
        self._holder = psycopg.connect(database.url, autocommit=True, application_name="gate")

    def at_insert(self, table: str, when: str = "true", *, at_commit: bool = False) -> None:
        """Put it into the way of inserts into a table, where `new` is such a row.

        Args:
            table: which one, of schema currant.
            when: a condition on `new`.
            at_commit: whether the transaction is stopped only in its commit.
        """
        name = f"gate_{self.key}"
        deferred = "initially deferred" if at_commit else ""
        self._database.rows(
            f"""
            create function public.{name}() returns trigger
            language plpgsql security definer as $$
            begin
                perform pg_advisory_xact_lock_shared({self.key});
                return null;
            end
            $$;
            create constraint trigger {name} after insert on currant.{table}
            deferrable {deferred} for each row when ({when}) execute function public.{name}()
            """
        )

    def close(self) -> None:
        """From now on whoever comes has to wait."""
        self._holder.execute("select pg_advisory_lock(%s)", [self.key])

    def wait_for_somebody(self, count: int = 1, patience: float = PATIENCE) -> int:
        """Wait until so many sessions wait here; the process id of one of them."""
        pid: int = self._database.until(
            """
            select min(pid) from pg_locks
            where locktype = 'advisory' and not granted and objid = %s
                and database = (select oid from pg_database where datname = current_database())
            having count(*) >= %s
            """,
            self.key,
            count,
            patience=patience,
        )
        return pid

    def open(self) -> None:
        """Let everybody pass."""
        self._holder.execute("select pg_advisory_unlock_all()")

    def break_off(self) -> None:
        """End the sessions that wait here, as if they had never come this far, and open."""
        self._database.rows(
            """
            select pg_terminate_backend(pid, 10000) from pg_locks
            where locktype = 'advisory' and not granted and objid = %s
                and database = (select oid from pg_database where datname = current_database())
            """,
            self.key,
        )
        self.open()

    def remove(self) -> None:
        """Let everybody pass for good."""
        self._holder.close()
