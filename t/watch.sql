-- watch: who waits for an end. (That the notification is delivered needs two sessions.)

begin;

\ir lib/helpers.psql

select plan(10);

select test.stop_clock('2030-01-01 00:00:00+00');
select test.worker('watch') as worker \gset
select currant.enqueue('f', '{}', '{"queue": "watch"}') as id \gset
create function test.watched(id uuid) returns timestamptz language sql as $$
    select max(w.watching_until) from currant.watchers as w where w.execution_id = watched.id
$$;

select is(currant.watch(:'id'), 'pending', 'watch says how it is now');
select is(test.watched(:'id'), '2030-01-01 00:01:00+00', 'it is watched for a minute');
select currant.watch(:'id', '10 minutes') as status \gset
select is(test.watched(:'id'), '2030-01-01 00:10:00+00', 'or for as long as asked');
select currant.watch(:'id', '1 second') as status \gset
select is(test.watched(:'id'), '2030-01-01 00:10:00+00', 'one that watches for less does not end that');
select currant.watch(:'id', '1 week') as status \gset
select is(test.watched(:'id'), '2030-01-01 01:00:00+00', 'nobody watches for more than an hour');

select test.pass('2 hours');
select (currant.tick('recover')).done \gset
select is(test.watched(:'id'), null, 'tick forgets who has not come back');

select currant.watch(:'id') as status \gset
select token from currant.claim(:'worker', '{watch}', 1) \gset
select is(currant.complete(:'worker', :'id', :token, '1'), 'accepted', 'what is watched ends as anything else');
select test.pass('2 hours');
select (currant.tick('recover')).done \gset
select is(currant.watch(:'id'), 'completed', 'of what has ended it says how');
select is(test.watched(:'id'), null, 'and nobody needs to watch');
select throws_ok($$ select currant.watch(gen_random_uuid()) $$, 'KR004', null, 'what does not exist cannot be watched');

select * from finish();
rollback;
