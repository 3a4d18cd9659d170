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
    if jsonb_typeof(value) = 'number' then
        -- Bounded and rounded before the conversion, which fails for what is too large or too small.
        if abs(value::numeric) < 1e10 then
            _result := make_interval(secs => round(value::numeric, 6)::double precision);
        end if;
    elsif jsonb_typeof(value) = 'string' then
        begin
            _result := (value #>> '{}')::interval;
        -- A text that is no interval: the caller is told below which option it was.
        exception when
            invalid_datetime_format or datetime_field_overflow or interval_field_overflow
            or numeric_value_out_of_range
        then
            null;
        end;
    elsif value is null or jsonb_typeof(value) = 'null' then
        return null;
    end if;
    if _result is null or _result < interval '0' or _result > interval '100 years' then
        raise exception using
            errcode = '22023',
            message = format('option %s is not a duration', option),
            detail = format('%s is %s', option, value),
            hint = 'give seconds as a number from 0, or an interval such as ''5 minutes''';
    end if;
    return _result;
end
$$;

comment on function currant._duration(text, jsonb) is
'A duration option (seconds, or an interval as text) as an interval; null stays null. Errors: 22023 naming the option.';

revoke all on function currant._duration(text, jsonb) from public;

commit;
