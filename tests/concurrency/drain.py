"""Does whatever is left to do, so that a test can look at how everything ended."""

from __future__ import annotations

from tests.concurrency.support import Session, Worker, pass_time

_ROUNDS = 60
_STEP = """
    select greatest(extract(epoch from min(heartbeat_timeout)) / 2 - 1, 1.9)::float
    from currant.workers
    where died_at is null
"""


def drain(session: Session, worker: Worker) -> None:
    """Run everything to its end on a stopped clock, and clean up what was left behind.

    Tasks complete, workflows end when they run. Leases of other workers are left until their
    deadlines have passed.
    """
    for _round in range(_ROUNDS):
        while session.value("select more from currant.tick()"):
            pass
        worker.heartbeat()
        claimed = worker.claim(1000, 1000)
        for lease in claimed:
            if lease.kind == "task":
                assert worker.complete(lease) == "accepted"
            else:
                assert worker.end(lease) in ("accepted", "refused")
        if not claimed:
            if _is_empty(session, "ready", "delayed", "leases"):
                if _is_empty(session, "workflows"):
                    return
                # What waits for a signal that nobody is going to send.
                session.execute(
                    "select currant.signal(w.execution_id, 'end') from currant.workflows as w"
                )
                continue
            # Small steps are steady ticks, after which deadlines are enforced; a long one lets
            # what waits become due.
            step = session.value(_STEP)
            for seconds in [step] * int(70 / step) + [7200.0]:
                pass_time(session, seconds)
                worker.heartbeat()
                session.execute("select currant.tick()")
    raise AssertionError("there is always more to do")


def _is_empty(session: Session, *tables: str) -> bool:
    return not any(
        session.value(f"select exists (select from currant.{table})") for table in tables
    )
