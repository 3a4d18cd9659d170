"""How long the properties are looked into: HYPOTHESIS_PROFILE=nightly for a night's worth."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "quick",
    max_examples=50,
    stateful_step_count=50,
    deadline=None,
    database=None,
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
