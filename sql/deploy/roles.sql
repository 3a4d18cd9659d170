-- Deploy currant:roles to pg
-- requires: schema

begin;

-- Roles belong to the whole cluster: created where missing, never dropped. Two databases of one
-- cluster may be deployed at the same time, hence the exception: the loser finds the role there.
do $$
declare
    _role text;
begin
    foreach _role in array array['currant_client', 'currant_worker', 'currant_observer', 'currant_admin']
    loop
        if not exists (select from pg_catalog.pg_roles as r where r.rolname = _role) then
            begin
                execute format('create role %I nologin', _role);
            exception when duplicate_object or unique_violation then
                null;
            end;
        end if;
    end loop;
    if not pg_has_role('currant_admin', 'currant_client', 'member')
        or not pg_has_role('currant_admin', 'currant_worker', 'member')
        or not pg_has_role('currant_admin', 'currant_observer', 'member')
    then
        grant currant_client, currant_worker, currant_observer to currant_admin;
    end if;
end
$$;

grant usage on schema currant to currant_client, currant_worker, currant_observer, currant_admin;

commit;
