import io
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from currant.cli import tree
from currant.cli.render import Screen
from currant.models import Status, TreeNode

START = datetime(2026, 1, 31, 12, tzinfo=UTC)


def node(number: int, depth: int = 1, **given: Any) -> TreeNode:
    fields: dict[str, Any] = {
        **dict.fromkeys(TreeNode.__struct_fields__),
        "depth": depth,
        "id": UUID(int=number),
        "kind": "task",
        "function": f"f{number}",
        "status": Status.COMPLETED,
        "attempt": 1,
        "max_attempts": 4,
        "created_at": START,
        "started_at": START + timedelta(seconds=1),
        "finished_at": START + timedelta(seconds=3),
        "is_cancel_requested": False,
    }
    return TreeNode(**{**fields, **given})


def shown(nodes: list[TreeNode], limit: int = 50, **options: Any) -> list[str]:
    stream = io.StringIO()
    tree.show(Screen(stream), nodes, limit, **options)
    return stream.getvalue().splitlines()


def test_branches_show_what_belongs_to_what() -> None:
    assert list(tree.branches([1, 2, 3, 3, 2, 1, 2, 3])) == [
        *("", "├─ ", "│  ├─ ", "│  └─ ", "└─ "),
        *("", "└─ ", "   └─ "),
    ]
    assert list(tree.branches([])) == []


def test_a_line_has_function_status_time_and_id() -> None:
    _, _, first = shown([node(7)])

    assert first.split() == ["f7", "completed", "2.00s", str(UUID(int=7)), "-"]


def test_notes_say_why_it_waits_and_what_went_wrong() -> None:
    open_one = {"finished_at": None, "status": Status.PENDING}
    lines = shown(
        [
            node(1, status=Status.FAILED, attempt=4, error_message="ValueError: no"),
            node(2, attempt=3),
            node(3, **open_one, waits_for="a free worker", attempt=2),
            node(4, **{**open_one, "status": Status.BLOCKED}, waits_for="blocked: deadlock"),
            node(5, **{**open_one, "status": Status.RUNNING}, is_cancel_requested=True),
            node(6, status=Status.CANCELLED, error_message="Cancelled: enough"),
        ]
    )

    assert [line.rsplit(str(UUID(int=n)), 1)[1].strip() for n, line in enumerate(lines[2:], 1)] == [
        "ValueError: no",
        "attempt 3",
        "attempt 2 of 4, a free worker",
        "blocked by deadlock",
        "asked to stop",
        "enough",
    ]


def test_what_is_cut_off_is_counted() -> None:
    nodes = [node(number) for number in range(1, 6)]

    assert shown(nodes, limit=5)[-1].startswith("f5")
    assert shown(nodes, limit=2)[-1] == "… 3 more, older or ended; --children 5 shows them"
    assert shown(nodes, limit=2, is_cut=True)[-1].startswith("… more than 3 more")
    assert shown(nodes, limit=5, is_cut=True)[-1].startswith("… more; --children")


def test_of_many_the_open_the_failed_and_the_newest_are_kept_with_what_is_above() -> None:
    def aged(number: int, depth: int = 1, **given: Any) -> TreeNode:
        return node(number, depth, created_at=START + timedelta(seconds=number), **given)

    nodes = [
        aged(1),
        aged(2),
        aged(3, 2, status=Status.RUNNING, finished_at=None),
        aged(4, status=Status.FAILED),
        aged(5),
        aged(6, 2),
        aged(7),
    ]

    def kept(limit: int) -> list[int]:
        return [one.id.int for one in tree.most_telling(nodes, limit)]

    assert kept(1) == [4]  # the open one does not fit with the one that it is under
    assert kept(2) == [2, 3]
    assert kept(3) == [2, 3, 4]
    assert kept(4) == [2, 3, 4, 7]
    assert kept(6) == [1, 2, 3, 4, 5, 7]
    assert kept(7) == [1, 2, 3, 4, 5, 6, 7]


def test_without_children_nothing_is_shown() -> None:
    assert shown([]) == []
