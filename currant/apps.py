"""Finding and importing the user's application: the module whose import registers its functions.

Named by --app, CURRANT_APP or `[tool.currant] app` in pyproject.toml; else `app.py` of the
current directory.
"""

import importlib
import sys
import tomllib
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from currant.errors import CurrantError
from currant.settings import Settings

_WAYS = (
    "name its module with --app, CURRANT_APP or [tool.currant] app in pyproject.toml,"
    " or run in the directory of its app.py"
)


class AppError(CurrantError):
    """The application was not found, or its import failed."""


def load_app(settings: Settings) -> ModuleType:
    """Import the user's application, the current directory first on the path.

    Returns:
        The imported module; its decorated functions are registered.

    Raises:
        AppError: no application was found, or importing it failed.
    """
    directory = Path.cwd()
    name, origin = _find(settings, directory)
    if name.endswith(".py") or "/" in name:
        path = directory / name
        if not path.is_file():
            raise AppError(f"there is no file {name} ({origin})", hint=_WAYS)
        directory, name = path.parent.resolve(), path.stem
    _put_first_on_path(directory)
    return _import(name, origin)


def queues_of(declared: Sequence[str | None]) -> tuple[str, ...]:
    """Return the queues of functions that declare these: each once, and `default`."""
    return tuple(sorted({queue or "default" for queue in declared} | {"default"}))


def _find(settings: Settings, directory: Path) -> tuple[str, str]:
    if settings.app:
        return settings.app, "named by --app or CURRANT_APP"
    named = _from_pyproject(directory / "pyproject.toml")
    if named:
        return named, "named in pyproject.toml"
    if (directory / "app.py").is_file() or (directory / "app" / "__init__.py").is_file():
        return "app", "in the current directory"
    raise AppError(f"no application found in {directory}", hint=_WAYS)


def _from_pyproject(path: Path) -> str | None:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise AppError(f"{path} cannot be read: {error}", hint="mend it, or use --app") from error
    name = document.get("tool", {}).get("currant", {}).get("app")
    if name is not None and not (isinstance(name, str) and name.strip()):
        raise AppError(f"[tool.currant] app in {path} is not the name of a module: {name!r}")
    return name


def _put_first_on_path(directory: Path) -> None:
    # Child processes and lazily imported modules need it too, so it stays.
    entry = str(directory)
    if entry in sys.path:
        sys.path.remove(entry)
    sys.path.insert(0, entry)
    importlib.invalidate_caches()


def _import(name: str, origin: str) -> ModuleType:
    if ":" in name or not all(part.isidentifier() for part in name.split(".")):
        raise AppError(
            f"{name!r} ({origin}) is not the name of a module",
            hint="e.g. app, shop.tasks or app.py",
        )
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise AppError(f"there is no module {name} ({origin})", hint=_WAYS) from error
        raise _import_failed(name, error) from error
    except (Exception, SystemExit) as error:
        raise _import_failed(name, error) from error


def _import_failed(name: str, error: BaseException) -> AppError:
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    what = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return AppError(
        f"importing {name} failed: {_place(error)}{what}",
        hint="--debug shows the traceback",
    )


def _place(error: BaseException) -> str:
    if isinstance(error, SyntaxError) and error.filename:
        return f"{_relative(error.filename)}:{error.lineno}: "
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<frozen") and frame.filename != __file__
    ]
    in_reach = [frame for frame in frames if _relative(frame.filename) != frame.filename]
    if not frames:
        return ""
    frame = (in_reach or frames)[-1]
    return f"{_relative(frame.filename)}:{frame.lineno}: "


def _relative(filename: str) -> str:
    try:
        path = Path(filename).resolve().relative_to(Path.cwd())
    except ValueError:
        return filename
    # A virtual environment inside the project is not the user's own code.
    return filename if "site-packages" in path.parts else str(path)
