"""The plugin from outside: another process, another directory, another project's tests."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import psycopg
import pytest

from tests.testing.outside import Project

DOCUMENT = Path(__file__).parents[2] / "docs" / "testing.md"

APP = """
import asyncio
from currant import task, workflow

@task
async def add(a: int, b: int) -> int:
    return a + b

@workflow
async def total(numbers: list[int]) -> int:
    found = 0
    for number in numbers:
        found = await add.run(found, number)
        await asyncio.sleep(86400)
    return found
"""

STRICT = """[pytest]
addopts = --strict-markers
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
filterwarnings = error
"""

SYNC = """
from app import add, total

def test_first(currant_worker):
    assert currant_worker.run_sync(total, [1, 2, 3]) == 6
    assert len(currant_worker.calls(add)) == 3

def test_second(currant_worker):
    assert currant_worker.calls(add) == []
    assert add.queue_sync(1, 2).status_sync() in ("pending", "running", "completed")
"""


@pytest.fixture
def project(tmp_path: Path, currant_server: str) -> Project:
    """A project with an application, on the suite's server."""
    project = Project(tmp_path, {"CURRANT_TEST_DATABASE_URL": currant_server})
    project.write("app.py", APP)
    return project


@pytest.fixture(autouse=True)
def _nothing_is_left(currant_server: str) -> object:
    def databases() -> set[str]:
        with psycopg.connect(currant_server) as connection:
            rows = connection.execute(
                "select datname from pg_database where datname like 'currant_test_%'"
            )
            return {name for (name,) in rows}

    before = databases()
    yield
    assert databases() <= before


def test_tests_of_all_kinds(project: Project) -> None:
    project.write("pytest.ini", STRICT)
    project.write("test_sync.py", SYNC)
    project.write(
        "test_async.py",
        textwrap.dedent("""
            from app import total

            async def test_it(currant_worker):
                handle = await total.queue([1, 2])
                await currant_worker.skip(86400)
                assert await handle.status() == "suspended"
                assert await currant_worker.result(handle) == 3
        """),
    )
    project.write(
        "test_case.py",
        textwrap.dedent("""
            import unittest
            from app import total
            from currant.testing import Environment, new_database

            class TotalTest(unittest.TestCase):
                def test_it(self):
                    with new_database() as url, Environment(url) as env:
                        self.assertEqual(env.run_sync(total, [1, 2]), 3)
        """),
    )
    project.write(
        "test_marked.py",
        textwrap.dedent("""
            from datetime import UTC, datetime
            import pytest

            @pytest.mark.currant(start=datetime(2030, 1, 1, tzinfo=UTC))
            def test_it(currant_worker):
                assert currant_worker.now().year == 2030
        """),
    )

    ran = project.pytest()

    assert ran == {"passed": 5}


def test_async_tests_with_anyio(project: Project) -> None:
    project.write("pytest.ini", "[pytest]\nfilterwarnings = error")
    project.write(
        "test_async.py",
        textwrap.dedent("""
            import anyio
            import pytest
            from app import total

            pytestmark = pytest.mark.anyio

            @pytest.fixture
            def anyio_backend():
                return "asyncio"

            async def test_it(currant_worker):
                handles = [await total.queue([n, 2]) for n in (1, 2)]
                results = {}

                async def result(handle):
                    results[handle] = await currant_worker.result(handle)

                async with anyio.create_task_group() as group:
                    for handle in handles:
                        group.start_soon(result, handle)
                assert [results[each] for each in handles] == [3, 4]

            async def test_it_can_be_cancelled(currant_worker):
                with anyio.move_on_after(0):
                    await currant_worker.run(total, [1])
                assert await currant_worker.run(total, [5]) == 5
        """),
    )

    ran = project.pytest("-p", "no:asyncio")

    assert ran == {"passed": 2}


def test_in_parallel(project: Project) -> None:
    for number in range(3):
        project.write(f"test_sync_{number}.py", SYNC)

    ran = project.pytest("-n", "2")

    assert ran == {"passed": 6}


def test_option_names_the_server(project: Project, currant_server: str) -> None:
    project.environment["CURRANT_TEST_DATABASE_URL"] = "postgresql:///x?host=/nowhere"
    project.write("test_sync.py", SYNC)

    ran = project.pytest("--currant-database-url", currant_server)

    assert ran == {"passed": 2}


def test_configuration_names_the_server(project: Project, currant_server: str) -> None:
    project.environment.clear()
    project.write("pytest.ini", f"[pytest]\ncurrant_database_url = {currant_server}")
    project.write("test_sync.py", SYNC)

    ran = project.pytest()

    assert ran == {"passed": 2}


def test_fixture_names_the_server(project: Project, currant_server: str) -> None:
    project.environment.clear()
    project.write(
        "conftest.py",
        textwrap.dedent(f"""
            import pytest

            @pytest.fixture(scope="session")
            def currant_server():
                return {currant_server!r}
        """),
    )
    project.write("test_sync.py", SYNC)

    ran = project.pytest()

    assert ran == {"passed": 2}


def test_database_of_production_is_never_used(project: Project) -> None:
    project.environment["CURRANT_DATABASE_URL"] = "postgresql:///production?host=/nowhere"
    project.write("test_sync.py", SYNC)

    ran = project.pytest()

    assert ran == {"passed": 2}


def test_failing_set_up_leaves_nothing(project: Project) -> None:
    project.write(
        "test_broken.py",
        textwrap.dedent("""
            import pytest

            @pytest.fixture
            def broken(currant_worker):
                raise RuntimeError("broken fixture")

            def test_it(broken):
                pass

            def test_other(currant_db, monkeypatch):
                assert False

            @pytest.mark.currant(start="tomorrow")
            def test_wrong_marker(currant_worker):
                pass
        """),
    )

    ran = project.pytest()

    assert ran == {"failed": 1, "errors": 2}


def test_server_that_is_not_there_is_said_once_per_test(project: Project) -> None:
    project.environment["CURRANT_TEST_DATABASE_URL"] = "postgresql:///x?host=/nowhere"
    project.write("test_sync.py", SYNC)

    ran = project.pytest()

    assert ran == {"errors": 2}
    assert "the database cannot be reached" in ran.output


def test_diverging_workflow_fails_its_test(project: Project) -> None:
    project.write(
        "test_diverging.py",
        textwrap.dedent("""
            import itertools
            from app import add
            from currant import workflow

            def test_it(currant_worker):
                count = itertools.count()

                @workflow
                async def diverging() -> int:
                    return await add.run(1, next(count))

                diverging.queue_sync()
                currant_worker.drain_sync()
        """),
    )

    ran = project.pytest()

    assert ran == {"passed": 1, "error": 1}
    assert "NonDeterminism" in ran.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("nope=1", "@pytest.mark.currant: got an unexpected keyword argument 'nope'"),
        ("start='x'", "@pytest.mark.currant: start is a datetime, not 'x'"),
    ],
)
def test_wrong_argument_of_the_marker_is_named(
    project: Project, arguments: str, words: str
) -> None:
    marked = f"import pytest\n\n@pytest.mark.currant({arguments})"
    project.write("test_it.py", f"{marked}\ndef test_it(currant_worker): ...\n")

    ran = project.pytest()

    assert ran == {"error": 1}
    assert words in ran.output
    assert "it takes start=, replay= and patience=" in ran.output


def test_failure_shows_the_line_of_the_test_and_not_the_kit(project: Project) -> None:
    project.write(
        "test_it.py",
        textwrap.dedent("""
            import pytest
            from app import add
            from currant import wait_for_signal, workflow

            @workflow
            async def waiting() -> None:
                await wait_for_signal("go")

            def test_stuck(currant_worker):
                currant_worker.run_sync(waiting)

            def test_wrong_replacement(currant_worker):
                currant_worker.replace(add, lambda a: a)
        """),
    )

    ran = project.pytest()

    assert ran == {"failed": 2}
    for words in ("waits for signal go", ">       currant_worker.run_sync(waiting)"):
        assert words in ran.output
    assert ">       currant_worker.replace(add" in ran.output
    assert "def _drive" not in ran.output
    assert "/testing/" not in ran.output.replace("tests/testing/", "")


def test_documented_example(project: Project) -> None:
    blocks = re.findall(r"```python\n# (\S+\.py)\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    for name, text in blocks:
        project.write(name, text)
    [settings] = re.findall(r"```ini\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    project.write("pytest.ini", settings)

    ran = project.pytest()

    assert [name for name, _ in blocks] == ["app.py", "test_app.py"]
    assert ran == {"passed": 5}
