"""What the database of `replay_model` consists of."""

import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from currant.workflow.history import Carried, Command, RunInfo, Step
from currant.workflow.instance import Instance
from tests.workflow.performing import run_program
from tests.workflow.programs import Program


@dataclass
class Row:
    """Something in an inbox."""

    arrival: int
    kind: str
    command: int | None = None
    name: str | None = None
    payload: str = "null"
    source: UUID | None = None


@dataclass
class Run:
    """A run of an execution, from its `started` event on."""

    info: RunInfo
    program: Program
    carried: Carried | None = None
    steps: list[Step] = field(default_factory=list)

    @property
    def last_event(self) -> int:
        return self.info.first_event - 1 + len(self.steps)

    def new_instance(self, *, strict: bool = False) -> Instance:
        """Its code in memory, before anything has happened to it."""
        return Instance(self.info, lambda: run_program(self.program), json.dumps, strict=strict)


@dataclass
class Execution:
    """A workflow, as the database has it."""

    run: Run
    parent: "Execution | None" = None
    number: int = 0
    is_abandoned: bool = False
    runs: list[Run] = field(default_factory=list)
    inbox: list[Row] = field(default_factory=list)
    open: dict[int, Command] = field(default_factory=dict)
    cancelled: list[int] = field(default_factory=list)
    due: dict[int, datetime] = field(default_factory=dict)
    children: dict[int, "Execution"] = field(default_factory=dict)
    watchers: list[tuple["Execution", int]] = field(default_factory=list)
    token: int = 0
    is_leased: bool = False
    refusals: int = 0
    is_blocked: bool = False
    is_cancel_requested: bool = False
    end: tuple[str, Any] | None = None
    nudges: int = 0

    @property
    def id(self) -> UUID:
        return self.run.info.id

    @property
    def is_ready(self) -> bool:
        """Whether a worker can claim it."""
        is_wanted = bool(self.inbox) or not self.run.steps
        return self.end is None and not self.is_leased and not self.is_blocked and is_wanted


@dataclass
class Activation:
    """What a worker has computed for an execution, and not committed yet."""

    execution: Execution
    token: int
    run: Run
    instance: Instance
    rows: list[Row]
    steps: list[Step]
