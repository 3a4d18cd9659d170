import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from currant import apps
from currant.apps import AppError, load_app
from currant.settings import Settings


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty directory to stand in; what is imported from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != str(tmp_path)])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        module_file = getattr(sys.modules[name], "__file__", None) or ""
        if module_file.startswith(str(tmp_path)):
            del sys.modules[name]


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_app_py_of_the_current_directory_is_the_default(project: Path) -> None:
    write(project / "app.py", "name = 'mine'")

    module = load_app(Settings())

    assert (module.__name__, module.name) == ("app", "mine")
    assert sys.path[0] == str(project)


def test_a_package_called_app_is_found_too(project: Path) -> None:
    write(project / "app" / "__init__.py", "name = 'package'")

    assert load_app(Settings()).name == "package"


def test_the_setting_comes_before_pyproject_and_app_py(project: Path) -> None:
    write(project / "app.py", "")
    write(project / "pyproject.toml", "[tool.currant]\napp = 'other'\n")
    write(project / "shop" / "tasks.py", "")
    write(project / "shop" / "__init__.py", "")

    assert load_app(Settings(app="shop.tasks")).__name__ == "shop.tasks"


def test_pyproject_names_the_app(project: Path) -> None:
    write(project / "app.py", "")
    write(project / "pyproject.toml", "[tool.currant]\napp = 'jobs'\n")
    write(project / "jobs.py", "")

    assert load_app(Settings()).__name__ == "jobs"


def test_a_pyproject_without_our_table_does_not_matter(project: Path) -> None:
    write(project / "app.py", "")
    write(project / "pyproject.toml", "[project]\nname = 'x'\n")

    assert load_app(Settings()).__name__ == "app"


@pytest.mark.parametrize(
    ("text", "message"),
    [("[tool.currant", "cannot be read"), ("[tool.currant]\napp = 3", "not the name of a module")],
)
def test_a_bad_pyproject_is_named(project: Path, text: str, message: str) -> None:
    write(project / "pyproject.toml", text)

    with pytest.raises(AppError, match=message) as caught:
        load_app(Settings())

    assert "pyproject.toml" in str(caught.value)


def test_a_file_may_be_named_and_its_neighbours_imported(project: Path) -> None:
    write(project / "examples" / "neighbour.py", "value = 7")
    write(project / "examples" / "shop.py", "from neighbour import value")

    assert load_app(Settings(app="examples/shop.py")).value == 7


def test_without_an_app_the_error_names_the_ways(project: Path) -> None:
    with pytest.raises(AppError) as caught:
        load_app(Settings())

    for way in (str(project), "--app", "CURRANT_APP", "[tool.currant]", "app.py"):
        assert way in str(caught.value)


@pytest.mark.parametrize("name", ["nowhere", "nowhere.tasks", "nowhere.py", "some/where.py"])
def test_an_app_that_does_not_exist_is_told_from_one_that_fails(name: str) -> None:
    with pytest.raises(AppError, match=r"there is no (module|file)"):
        load_app(Settings(app=name))


@pytest.mark.parametrize("name", ["app:run", "my-app", "..app", "app."])
def test_what_cannot_be_a_module_is_refused(name: str) -> None:
    with pytest.raises(AppError, match="is not the name of a module"):
        load_app(Settings(app=name))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("x = 1\ny = undefined_name\n", "app.py:2: NameError: name 'undefined_name'"),
        ("x = 1\n\ndef f(:\n", "app.py:3: SyntaxError"),
        ("import nowhere_at_all\n", "app.py:1: ModuleNotFoundError: No module named 'nowhere_at_"),
        ("raise SystemExit(3)\n", "app.py:1: SystemExit: 3"),
        ("import json\njson.loads('{')\n", "app.py:2: JSONDecodeError: Expecting property"),
        ("def f():\n    raise ValueError('two\\nlines')\nf()\n", "app.py:2: ValueError: two"),
    ],
)
def test_a_failing_import_shows_the_line_of_the_user(project: Path, text: str, line: str) -> None:
    write(project / "app.py", text)

    with pytest.raises(AppError) as caught:
        load_app(Settings())

    assert "importing app failed: " in str(caught.value)
    assert line in str(caught.value)


def test_a_module_the_app_needs_is_not_taken_for_the_app_itself(project: Path) -> None:
    write(project / "shop" / "__init__.py", "import nowhere_at_all")

    with pytest.raises(AppError, match="importing shop failed"):
        load_app(Settings(app="shop"))


def test_queues_are_those_declared_and_the_default() -> None:
    assert apps.queues_of(["orders", None, "emails", "orders"]) == ("default", "emails", "orders")
    assert apps.queues_of([]) == ("default",)
