"""How long the properties are looked into: HYPOTHESIS_PROFILE=nightly for a night's worth."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings
from hypothesis.internal.conjecture import engine

# A failing example is made smaller for so many seconds; the five minutes that are usual are more
# than a run of the suite has. Nor is it explained, which traces every line of every try.
engine.MAX_SHRINKING_SECONDS = 60

settings.register_profile(
    "quick",
    max_examples=50,
    stateful_step_count=50,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
settings.register_profile(
    "nightly",
    settings.get_profile("quick"),
    max_examples=int(os.environ.get("HYPOTHESIS_EXAMPLES", "3000")),
    stateful_step_count=120,
)


def pytest_configure() -> None:
    """Choose the profile."""
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))
