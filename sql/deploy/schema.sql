-- Deploy currant:schema to pg

begin;

create schema currant;

comment on schema currant is
'Durable execution: tasks and workflows that are queued, run, retried and replayed. The functions without a leading underscore are the public interface; the views are for reading; the tables are private.';

commit;
