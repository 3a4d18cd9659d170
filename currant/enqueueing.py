"""The options chosen for calls of a function, and what they make of a call.

That is a call of the database, or inside a workflow the options of a command.
"""

import functools
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from currant import database, errors, models, sending
from currant.declarations import BoundCall, Declaration
from currant.options import CARRIERS, TASKS_ONLY, WORKFLOWS_ONLY, CallOptions, check
from currant.settings import Settings
from currant.workflow.intents import EncodedOptions

_BATCH: Final = 1000


class Enqueueing:
    """How a function is enqueued: its declaration, and the options of `.options()`."""

    def __init__(self, declaration: Declaration, chosen: Mapping[str, Any] = {}) -> None:
        self._declaration = declaration
        self._chosen = dict(chosen)
        self._of_commands: dict[str, tuple[Settings, EncodedOptions]] = {}

    def changed(self, options: Mapping[str, Any]) -> "Enqueueing":
        """With other options.

        Raises:
            OptionError: a name is unknown or a value is wrong.
        """
        where = f"{self._name}.options()"
        known = [name for name in CallOptions.__annotations__ if self._takes(name)]
        merged = {**self._chosen, **check(options, known, where=where)}
        if "delay" in merged and "run_at" in merged:
            raise errors.OptionError(f"options delay and run_at of {where} exclude each other")
        if merged.get("client") is not None and merged.get("connection") is not None:
            raise errors.OptionError(
                f"options client and connection of {where} exclude each other",
                hint="the connection says which database it is",
            )
        return Enqueueing(self._declaration, merged)

    @property
    def client(self) -> Any:
        """The client that was chosen, or None."""
        return self._chosen.get("client")

    @property
    def connection(self) -> Any:
        """The caller's connection that was chosen, or None."""
        return self._chosen.get("connection")

    @property
    def _name(self) -> str:
        return self._declaration.name

    def _takes(self, option: str) -> bool:
        return option not in (WORKFLOWS_ONLY if self._declaration.kind == "task" else TASKS_ONLY)

    # --- As a call of the database

    def one(self, args: str, settings: Settings) -> database.Call[UUID]:
        """Enqueue it once."""
        return database.enqueue(self._name, args, self._sent_with_id(settings, "queue"))

    def many(
        self, args: Sequence[str], keys: Sequence[str | None] | None, settings: Settings
    ) -> list[database.Call[list[str]]]:
        """Enqueue it many times."""
        sent = {"queue": "default", **self._sent(settings, "queue_many")}
        batches = []
        for start in range(0, len(args), _BATCH):
            some = args[start : start + _BATCH]
            if keys is not None:
                sent = {**sent, "keys": keys[start : start + _BATCH]}
            ids = models.new_ids(len(some))
            batches.append(database.enqueue_many(self._name, some, sent, ids))
        return batches

    def payload(self, signal: str, value: Any) -> str:
        """The JSON of the payload of a signal that it is to be enqueued with.

        Raises:
            OptionError: there is neither a key nor an id.
            InvalidArgument: it is a task, or no signal can have this name.
            EncodingError: the value cannot be sent.
        """
        if self._declaration.kind == "task":
            raise errors.InvalidArgument(
                f"{self._name} is a task, and only workflows take signals",
                hint=f"await {self._name}.queue(…)",
            )
        if "key" not in self._chosen and "id" not in self._chosen:
            raise errors.OptionError(
                f"{self._name}.queue_and_signal() needs option key or id, by which the same"
                " workflow is found again",
                hint=f"{self._name}.options(key=…).queue_and_signal(…)",
            )
        return sending.payload(signal, value)

    def with_signal(
        self, args: str, signal: str, payload: str, settings: Settings
    ) -> database.Call[UUID]:
        """Enqueue it unless it is there, and signal it."""
        options = self._sent_with_id(settings, "queue_and_signal")
        if "signal_key" not in self._chosen:
            options["signal_id"] = str(models.new_id())
        return database.enqueue_and_signal(self._name, args, signal, payload, options)

    def _sent_with_id(self, settings: Settings, method: str) -> dict[str, Any]:
        return {"queue": "default", "id": str(models.new_id()), **self._sent(settings, method)}

    def _sent(self, settings: Settings, method: str) -> dict[str, Any]:
        """Options for the database: this call's, then the declaration's, then the settings'."""
        self._refuse("on_parent_end", method, "run", "it is for children of a workflow")
        self._refuse("signal_key", method, "queue_and_signal", "it is the key of the signal")
        if self._declaration.kind == "task":
            defaults = {"retries": settings.default_retries, "timeout": settings.default_timeout}
        else:
            defaults = {"timeout": settings.default_workflow_timeout}
        chosen = {name: value for name, value in self._chosen.items() if name not in CARRIERS}
        return {**defaults, **self._declaration.as_options(), **chosen}

    def _refuse(self, option: str, method: str, other: str, reason: str) -> None:
        if option in self._chosen and method != other:
            raise errors.OptionError(
                f"option {option} of {self._name} has no meaning for {self._name}.{method}()",
                hint=f"{reason}: {self._name}.{other}(…)",
            )

    # --- As a command

    def of_step(self) -> Mapping[str, Any]:
        """Options of a step of a workflow, whose end it waits for.

        Raises:
            NotAllowedInWorkflow: one has no meaning there.
        """
        if self._declaration.kind == "task":
            for option in ("key", "key_scope"):
                if option in self._chosen:
                    raise errors.NotAllowedInWorkflow(
                        f"option {option} of {self._name}.run() cannot be used inside a workflow,"
                        " where each step is run once anyway",
                        hint=f"to share one execution among many, await {self._name}.queue(…)",
                    )
        return self._of_command("run")

    def of_queued(self, method: str = "queue") -> Mapping[str, Any]:
        """Options of what a workflow enqueues.

        Raises:
            NotAllowedInWorkflow: one has no meaning there.
        """
        return self._of_command(method)

    def _of_command(self, method: str) -> Mapping[str, Any]:
        # A workflow asks for the same step over and over.
        settings = _settings_of_process()
        known = self._of_commands.get(method)
        if known is None or known[0] is not settings:
            known = self._of_commands[method] = (
                settings,
                EncodedOptions(self._checked_for_command(settings, method)),
            )
        return known[1]

    def _checked_for_command(self, settings: Settings, method: str) -> dict[str, Any]:
        # What has no queue is put into the workflow's own.
        for carrier in CARRIERS:
            if self._chosen.get(carrier) is not None:
                raise errors.NotAllowedInWorkflow(
                    f"option {carrier} of {self._name} cannot be used inside a workflow",
                    hint="what a workflow asks for is stored with its own commit",
                )
        if "id" in self._chosen:
            raise errors.NotAllowedInWorkflow(
                f"option id of {self._name} cannot be used inside a workflow",
                hint="ids are derived there, so that every replay gives the same",
            )
        return self._sent(settings, method)

    # --- What is refused

    def refuse_waiting_for_caller(self, method: str) -> None:
        """Raise OptionError if the caller would wait for what he has yet to commit."""
        if self.connection is not None:
            raise errors.OptionError(
                f"{self._name}.{method}() cannot wait for what the caller has yet to commit",
                hint="queue it, commit, and wait for the handle's result",
            )

    def refuse_sharing(self) -> None:
        """Raise OptionError if many executions would have one id or key."""
        for option in ("id", "key"):
            if option in self._chosen:
                raise errors.OptionError(
                    f"option {option} of {self._name} cannot be shared by many",
                    hint="queue_many(…, keys=[…]) takes a key for each",
                )


def arguments(function: Any, calls: Iterable[Mapping[str, Any] | BoundCall]) -> list[str]:
    """The encoded arguments of many calls of a function.

    Raises:
        TypeError: one is no call of it, or does not fit its signature.
        EncodingError: one cannot be sent.
    """
    return [_arguments(function, call) for call in calls]


def _arguments(function: Any, call: Mapping[str, Any] | BoundCall) -> str:
    name = function.name
    if isinstance(call, BoundCall):
        if call.function != name:
            raise TypeError(f"a call of {call.function}() was given to {name}.queue_many")
        return call.args
    if not isinstance(call, Mapping):
        raise TypeError(
            f"{name}.queue_many takes mappings of keyword arguments, or what"
            f" {name}.bind(…) gives, not {call!r:.100}"
        )
    encoded: str = function.encode_call((), call)
    return encoded


def _settings_of_process() -> Settings:
    names = (
        "CURRANT_DEFAULT_RETRIES",
        "CURRANT_DEFAULT_TIMEOUT",
        "CURRANT_DEFAULT_WORKFLOW_TIMEOUT",
    )
    return _settings_for(tuple((name, os.environ.get(name, "")) for name in names))


@functools.lru_cache(maxsize=8)
def _settings_for(variables: tuple[tuple[str, str], ...]) -> Settings:
    return Settings.from_environment(dict(variables))
