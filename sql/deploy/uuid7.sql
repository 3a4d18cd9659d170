-- Deploy currant:uuid7 to pg
-- requires: now

begin;

-- RFC 9562 section 5.7: 48 bits of milliseconds, version 7, variant 10, the rest random. A random UUID already
-- carries the variant; its version nibble 0100 becomes 0111 by setting two bits.
create or replace function currant._uuid7()
returns uuid
language sql
volatile
begin atomic
    select encode(
        set_bit(
            set_bit(
                overlay(
                    uuid_send(gen_random_uuid())
                    placing substring(int8send(floor(extract(epoch from currant._now()) * 1000)::bigint) from 3)
                    from 1 for 6
                ),
                52, 1
            ),
            53, 1
        ),
        'hex'
    )::uuid;
end;

comment on function currant._uuid7() is
'A new time-ordered id (UUID version 7).';

revoke all on function currant._uuid7() from public;

commit;
