"""What must be true of the tables whenever anything is committed, and when nothing is left to do.

Each is a sentence and a query for the rows that contradict it. A query is one statement, hence one
snapshot: executions move between the tables while others look.
"""

from __future__ import annotations

from typing import Any

from tests.concurrency.support import Session

ALWAYS = {
    "an execution has at most one lease": """
        select execution_id, count(*) from currant.leases group by 1 having count(*) > 1
    """,
    "an open task is in exactly one place": """
        select e.id, p.places
        from currant.executions as e
        cross join lateral (
            select array(
                select 'ready' from currant.ready where execution_id = e.id
                union all select 'delayed ' || kind from currant.delayed
                    where execution_id = e.id and kind <> 'force'
                union all select 'leased' from currant.leases where execution_id = e.id
            ) as places
        ) as p
        where e.kind = 'task' and cardinality(p.places) <> 1
            and not exists (select from currant.outcomes where execution_id = e.id)
    """,
    "a task that has ended is in no place": """
        select e.id, r.execution_id, d.kind, l.token
        from currant.executions as e
        join currant.outcomes as o on o.execution_id = e.id
        left join currant.ready as r on r.execution_id = e.id
        left join currant.delayed as d on d.execution_id = e.id and d.kind <> 'force'
        left join currant.leases as l on l.execution_id = e.id
        where e.kind = 'task' and num_nonnulls(r.execution_id, d.kind, l.token) > 0
    """,
    "the attempt to start is one more than those that went wrong": """
        select e.id, p.place, p.attempt, b.bad, e.max_attempts
        from currant.executions as e
        join (
            select execution_id, 'ready' as place, attempt from currant.ready
            union all select execution_id, kind, attempt from currant.delayed where kind <> 'force'
            union all select execution_id, 'leased', attempt from currant.leases
        ) as p on p.execution_id = e.id
        cross join lateral (
            select count(*) as bad from currant.attempts where execution_id = e.id
        ) as b
        where e.kind = 'task' and (p.attempt <> b.bad + 1 or p.attempt > e.max_attempts)
    """,
    "an execution has a workflows row exactly while it is an open workflow": """
        select e.id, e.kind, o.status, w.execution_id
        from currant.executions as e
        left join currant.workflows as w on w.execution_id = e.id
        left join currant.outcomes as o on o.execution_id = e.id
        where (e.kind = 'workflow' and o.status is null) <> (w.execution_id is not null)
    """,
    "a workflow that has ended holds no lease": """
        select o.execution_id, l.token
        from currant.outcomes as o join currant.leases as l on l.execution_id = o.execution_id
    """,
    "an open workflow with something to do is leased or will be claimed": """
        select w.execution_id, w.last_event, w.blocked_reason
        from currant.workflows as w
        where not exists (select from currant.leases where execution_id = w.execution_id)
            and not case
                when w.last_event < w.first_event or w.blocked_reason is not null then
                    exists (
                        select from currant.ready
                        where execution_id = w.execution_id and attempt = 1
                    )
                    or exists (
                        select from currant.delayed
                        where execution_id = w.execution_id and (
                            kind in ('start', 'blocked') or kind = 'wake' and attempt = 1
                        )
                    )
                else
                    not exists (select from currant.inbox where workflow_id = w.execution_id)
                    or exists (select from currant.ready where execution_id = w.execution_id)
                    or exists (
                        select from currant.delayed
                        where execution_id = w.execution_id and kind = 'wake'
                    )
            end
    """,
    "what arrives for a workflow that has ended has a wake row, by which it is dealt with": """
        select i.workflow_id, i.arrival, i.kind
        from currant.inbox as i
        where (i.kind <> 'signal_received' or i.restart is not null)
            and not exists (select from currant.workflows where execution_id = i.workflow_id)
            and not exists (select from currant.ready where execution_id = i.workflow_id)
            and not exists (
                select from currant.delayed where execution_id = i.workflow_id and kind = 'wake'
            )
    """,
    "an open workflow knows how many of its tasks and children it has not heard of": """
        select w.execution_id, w.open_tasks, w.open_children, c.tasks, c.children
        from currant.workflows as w
        cross join lateral (
            select
                count(*) filter (where e.kind = 'task') as tasks,
                count(*) filter (where e.kind = 'workflow') as children
            from currant.executions as e
            where e.parent_id = w.execution_id and not exists (
                select from currant.history_entries as h
                where h.workflow_id = w.execution_id and h.child_id = e.id and h.position = 0
                    and h.kind not like 'attached%'
            )
        ) as c
        where (w.open_tasks, w.open_children) <> (c.tasks, c.children)
    """,
    "an open workflow has been told of each task and child that ended, once": """
        select w.execution_id, e.id, t.times
        from currant.workflows as w
        join currant.executions as e on e.parent_id = w.execution_id
        left join currant.outcomes as o on o.execution_id = e.id
        cross join lateral (
            select
                (select count(*) from currant.inbox as i
                where i.workflow_id = w.execution_id and i.child_id = e.id
                    and i.kind not like 'attached%')
                + (select count(*) from currant.history_entries as h
                where h.workflow_id = w.execution_id and h.child_id = e.id and h.position = 0
                    and h.kind not like 'attached%')
                as times
        ) as t
        where t.times <> case when o.status is null then 0 else 1 end
    """,
    "an attached workflow is told of the end, or is going to be": """
        select x.workflow_id, x.number, x.execution_id
        from currant.watchers as x
        join currant.workflows as w on w.execution_id = x.workflow_id
        join currant.outcomes as o on o.execution_id = x.execution_id
        where not exists (
                select from currant.delayed as d
                where d.execution_id = x.workflow_id and d.number = x.number and d.kind = 'attach'
            )
            and not exists (
                select from currant.inbox as i
                where i.workflow_id = x.workflow_id and i.number = x.number
            )
            and not exists (
                select from currant.history_entries as h
                where h.workflow_id = x.workflow_id and h.number = x.number and h.position = 0
            )
    """,
    "nobody hears twice of what it attached to": """
        select workflow_id, number, count(*)
        from (
            select workflow_id, number from currant.inbox where kind like 'attached%'
            union all
            select workflow_id, number from currant.history_entries
            where position = 0 and kind like 'attached%'
        ) as t
        group by 1, 2 having count(*) > 1
    """,
    "events of a history are numbered from 1 without a gap, up to the workflow's last": """
        select h.workflow_id, h.events, h.last, w.last_event
        from (
            select workflow_id, count(*) as events, max(event) as last
            from currant.history_entries where position = 0 group by workflow_id
        ) as h
        left join currant.workflows as w on w.execution_id = h.workflow_id
        where h.events <> h.last or h.last <> coalesce(w.last_event, h.last)
    """,
    "a history's commands belong to its events, and are numbered from 1 without a gap": """
        select c.workflow_id, c.event, c.position
        from currant.history_entries as c
        where c.position > 0 and not exists (
            select from currant.history_entries as p
            where p.workflow_id = c.workflow_id and p.event = c.event
                and p.position = c.position - 1
        )
    """,
    "a history answers each command at most once": """
        select workflow_id, number, count(*)
        from currant.history_entries
        where position = 0 and number is not null
        group by 1, 2 having count(*) > 1
    """,
    "a history answers what it has asked for before": """
        select e.workflow_id, e.event, e.kind, e.number
        from currant.history_entries as e
        where e.position = 0 and e.number is not null and not exists (
            select from currant.history_entries as c
            where c.workflow_id = e.workflow_id and c.number = e.number and c.position > 0
                and c.event < e.event and c.kind <> 'cancel'
        )
    """,
    "the numbered commands of a history are numbered once each": """
        select workflow_id, number, count(*)
        from currant.history_entries
        where position > 0 and number is not null and kind <> 'cancel'
        group by 1, 2 having count(*) > 1
    """,
    "a history never goes back in time": """
        select workflow_id, event, at, before
        from (
            select workflow_id, event, at,
                lag(at) over (partition by workflow_id order by event) as before
            from currant.history_entries where position = 0
        ) as h
        where at < before
    """,
}

AT_THE_END = {
    "everything asked for has ended": """
        select e.id, e.kind, e.queue
        from currant.executions as e
        where not exists (select from currant.outcomes as o where o.execution_id = e.id)
    """,
    "nothing is left of what has ended": """
        select 'ready', execution_id from currant.ready
        union all select 'delayed ' || kind, execution_id from currant.delayed
        union all select 'leases', execution_id from currant.leases
        union all select 'workflows', execution_id from currant.workflows
        union all select 'watchers', workflow_id from currant.watchers where workflow_id is not null
        union all select 'inbox ' || kind, workflow_id from currant.inbox
            where kind <> 'signal_received' or restart is not null
    """,
}


def check_always(session: Session) -> None:
    """Assert what has to be true at any moment."""
    contradictions = _contradictions(session, ALWAYS)
    assert not contradictions, contradictions


def check_at_the_end(session: Session) -> None:
    """Assert what has to be true when nothing is left to do."""
    contradictions = _contradictions(session, ALWAYS | AT_THE_END)
    assert not contradictions, contradictions


def _contradictions(session: Session, sentences: dict[str, str]) -> dict[str, list[Any]]:
    # One round trip tells whether there is any; then each query shows its rows.
    doubts = " union all ".join(
        f"select $${sentence}$$ where exists ({query})" for sentence, query in sentences.items()
    )
    return {row[0]: session.execute(sentences[row[0]]) for row in session.execute(doubts)}
