"""Random workflow programs, as data: lists that JSON can hold. `performing` carries them out.

A program is a list of a verb and what belongs to it, other programs among it. The same choices
give the same program, whoever makes them: a seed, or hypothesis.
"""

import random
from collections.abc import Callable, Iterator
from typing import Any

Program = Any
Choose = Callable[[int], int]

SECONDS = [0.001, 1, 2, 2, 5, 10]


class Maker:
    """Makes programs of the numbers that it is given.

    Args:
        choose: gives a number from 0 on and below its argument.
        size: about how many leaves there are to be.
        without: verbs that are not to occur.
        pace: all durations are multiplied by it.
    """

    def __init__(
        self,
        choose: Choose,
        size: int,
        without: frozenset[str] = frozenset(),
        pace: float = 1,
    ) -> None:
        self.choose = choose
        self.size = size
        self.without = without
        self._seconds = [second * pace for second in SECONDS]
        self._limits = [None, None, *self._seconds, 0]
        self._depth = 0

    def make(self) -> Program:
        """A whole program."""
        parts = 1 + self.choose(4)
        return ["sequence", [self._part(max(1, self.size // parts)) for _ in range(parts)]]

    def _of(self, options: list[Any]) -> Any:
        return options[self.choose(len(options))]

    def _part(self, budget: int) -> Program:
        while True:
            if budget <= 1 or self.choose(6) == 0:
                verb, *rest = self._leaf()
            else:
                verb, *rest = self._compound(budget)
            if verb not in self.without:
                return [verb, *rest]

    def _several(self, budget: int) -> list[Program]:
        count = 2 + self.choose(3)
        return [self._part(max(1, budget // count)) for _ in range(count)]

    def _leaf(self) -> Program:
        match self.choose(32):
            case 0 | 1 | 2 | 3 | 4 | 5 | 6:
                return ["task", self._of(["a", "b", "c"])]
            case 7 | 8 | 9:
                return ["sleep", self._of([0, *self._seconds])]
            case 10 | 11:
                return ["signal", self._of(["x", "y"]), self._of(self._limits)]
            case 12:
                return ["yield"]
            case 13:
                return ["queue"]
            case 14:
                return ["version", self._of(["v", "w"])]
            case 15:
                return ["raise"]
            case 16:
                return [self._of(["random", "uuid", "now"])]
            case 17:
                return ["effect", self.choose(4) == 0]
            case 18:
                return ["condition", self.choose(6), self._of(self._limits)]
            case 19:
                return ["send", self._of(["self", "parent"]), self._of(["x", "y"])]
            case 20 | 21:
                return ["event", self._of(["e", "f"]), self._of(["set", "set", "clear", "wait"])]
            case 22:
                return ["notify", self._of(["m", "n"]), 1 + self.choose(2)]
            case 23:
                return ["await_notice", self._of(["m", "n"])]
            case 24:
                return ["barrier"]
            case 25:
                return ["put", self._of(["s", "t"])]
            case 26:
                return ["get", self._of(["s", "t"])]
            case 27 | 28:
                return [self._of(["cancel", "join"]), self.choose(3)]
            case 29:
                return ["variable", self.choose(3)]
            case 30:
                return ["cancel_self", self.choose(3) == 0]
            case _:
                return ["yield"]

    def _compound(self, budget: int) -> Program:
        match self.choose(30):
            case 0 | 1:
                return ["sequence", self._several(budget)]
            case 2 | 3:
                return ["gather", self._several(budget), self.choose(2) == 0]
            case 4 | 5 | 6:
                return ["group", self._several(budget)]
            case 7 | 8 | 9:
                return [
                    "wait",
                    self._several(budget),
                    self.choose(3),
                    self._of(self._limits),
                    self.choose(4) != 0,
                ]
            case 10:
                return ["each", self._several(budget), self._of(self._limits), self.choose(3)]
            case 11:
                return ["queued", self._several(budget)]
            case 12 | 13:
                return ["timeout", self._of([0, *self._seconds]), self._part(budget - 1)]
            case 14 | 15:
                return ["wait_for", self._of([0, *self._seconds]), self._part(budget - 1)]
            case 16:
                first, then = self._of(self._seconds), self._of(self._seconds)
                return ["reschedule", first, then, self._part(budget - 1)]
            case 17 | 18:
                return ["shield", self._of(self._seconds), self._part(budget - 1)]
            case 19 | 20 | 21:
                inner, clean_up = self._part(budget // 2), self._part(budget // 2)
                return ["guard", inner, clean_up, self.choose(2) == 0]
            case 22 | 23:
                return ["background", self._part(budget - 1), self.choose(4)]
            case 24:
                return ["generator", self._several(budget), 1 + self.choose(3)]
            case 25:
                return ["lock", self._of(["l", "k"]), self._part(budget - 1)]
            case 26:
                return ["semaphore", self._part(budget - 1)]
            case 27:
                return [self._of(["strings", "futures"]), self._several(budget)]
            case _:
                return self._bearing(budget)

    def _bearing(self, budget: int) -> Program:
        if self._depth == 3:
            return ["task", "a"]
        self._depth += 1
        inner = self._part(budget - 1)
        self._depth -= 1
        match self.choose(5):
            case 0 | 1 | 2:
                return ["child", inner, self.choose(4) == 0]
            case 3:
                return ["launch", inner, self._of(["attach", "signal", "cancel"])]
            case _:
                return ["continue", inner]


def from_seed(
    seed: object, size: int = 10, without: frozenset[str] = frozenset(), pace: float = 1
) -> Program:
    """The program of a seed; the same on every version of Python."""
    return Maker(chooser(seed), size, without, pace).make()


def chooser(seed: object) -> Choose:
    """Numbers out of a seed; the same on every version of Python."""
    chance = random.Random(f"{seed}")
    return lambda below: int(chance.random() * below)


def parts(program: Program) -> Iterator[Program]:
    """Every part of a program, the whole first."""
    if isinstance(program, list):
        if program and isinstance(program[0], str):
            yield program
        for part in program:
            yield from parts(part)
