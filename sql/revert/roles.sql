-- Revert currant:roles from pg

begin;

-- The roles belong to the whole cluster and stay.
revoke usage on schema currant from currant_client, currant_worker, currant_observer, currant_admin;

commit;
