-- version and settings: what client and worker ask first.

begin;

\ir lib/helpers.psql

select plan(8);

select matches(currant.version(), '^\d+\.\d+\.\d+$', 'the version has three parts');
select is((select count(*) from currant.settings()), 1::bigint, 'settings is one row');
select ok(hash_seed between 0 and 4294967295, 'the hash seed is one that Python takes') from currant.settings();
select is(max_payload_bytes, 1048576, 'a payload may have a mebibyte') from currant.settings();
select is(default_retries, 3, 'a task is tried again three times') from currant.settings();
select is(default_timeout, '5 minutes', 'an attempt may take five minutes') from currant.settings();
select is(default_workflow_timeout, '1 hour', 'a workflow may take an hour') from currant.settings();
update currant.configuration set default_retries = 7;
select currant.enqueue('f', '{}', '{"queue": "settings"}') as id \gset
select is((currant.status(:'id')).max_attempts, 8, 'an administrator''s change holds from the next call on');

select * from finish();
rollback;
