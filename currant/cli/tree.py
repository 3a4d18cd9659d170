"""What a workflow has started, as a tree: who stands where, since when, and what each waits for."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from currant.cli.render import Column, Screen, between, seconds, short_ids, shortened
from currant.cli.timeline import hindrance
from currant.models import Status, TreeNode

_LONGEST_NOTE = 200
_BRANCH, _LAST, _PAST, _BLANK = "├─ ", "└─ ", "│  ", "   "


def show(screen: Screen, rows: Sequence[TreeNode], limit: int, *, is_cut: bool = False) -> None:
    """Print what is under an execution; nothing if there is nothing.

    Args:
        rows: in the order of the tree, without the execution itself.
        limit: print at most so many, the most telling ones.
        is_cut: there are more than `rows`.
    """
    if not rows:
        return
    now = datetime.now(UTC)
    kept = most_telling(rows, limit)
    screen.line()
    screen.table(
        (
            Column("CHILD", shrinks_to=16),
            Column("STATUS"),
            Column("TIME", keep=4, is_right=True),
            Column("ID", short=short_ids),
            Column("NOTE", shrinks_to=14, keep=1),
        ),
        [
            (f"{branch}{row.function}", row.status, _time(row, now), str(row.id), _note(row))
            for branch, row in zip(branches([row.depth for row in kept]), kept, strict=True)
        ],
    )
    if hidden := len(rows) - limit if len(rows) > limit else 0:
        more = f"more than {hidden:,}" if is_cut else f"{hidden:,}"
        screen.line(
            f"… {more} more, older or ended; --children {len(rows)} shows them", style="dim"
        )
    elif is_cut:
        screen.line(f"… more; --children shows more than these {len(rows):,}", style="dim")


def most_telling(rows: Sequence[TreeNode], limit: int) -> list[TreeNode]:
    """Return at most so many: what is open, then what failed, then the newest; with what is above.

    Of each, those nearest to the top come first. The order stays that of the tree.
    """
    if len(rows) <= limit:
        return list(rows)
    parents: list[int | None] = []
    last: dict[int, int] = {}
    for index, row in enumerate(rows):
        parents.append(last.get(row.depth - 1))
        last[row.depth] = index
    kept: set[int] = set()
    for index in sorted(range(len(rows)), key=lambda index: (_rank(rows[index]), -index)):
        needed: list[int] = []
        place: int | None = index
        while place is not None and place not in kept:
            needed.append(place)
            place = parents[place]
        if len(kept) + len(needed) <= limit:
            kept.update(needed)
    return [rows[index] for index in sorted(kept)]


def _rank(row: TreeNode) -> tuple[bool, bool, int, float]:
    return (
        row.status.is_end,
        row.status != Status.FAILED,
        row.depth,
        -row.created_at.timestamp(),
    )


def branches(depths: Sequence[int]) -> Iterator[str]:
    """Return what stands before each line of a tree; the lines of depth 1 are its outermost."""
    # From the end: whether anything follows at a depth is then known.
    has_next: dict[int, bool] = {}
    lines: list[str] = []
    for depth in reversed(depths):
        parts = [_PAST if has_next.get(level) else _BLANK for level in range(2, depth)]
        if depth > 1:
            parts.append(_BRANCH if has_next.get(depth) else _LAST)
        lines.append("".join(parts))
        has_next = {level: known for level, known in has_next.items() if level < depth}
        has_next[depth] = True
    return reversed(lines)


def _time(row: TreeNode, now: datetime) -> str:
    """Return how long it took, or for how long it has been under way."""
    if row.finished_at is not None:
        return seconds(between(row.started_at, row.finished_at))
    return seconds(now - (row.started_at or row.created_at))


def _note(row: TreeNode) -> str:
    if row.status.is_end:
        ending = (row.error_message or "").removeprefix("Cancelled: ")
        tries = f"attempt {row.attempt}" if row.attempt > 1 and row.kind == "task" else ""
        return shortened(ending or tries, _LONGEST_NOTE)
    leading, reason = hindrance(row)
    tries = f"attempt {row.attempt} of {row.max_attempts}" if row.attempt > 1 else ""
    asked = "asked to stop" if row.is_cancel_requested else ""
    why = f"{leading} {reason}" if row.status == Status.BLOCKED else reason
    return shortened(", ".join(filter(None, (asked, tries, why))), _LONGEST_NOTE)
