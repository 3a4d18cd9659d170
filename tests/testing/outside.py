"""A project of its own, as a user has it, with tests that run in a process of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Project:
    """A directory with an application and its tests."""

    directory: Path
    environment: dict[str, str] = field(default_factory=dict)

    def write(self, name: str, text: str) -> None:
        """Add a file."""
        (self.directory / name).write_text(text)

    def pytest(self, *options: str) -> Outcome:
        """Run its tests; how many passed, failed and so on."""
        ran = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options],
            cwd=self.directory,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=100,
            check=False,
        )
        return Outcome(ran.stdout)


class Outcome(dict[str, int]):
    """Tests by what became of them, and all that was printed."""

    def __init__(self, output: str) -> None:
        last = (output.splitlines() or [""])[-1]
        counts = re.findall(r"(\d+) (passed|failed|errors?|skipped)", last)
        super().__init__({word: int(count) for count, word in counts})
        self.output = output

    def __repr__(self) -> str:
        return f"{super().__repr__()}\n{self.output}"
