"""What `currant` exports is what its documentation promises."""

import ast
from pathlib import Path

import currant


def test_everything_exported_exists_once_and_in_order() -> None:
    assert currant.__all__ == sorted(set(currant.__all__))
    assert all(hasattr(currant, name) for name in currant.__all__)


def test_everything_imported_for_users_is_exported() -> None:
    tree = ast.parse(Path(currant.__file__).read_text())
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }

    assert imported == set(currant.__all__)


def test_the_names_of_the_quick_start_are_there() -> None:
    for name in ("task", "workflow", "send_signal", "wait_for_signal", "get_version"):
        assert name in currant.__all__


def test_the_package_is_marked_as_typed() -> None:
    assert (Path(currant.__file__).parent / "py.typed").exists()


def test_every_public_name_has_a_docstring() -> None:
    undocumented = [name for name in currant.__all__ if not getattr(currant, name).__doc__]

    assert undocumented == []
