"""The pages in docs/ say what is there."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_sql_page_is_what_the_database_says(database_url: str) -> None:
    made = subprocess.run(
        [sys.executable, "script/sql-api", database_url],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout

    assert (ROOT / "docs/sql-api.md").read_text() == made, (
        "run script/sql-api > docs/sql-api.md against a database deployed from here"
    )


def test_the_error_table_has_the_codes_that_the_functions_raise() -> None:
    raised = set()
    for path in (ROOT / "sql/deploy").glob("*.sql"):
        raised |= set(re.findall(r"errcode = '(KR\d{3})'", path.read_text()))
    # Raised and caught within one function; nobody ever sees it.
    raised.discard("KR099")

    listed = re.findall(r"^\| `(KR\d{3})` \|", (ROOT / "docs/sql-api.md").read_text(), re.MULTILINE)

    assert sorted(listed) == sorted(raised)


def test_links_between_the_pages_lead_somewhere() -> None:
    broken = []
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
            if "://" not in target and not (page.parent / target).exists():
                broken.append(f"{page.name}: {target}")

    assert broken == []
