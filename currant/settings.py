"""The one place that reads the environment: every setting, its variable and its default."""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self, get_args, get_type_hints

from currant.errors import SettingsError

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})

# Smallest value that makes sense; what is not listed has to be more than zero.
_MINIMUM = {
    "worker_workflow_cache": 0,
    "worker_shutdown_grace": 0,
    "default_retries": 0,
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What can be set from outside. Durations are seconds.

    The variable of a field is `CURRANT_` and its name in capitals.
    """

    database_url: str | None = None
    database_listen_url: str | None = None  # "off": never LISTEN, poll only
    database_prepare: bool = True
    home: Path | None = None
    app: str | None = None

    worker_heartbeat_interval: float = 5.0
    worker_heartbeat_timeout: float = 30.0
    worker_poll_interval: float = 1.0
    worker_max_concurrent: int = 10
    worker_max_activations: int = 100
    worker_workflow_cache: int = 1000
    worker_strict_replay: bool = False
    worker_shutdown_grace: float = 30.0
    worker_deadlock_warning: float = 2.0
    worker_deadlock_timeout: float = 10.0

    default_timeout: float = 300.0
    default_workflow_timeout: float = 3600.0
    default_retries: int = 3

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int | float) and not isinstance(value, bool):
                _check_range(field.name, value)
        if self.worker_heartbeat_timeout < 2 * self.worker_heartbeat_interval:
            raise SettingsError(
                f"{variable('worker_heartbeat_timeout')} is {self.worker_heartbeat_timeout:g}, "
                f"less than twice {variable('worker_heartbeat_interval')} "
                f"({self.worker_heartbeat_interval:g})",
                hint="one late heartbeat would make a healthy worker count as dead: raise the "
                "timeout or lower the interval",
            )

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None, **overrides: Any) -> Self:
        """Settings from the environment; overrides (those that are not None) come before it.

        An empty variable counts as not set.

        Raises:
            SettingsError: a value cannot be used; the message names its variable.
        """
        source = os.environ if environ is None else environ
        hints = get_type_hints(cls)
        unknown = overrides.keys() - hints.keys()
        if unknown:
            raise SettingsError(
                f"unknown setting {min(unknown)}", hint=f"known: {', '.join(hints)}"
            )
        values: dict[str, Any] = {}
        for name, hint in hints.items():
            given = overrides.get(name)
            if given is None:
                given = source.get(variable(name), "").strip() or None
            if given is not None:
                values[name] = _convert(name, hint, given)
        return cls(**values)


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """The variables that look like settings and are none, such as misspelt ones."""
    known = {variable(field.name) for field in fields(Settings)}
    return sorted(
        name
        for name in environ
        if name.startswith("CURRANT_") and not name.startswith("CURRANT_TEST_")
        if name not in known
    )


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return f"CURRANT_{name.upper()}"


def _convert(name: str, hint: Any, value: Any) -> Any:
    kinds = get_args(hint) or (hint,)
    if bool in kinds:
        return _boolean(name, value)
    if float in kinds or int in kinds:
        return _number(name, value, whole=int in kinds)
    if Path in kinds:
        return Path(value).expanduser()
    if not isinstance(value, str):
        raise SettingsError(f"{variable(name)} has to be text, not {value!r}")
    return value


def _boolean(name: str, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    word = str(value).lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise SettingsError(f"{variable(name)} is {value!r}", hint="give true or false")


def _number(name: str, value: Any, *, whole: bool) -> float:
    wanted = "a whole number" if whole else "a number of seconds"
    try:
        number = float(value)
        if isinstance(value, bool) or not math.isfinite(number) or (whole and number % 1):
            raise ValueError(value)
    except (TypeError, ValueError):
        raise SettingsError(f"{variable(name)} is {value!r}", hint=f"give {wanted}") from None
    return int(number) if whole else number


def _check_range(name: str, value: float) -> None:
    minimum = _MINIMUM.get(name)
    if minimum is None and not value > 0:
        raise SettingsError(f"{variable(name)} is {value:g}", hint="it has to be more than 0")
    if minimum is not None and value < minimum:
        raise SettingsError(
            f"{variable(name)} is {value:g}", hint=f"it has to be {minimum} or more"
        )
