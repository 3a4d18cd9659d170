-- Rules that every function, table, view and type of the schema keeps, read from the catalogue.

begin;

select plan(17);

create temporary view functions as
select p.oid, p.proname, p.oid::regprocedure as signature, left(p.proname, 1) = '_' as is_private,
    p.prosecdef, p.proconfig, p.prorettype = 'trigger'::regtype as is_trigger, l.lanname, p.provolatile
from pg_proc as p
join pg_language as l on l.oid = p.prolang
where p.pronamespace = 'currant'::regnamespace;

select cmp_ok(
    (select count(*) from functions where not is_private), '>=', 24::bigint,
    'there are functions to look at'
);

select is_empty(
    $$ select signature from functions where has_function_privilege('public', oid, 'execute') $$,
    'no function can be executed by everybody'
);

select is_empty(
    $$
    select f.signature, r.rolname from functions as f
    cross join (values ('currant_client'), ('currant_worker'), ('currant_observer'), ('currant_admin')) as r (rolname)
    where f.is_private and has_function_privilege(r.rolname, f.oid, 'execute')
    $$,
    'private functions are granted to nobody'
);

select is_empty(
    $$
    select signature from functions
    where not is_private and not has_function_privilege('currant_admin', oid, 'execute')
    $$,
    'an administrator can execute every public function'
);

select is_empty(
    $$ select signature from functions where not is_private and not prosecdef $$,
    'public functions run with the rights of their owner'
);

select is_empty(
    $$ select signature from functions where is_private and prosecdef $$,
    'private functions do not'
);

select is_empty(
    $$
    select signature from functions
    where (prosecdef or lanname = 'plpgsql')
    and 'search_path=pg_catalog, pg_temp' <> all (coalesce(proconfig, '{}'))
    $$,
    'the search path is pinned wherever a body is looked up at run time or runs with its owner''s rights'
);

select is_empty(
    $$ select signature from functions where lanname not in ('sql', 'plpgsql') $$,
    'no other language is needed'
);

select is_empty(
    $$ select proname from functions group by proname having count(*) > 1 $$,
    'no function name is overloaded'
);

select is_empty(
    $$ select signature from functions where obj_description(oid, 'pg_proc') is null $$,
    'every function says what it is for'
);

select is_empty(
    $$
    select signature from functions
    where not is_private and not is_trigger and prosecdef
    and obj_description(oid, 'pg_proc') !~ 'Errors' and lanname = 'plpgsql'
    $$,
    'public functions name the errors they raise'
);

select is_empty(
    $$
    select c.oid::regclass::text from pg_class as c
    where c.relnamespace = 'currant'::regnamespace and c.relkind in ('r', 'v', 'p')
    and obj_description(c.oid, 'pg_class') is null
    union all
    select t.oid::regtype::text from pg_type as t
    join pg_class as c on c.oid = t.typrelid and c.relkind = 'c'
    where t.typnamespace = 'currant'::regnamespace and t.typname !~ '^_'
    and obj_description(t.oid, 'pg_type') is null and obj_description(c.oid, 'pg_class') is null
    $$,
    'every table, view and public type says what it is for'
);

select is_empty(
    $$
    select c.conrelid::regclass, c.conname from pg_constraint as c
    where c.connamespace = 'currant'::regnamespace and c.contype = 'f'
    $$,
    'there are no foreign keys'
);

-- The cost of a plan that was switched off is what would make JIT compile for it.
select is_empty(
    $$
    select p.oid::regprocedure from pg_proc as p
    where
        p.pronamespace = 'currant'::regnamespace
        and 'enable_seqscan=off' = any (p.proconfig)
        and not 'jit=off' = any (p.proconfig)
    $$,
    'a function that switches plans off switches JIT off too'
);

select set_eq(
    $$
    select f.signature::text from functions as f
    join pg_proc as p on p.oid = f.oid
    where
        coalesce(pg_get_function_sqlbody(p.oid), p.prosrc)
        ~* '(insert\s+into|update|delete\s+from|merge\s+into)\s+(currant\.)?history_entries'
    $$,
    array[
        'currant._record_arrivals(currant._activation[])',
        'currant._record_beginnings(currant._activation[])',
        'currant._record_commands(currant._command[])',
        'currant._record_ends(currant._activation[],currant._ended)'
    ],
    'nobody but advance and step_many write a history'
);

select is_empty(
    $$
    select p.oid::regprocedure from pg_proc as p
    where
        p.pronamespace = 'currant'::regnamespace and p.proname <> '_apply_activations'
        and p.prosrc ~ '_record_(arrivals|beginnings|commands|ends)\('
    $$,
    'nor has it written'
);

select exists (select from pg_available_extensions where name = 'plpgsql_check') as has_plpgsql_check \gset
\if :has_plpgsql_check
create extension if not exists plpgsql_check;
select is_empty(
    $$
    select f.signature, c.lineno, c.level, c.message, c.query
    from functions as f
    left join pg_trigger as t on f.is_trigger and t.tgfoid = f.oid
    cross join plpgsql_check_function_tb(
        f.oid, coalesce(t.tgrelid, 0), newtable := case when f.is_trigger then 'new_rows' end,
        other_warnings := true, extra_warnings := true, performance_warnings := false, security_warnings := true
    ) as c
    where f.lanname = 'plpgsql'
    $$,
    'plpgsql_check finds nothing'
);
\else
select skip('plpgsql_check is not available on this server', 1);
\endif

select * from finish();
rollback;
