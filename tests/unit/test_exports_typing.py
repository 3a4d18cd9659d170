"""What a type checker tells somebody who uses the package."""

import re
from pathlib import Path

import pytest

SOURCE = """
import asyncio

from datetime import datetime

from currant import (
    continue_as_new, send_signal, side_effect, task, wait_condition, wait_for_signal, workflow
)


@task
def plain(x: int = 1, *, flag: bool = False) -> int:
    return x


@task(queue="emails", retries=3)
async def send_email(to: str, subject: str) -> dict[str, bool]:
    return {"sent": True}


@workflow(queue="orders", version=1, timeout=3600)
async def process_order(order_id: str) -> float:
    sent = await send_email.run(order_id, subject="x")
    reveal_type(sent)
    reveal_type(await asyncio.gather(plain.run(1), send_email.run("a", "b")))
    async with asyncio.TaskGroup() as group:
        reveal_type(await group.create_task(plain.run(2)))
    reveal_type(side_effect(datetime.now))
    return 1.0


@workflow
async def shop(orders: list[str], count: int = 0) -> int:
    reveal_type(await process_order.options(key="k", on_parent_end="abandon").run(orders[0]))
    await wait_condition(lambda: count > 3, timeout=5)
    await send_signal((process_order, orders[0]), "paid", 7)
    reveal_type(await wait_for_signal("number", type=int))
    reveal_type(await wait_for_signal("numbers", 5, type=list[int]))
    reveal_type(await wait_for_signal("either", type=int | None))
    reveal_type(await wait_for_signal("any"))
    if orders:
        continue_as_new(orders[1:], count=count + 1)
    return count


async def use() -> None:
    handle = await process_order.queue("o1")
    reveal_type(handle)
    reveal_type(await handle.result())
    reveal_type(await asyncio.gather(process_order.queue("o2"), plain.queue()))
    reveal_type(plain(3))
    reveal_type(await plain.run(3, flag=True))
    reveal_type(plain.run_sync(3))
    reveal_type(await send_email("a", "b"))
    reveal_type(await send_email.options(queue="x", timeout=5).queue(to="a", subject="b"))
    as_text: str = handle
    keyed = process_order.options(key="o1")
    reveal_type(await keyed.queue_and_signal("paid", {"by": "card"}, "o1"))
    keyed.queue_and_signal("paid", None, order="o1")  # wrong
    keyed.queue_and_signal("paid")  # wrong
    plain.run(x="3")  # wrong
    send_email.queue("a")  # wrong
    send_email.queue(to="a", subject="b", cc="c")  # wrong
    send_email.options(quue="x")  # wrong
    send_email.options(timeout="5")  # wrong


@task(retry=3)  # wrong
def wrong() -> None: ...


@workflow  # wrong
def no_coroutine() -> int:
    return 1
"""

EXPECTED = [
    "dict[str, bool]",
    "tuple[int, dict[str, bool]]",
    "int",
    "datetime.datetime",
    "float",
    "int",
    "list[int]",
    "Any",
    "Any",
    "currant.handles.Handle[float]",
    "float",
    "tuple[currant.handles.Handle[float], currant.handles.Handle[int]]",
    "int",
    "int",
    "int",
    "dict[str, bool]",
    "currant.handles.Handle[dict[str, bool]]",
    "currant.handles.Handle[float]",
]


@pytest.mark.timeout(300)
def test_signatures_and_options_are_known_to_mypy(tmp_path: Path) -> None:
    api = pytest.importorskip("mypy.api")
    path = tmp_path / "shop.py"
    path.write_text(SOURCE)
    lines = SOURCE.splitlines()

    output, _, _ = api.run(["--strict", "--no-error-summary", "--hide-error-context", str(path)])

    shown = re.findall(r'shop\.py:\d+: note: Revealed type is "(.*)"', output)
    # Versions of mypy differ in whether they name the module of builtins.
    assert [each.replace("builtins.", "") for each in shown] == EXPECTED
    wrong = sorted({int(line) for line in re.findall(r"shop\.py:(\d+): error:", output)})
    marked = [number for number, line in enumerate(lines, 1) if line.endswith("# wrong")]
    assert wrong == marked, output
