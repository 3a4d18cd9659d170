"""Tests of tasks and workflows: the real engine on a database of the test's own, in virtual time.

With pytest, take the fixtures `currant_worker` and `currant_db`. Without:

    with new_database() as url, Environment(url) as env:
        assert env.run_sync(process_order, "o1") == {"order_id": "o1"}
"""

from currant.testing.databases import Databases, new_database
from currant.testing.environment import Environment
from currant.testing.errors import KitError, Stalled, Stuck, UnfitDatabase
from currant.testing.replacements import Call, Replacement, hang

__all__ = [
    "Call",
    "Databases",
    "Environment",
    "KitError",
    "Replacement",
    "Stalled",
    "Stuck",
    "UnfitDatabase",
    "hang",
    "new_database",
]
