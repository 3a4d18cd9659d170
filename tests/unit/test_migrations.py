"""What can be said about the schema without a database."""

import re
from pathlib import Path

import pytest

from currant import migrations, sqitch
from currant.errors import (
    MigrationError,
    SchemaMissing,
    SchemaNewer,
    SchemaOlder,
    SqitchMissing,
)

ROOT = Path(__file__).resolve().parents[2]
URL = "postgresql://ada:secret@db.example/shop?sslmode=verify-full"


def planned() -> list[str]:
    """The names in the plan, read on their own."""
    lines = (ROOT / "sqitch.plan").read_text().splitlines()
    return [line.split()[0] for line in lines if re.match(r"[a-z]", line)]


def fake_program(directory: Path, name: str, script: str = "exit 0") -> None:
    program = directory / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


@pytest.mark.parametrize("folder", ["deploy", "revert", "verify"])
def test_every_planned_change_has_its_scripts_and_no_script_is_left_over(folder: str) -> None:
    names = [str(path.relative_to(ROOT / "sql" / folder)) for path in scripts(folder)]

    assert sorted(names) == sorted(f"{name}.sql" for name in planned())


def scripts(folder: str) -> list[Path]:
    return list((ROOT / "sql" / folder).rglob("*.sql"))


def test_no_change_is_planned_twice() -> None:
    assert len(planned()) == len(set(planned()))


@pytest.mark.parametrize("folder", ["deploy", "revert"])
def test_every_change_is_one_transaction(folder: str) -> None:
    for path in scripts(folder):
        words = re.findall(r"^(begin|commit);$", path.read_text(), re.MULTILINE)
        assert words == ["begin", "commit"], path


def test_verify_scripts_leave_nothing_behind() -> None:
    for path in scripts("verify"):
        words = re.findall(r"^(begin|commit|rollback);$", path.read_text(), re.MULTILINE)
        assert words == ["begin", "rollback"], path


def test_dependencies_are_written_alike_in_plan_and_scripts() -> None:
    for line in (ROOT / "sqitch.plan").read_text().splitlines():
        match = re.match(r"([a-z]\w*) (?:\[([^]]*)\] )?", line)
        if match is None:
            continue
        text = (ROOT / "sql" / "deploy" / f"{match[1]}.sql").read_text()
        required = re.findall(r"^-- requires: (\S+)", text, re.MULTILINE)
        assert sorted(required) == sorted((match[2] or "").split()), match[1]


def test_the_script_is_one_transaction_in_plan_order() -> None:
    script = migrations.schema_script()

    transactions = re.findall(r"^(?:begin|commit|rollback);", script, re.MULTILINE)
    changes = re.findall(r"^-- Deploy currant:(\S+) to pg$", script, re.MULTILINE)
    assert transactions == ["begin;", "commit;"]
    assert changes == planned()
    without_comments = re.sub(r"--.*", "", script)
    assert "\\" not in re.sub(r"'[^']*'", "", without_comments), "no psql commands"


def test_the_schema_says_the_version_that_the_package_expects() -> None:
    text = (ROOT / "sql" / "deploy" / "version.sql").read_text()

    assert f"'{migrations.SCHEMA_VERSION}'" in text


def test_the_right_schema_passes() -> None:
    migrations.check_schema(migrations.SCHEMA_VERSION)


@pytest.mark.parametrize(
    ("version", "error", "remedy"),
    [
        (None, SchemaMissing, "currant migrate"),
        ("0.0.9", SchemaOlder, "currant migrate"),
        ("0.10.0", SchemaNewer, "upgrade"),
        ("99", SchemaNewer, "upgrade"),
    ],
)
def test_another_schema_is_refused_with_the_remedy(
    version: str | None, error: type[Exception], remedy: str
) -> None:
    with pytest.raises(error, match=remedy):
        migrations.check_schema(version)


def test_a_missing_sqitch_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")

    with pytest.raises(SqitchMissing, match=r"Sqitch.*not installed.*apt-get install sqitch"):
        migrations.deploy(URL)


def test_a_missing_psql_is_named_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake_program(tmp_path, "sqitch")
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(SqitchMissing, match=r"psql.*not installed.*postgresql-client"):
        migrations.deploy(URL)


def test_debians_wrapper_is_passed_by(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "pg_wrapper").touch()
    (tmp_path / "psql").symlink_to("pg_wrapper")
    monkeypatch.setattr(sqitch, "_DEBIANS_SERVERS", tmp_path / "servers")
    assert sqitch._behind_wrapper(tmp_path / "psql") == tmp_path / "psql"

    for version in ("9.6", "10", "15"):
        (tmp_path / "servers" / version / "bin").mkdir(parents=True)
        (tmp_path / "servers" / version / "bin" / "psql").touch()

    newest = tmp_path / "servers" / "15" / "bin" / "psql"
    assert sqitch._behind_wrapper(tmp_path / "psql") == newest
    assert sqitch._behind_wrapper(newest) == newest


def test_a_url_that_is_none_is_refused() -> None:
    with pytest.raises(MigrationError, match="cannot be read"):
        migrations.status("postgresql://[broken")


def test_the_password_goes_into_a_variable() -> None:
    variables = sqitch._connection_variables(URL)

    assert variables == {
        "PGUSER": "ada",
        "PGPASSWORD": "secret",
        "PGHOST": "db.example",
        "PGDATABASE": "shop",
        "PGSSLMODE": "verify-full",
    }
