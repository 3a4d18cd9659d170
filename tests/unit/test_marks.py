"""Where a claim may begin."""

from __future__ import annotations

from datetime import UTC, datetime

from currant import models
from currant.marks import Marks


def claimed(queue: str, kind: str, rank: int, seq: int) -> models.Claimed:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    identity = models.new_id()
    return models.Claimed(
        execution_id=identity,
        token=seq,
        kind=kind,
        function="f",
        version=1,
        queue=queue,
        rank=rank,
        seq=seq,
        attempt=1,
        max_attempts=1,
        args="{}",
        headers=None,
        parent_id=None,
        root_id=identity,
        created_at=now,
        claimed_at=now,
        timeout=None,
        details=None,
    )


def test_a_new_worker_looks_everywhere() -> None:
    assert Marks().hints(["a", "b"], 0.0) == {}


def test_it_remembers_the_lowest_number_of_each_queue_kind_and_rank() -> None:
    marks = Marks()
    claims = [claimed("a", "task", 1, n) for n in (8, 7, 9)]
    claims += [
        claimed("a", "task", 0, 5),
        claimed("a", "workflow", 1, 3),
        claimed("b", "task", 1, 4),
    ]

    marks.learn(claims, is_full_scan=True, at=10.0, took=0.001)

    assert marks.hints(["a", "b"], 10.5) == {
        "marks": {"a": {"t": [(0, 5), (1, 7)], "w": [(1, 3)]}, "b": {"t": [(1, 4)]}}
    }


def test_from_time_to_time_it_looks_everywhere_again() -> None:
    marks = Marks()
    marks.learn([claimed("a", "task", 1, 7)], is_full_scan=True, at=10.0, took=0.001)
    marks.learn([claimed("a", "task", 1, 9)], is_full_scan=False, at=11.9, took=0.001)

    assert marks.hints(["a", "b"], 11.99)
    assert marks.hints(["a", "b"], 12.0) == {}


def test_it_looks_less_often_where_that_is_slow() -> None:
    marks = Marks()
    marks.learn([claimed("a", "task", 1, 7)], is_full_scan=True, at=10.0, took=0.1)

    assert marks.hints(["a", "b"], 14.9)
    assert marks.hints(["a", "b"], 15.0) == {}


def test_what_it_forgets_it_looks_for_everywhere() -> None:
    marks = Marks()
    marks.learn([claimed("a", "task", 1, 7)], is_full_scan=True, at=10.0, took=0.001)

    assert marks.forget(10.1)

    assert marks.hints(["a", "b"], 10.1) == {}


def test_very_many_priorities_are_claimed_without_marks() -> None:
    marks = Marks()
    claims = [claimed("a", "task", rank, rank) for rank in range(1, 40)]
    marks.learn(claims, is_full_scan=True, at=10.0, took=0.001)

    assert marks.hints(["a", "b"], 10.1) == {"marks": {"a": {}}}


def test_where_looking_everywhere_is_dear_it_is_not_done_often() -> None:
    marks = Marks()
    marks.learn([claimed("a", "task", 1, 7)], is_full_scan=True, at=10.0, took=0.02)

    assert not marks.forget(10.9)
    assert marks.hints(["a", "b"], 10.9, before_sleep=True) == {"marks": {"a": {"t": [(1, 7)]}}}
    assert marks.hints(["a", "b"], 11.1, before_sleep=True) == {}
    assert marks.hints(["a", "b"], 11.1)
    assert marks.forget(11.1)


def test_of_very_many_queues_those_that_are_asked_first_have_marks() -> None:
    queues = [f"q{number}" for number in range(1000)]
    marks = Marks()
    claims = [claimed(queue, "task", 1, 7) for queue in queues]
    marks.learn(claims, is_full_scan=True, at=10.0, took=0.001)

    hints = marks.hints(["new", *reversed(queues)], 10.1)

    assert list(hints["marks"]) == [f"q{number}" for number in range(999, 949, -1)]
