-- Deploy currant:duration to pg
-- requires: schema

begin;

create or replace function currant._duration(option text, value jsonb)
returns interval
language plpgsql
immutable
set search_path = pg_catalog, pg_temp
as $$
declare
    _result interval;
begin
    if value is null or jsonb_typeof(value) = 'null' then
        return null;
    end if;
    if jsonb_typeof(value) = 'number' then
        _result := make_interval(secs => (value #>> '{}')::double precision);
    elsif jsonb_typeof(value) = 'string' then
        _result := (value #>> '{}')::interval;
    end if;
    if _result is null or _result < interval '0' or _result > interval '100 years' then
        raise exception using
            errcode = '22023',
            message = format('option %s is not a duration', option),
            detail = format('%s is %s', option, value),
            hint = 'give seconds as a number from 0, or an interval such as ''5 minutes''';
    end if;
    return _result;
-- A text that is no interval raises 22007 or 22008, a huge number 22003: the caller is told which option it was instead.
exception when invalid_datetime_format or datetime_field_overflow or interval_field_overflow or numeric_value_out_of_range then
    raise exception using
        errcode = '22023',
        message = format('option %s is not a duration', option),
        detail = format('%s is %s', option, value),
        hint = 'give seconds as a number from 0, or an interval such as ''5 minutes''';
end
$$;

comment on function currant._duration(text, jsonb) is
'A duration option (seconds, or an interval as text) as an interval; null stays null. Errors: 22023 naming the option.';

revoke all on function currant._duration(text, jsonb) from public;

commit;
