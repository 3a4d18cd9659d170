"""Python's hash seed, by which sets of texts iterate: one for the whole installation.

Workflow code that loops over such a set then does the same in every process that runs it.
"""

import logging
import os
import sys

from currant import database
from currant.cli.session import Session

_LOG = logging.getLogger("currant")
_VARIABLE = "PYTHONHASHSEED"


def own_hash_seed() -> int | None:
    """Return the seed that this process was started with; None if it has one of its own."""
    given = os.environ.get(_VARIABLE, "")
    return int(given) if given.isdecimal() else None


def with_hash_seed(seed: int) -> dict[str, str]:
    """Return the environment for a process with that seed of an installation."""
    return {**os.environ, _VARIABLE: str(seed % 2**32)}


def share_hash_seed(session: Session) -> None:
    """Start this process again with the installation's hash seed, if it has another."""
    with session.connection() as connection:
        seed = database.run_sync(connection, database.settings()).hash_seed
    if own_hash_seed() == seed % 2**32:
        return
    if sys.flags.ignore_environment or not sys.executable:
        _LOG.warning("python ignores %s: sets of strings may differ on replay", _VARIABLE)
        return
    sys.stdout.flush()
    sys.stderr.flush()
    arguments = [sys.executable, *sys.orig_argv[1:]]
    os.execve(sys.executable, arguments, with_hash_seed(seed))
