"""What is known of a function and of a call of it, without the function itself."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """What a decorator says of its function. Durations are seconds; None leaves the default."""

    name: str
    kind: str = "task"
    queue: str | None = None
    version: int = 1
    retries: int | None = None
    timeout: float | None = None
    priority: int | None = None
    retry_delay: float | None = None
    retry_backoff: float | None = None
    retry_max_delay: float | None = None
    non_retryable: tuple[type[BaseException], ...] = ()
    transactional: bool = False

    def as_json(self) -> dict[str, Any]:
        """As `register_functions` and `register_worker` take it."""
        return {"name": self.name, **self.as_options()}

    def as_options(self) -> dict[str, Any]:
        """As `enqueue` takes it."""
        declared = {
            "kind": self.kind,
            "queue": self.queue,
            "version": self.version,
            "retries": self.retries,
            "timeout": self.timeout,
            "priority": self.priority,
            "retry_delay": self.retry_delay,
            "retry_backoff": self.retry_backoff,
            "retry_max_delay": self.retry_max_delay,
        }
        return {name: value for name, value in declared.items() if value is not None}


@dataclass(frozen=True, slots=True)
class BoundCall:
    """Arguments for a function, bound to its signature and encoded, for `queue_many`."""

    function: str
    args: str
