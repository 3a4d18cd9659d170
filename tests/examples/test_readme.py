"""What README.md and docs/operations.md show is run as they show it."""

import re

import pytest

from currant.settings import Settings, variable
from tests.examples.shell import ROOT, Shell

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_NOT_HERE = ("pip ", "export CURRANT_DATABASE_URL")


def _blocks(page: str) -> list[tuple[str, str]]:
    """Language and text of each of a page's blocks of code."""
    return _BLOCK.findall((ROOT / page).read_text())


def _commands(mentioning: str) -> str:
    """The README's block of commands that mentions something, as one script."""
    found = [text for language, text in _blocks("README.md") if language == "sh"]
    (block,) = [text for text in found if mentioning in text]
    lines = [line for line in block.splitlines() if not line.startswith(_NOT_HERE)]
    return "\n".join(["set -eu", "trap 'for job in $(jobs -p); do kill $job; done' EXIT", *lines])


@pytest.fixture
def readme(shell: Shell) -> Shell:
    """A shell among the README's files, and the table that one of them needs."""
    for language, text in _blocks("README.md"):
        if language == "python":
            name = text.splitlines()[0].removeprefix("# ")
            (shell.directory / name).write_text(text)
    shell.sql.execute("create table visits (page text)")
    return shell


def test_quick_start(readme: Shell) -> None:
    printed = readme.run(_commands("client.py"))

    assert "Summer: beach-320.jpg, boat-320.jpg" in printed
    assert printed.count("completed") == 4


def test_migrating(readme: Shell) -> None:
    assert "deployed" in readme.run(_commands("currant migrate"))


def test_tasks_and_calls(readme: Shell) -> None:
    readme.run("python calls.py")
    readme.worker("--app", "tasks", "-q", "pages", "--concurrency", "100")
    readme.until("select exists (select from currant.worker_heartbeats)")
    enqueue = "currant enqueue {} '{}'"
    gone = readme.run(enqueue.format("fetch", '{"url": "https://a.example/gone"}')).strip()
    busy = readme.run(enqueue.format("fetch", '{"url": "https://a.example/busy"}')).strip()
    index = readme.run(enqueue.format("index", '{"pages": ["a", "b"]}')).strip()

    assert (readme.ended(gone), readme.ended(busy)) == ("failed", "completed")
    assert readme.ended(index) == "completed"
    assert readme.one("select attempt from currant.status(%s)", gone) == 1
    assert readme.one("select attempt from currant.status(%s)", busy) == 2
    readme.until("select count(*) = 1002 from currant.outcomes where status = 'completed'"
                 " and execution_id not in (%s, %s)", busy, index)  # fmt: skip
    assert readme.one("select array_agg(page order by page) from visits") == ["about", "contact"]


def test_waiting_workflow(readme: Shell) -> None:
    readme.run(_commands("currant signal"))
    readme.worker("--app", "release", "-q", "articles")

    execution = readme.one("select id from currant.execution_status where kind = 'workflow'")

    assert readme.ended(execution) == "completed"
    assert readme.one("select currant.result(%s)", execution) == "Durable tea is in print"


def test_children_and_keys(readme: Shell) -> None:
    readme.worker("--app", "desk", "-q", "desk")

    assert readme.run("python editor.py") == "2 issues\n"
    assert readme.one("select count(*) from currant.executions where kind = 'workflow'") == 3


def test_sql(readme: Shell) -> None:
    readme.run("currant register --app tasks")
    (block,) = [text for language, text in _blocks("README.md") if language == "sql"]

    readme.sql.execute(block.encode())

    waiting = "select waits_for from currant.execution_status where function = 'fetch'"
    assert readme.one(waiting) == "its start time"


def test_links_lead_somewhere() -> None:
    for page in ("README.md", "CONTRIBUTING.md", "docs/operations.md", "docs/workflows.md"):
        for link in re.findall(r"\]\(([^)#:]+)[#)]", (ROOT / page).read_text()):
            assert (ROOT / page).parent.joinpath(link).exists(), f"{page}: {link}"


def test_operations_sql(shell: Shell) -> None:
    with shell.sql.transaction(force_rollback=True):
        for language, text in _blocks("docs/operations.md"):
            if language == "sql":
                shell.sql.execute(text.encode())


def test_every_setting_is_listed_with_its_default() -> None:
    rows = re.findall(r"^\| `(CURRANT_\w+)` \| ([^|]*)\|", _operations(), re.MULTILINE)
    listed = {name: default.strip() for name, default in rows}

    defaults = {
        variable(name): ""
        if value is None
        else str(value).lower()
        if isinstance(value, bool)
        else f"{value:g}"
        for name, value in vars(Settings()).items()
    }
    assert listed == defaults


def _operations() -> str:
    return (ROOT / "docs/operations.md").read_text()
