"""Makes the fixtures and the pgTAP collector known to tests/ and t/ alike."""

pytest_plugins = ["tests.support.fixtures", "tests.support.pgtap"]
