-- Deploy currant:take to pg
-- requires: ready
-- requires: types

begin;

-- From the name of one queue that has something to the next: a probe for each of those, and none for all the others.
create or replace function currant._stocked(queues text[], is_workflow boolean)
returns text[]
language plpgsql
stable
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set enable_nestloop = off
set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
set jit = off
as $$
declare
    _most constant integer := 50;
    _found text[] := array[]::text[];
    _queue text := '';
begin
    loop
        if is_workflow then
            select r.queue into _queue
            from currant.ready as r
            where r.is_workflow and r.queue > _queue
            order by r.queue
            limit 1;
        else
            select r.queue into _queue
            from currant.ready as r
            where r.queue > _queue
            order by r.queue
            limit 1;
        end if;
        exit when not found;
        _found := _found || _queue;
        if cardinality(_found) = _most then
            return queues;
        end if;
    end loop;
    return array(
        select q.name
        from unnest(_stocked.queues) with ordinality as q (name, n)
        join unnest(_found) as f (name) on f.name = q.name
        order by q.n
    );
end
$$;

comment on function currant._stocked(text[], boolean) is
'Those of the queues that have something ready, or (is_workflow) a workflow, in the given order; all of them if many queues have.';

revoke all on function currant._stocked(text[], boolean) from public;

-- Rows of ready are never updated, so a ctid found under "for update skip locked" still names the same row when it
-- is deleted. The locking sub-select runs once, inside array(). Marks split the index range of the queue into
-- segments: from the start to the first mark, from each mark to the next; what lies below a mark within its rank is
-- skipped, which is where the dead entries are that vacuum has not removed.
create or replace function currant._take(
    queue text,
    is_workflow boolean,
    wanted integer,
    last_rank integer,
    marks jsonb
)
returns currant._taken
language plpgsql
volatile
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set enable_sort = off
set plan_cache_mode = force_generic_plan
set jit = off
as $$
declare
    -- Marks that are none are ignored.
    _segments integer := case
        when jsonb_typeof(marks) = 'array'
            and not marks @? 'strict $[*] ? (
                @.type() != "array" || @.size() != 2 || @[0].type() != "number" || @[1].type() != "number"
            )'
            then jsonb_array_length(marks)
        else 0
    end;
    _taken currant._taken;
    _all currant._taken := row('{}', '{}', '{}', '{}')::currant._taken;
    _rank integer := -2147483648;
    _seq bigint := 0;
    _last_rank integer;
begin
    for _i in 0 .. _segments
    loop
        _last_rank := least(case when _i < _segments then (marks -> _i ->> 0)::integer - 1 end, last_rank);
        with gone as (
            delete from currant.ready as r
            where r.ctid = any (array(
                select c.ctid
                from currant.ready as c
                where
                    c.queue = _take.queue
                    and c.is_workflow = _take.is_workflow
                    and (c.rank, c.seq) >= (_rank, _seq)
                    and c.rank <= _last_rank
                order by c.rank, c.seq
                limit wanted - cardinality(_all.ids)
                for update skip locked
            ))
            returning r.execution_id, r.attempt, r.rank, r.seq
        )
        select array_agg(o.execution_id), array_agg(o.attempt), array_agg(o.rank), array_agg(o.seq)
        into _taken
        from (select g.execution_id, g.attempt, g.rank, g.seq from gone as g order by g.rank, g.seq) as o;
        if _taken.ids is not null then
            _all := row(
                _all.ids || _taken.ids, _all.attempts || _taken.attempts,
                _all.ranks || _taken.ranks, _all.seqs || _taken.seqs
            )::currant._taken;
        end if;
        exit when cardinality(_all.ids) >= wanted or _i = _segments;
        _rank := (marks -> _i ->> 0)::integer;
        _seq := (marks -> _i ->> 1)::bigint;
    end loop;
    return _all;
end
$$;

comment on function currant._take(text, boolean, integer, integer, jsonb) is
'Deletes and returns up to wanted rows of ready of one queue, best first, up to a rank, skipping what others hold. marks: [[rank, seq], …] in order of rank, where to start within a rank; only a hint.';

revoke all on function currant._take(text, boolean, integer, integer, jsonb) from public;

commit;
