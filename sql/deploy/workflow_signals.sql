-- Deploy currant:workflow_signals to pg
-- requires: inbox
-- requires: history
-- requires: roles

begin;

create view currant.workflow_signals as
select i.workflow_id as execution_id, i.name, i.payload, i.arrived_at, false as is_applied
from currant.inbox as i
where i.kind = 'signal_received'
union all
select h.workflow_id, h.name, h.payload, h.at, true
from currant.history_entries as h
where h.kind = 'signal_received' and h.position = 0;

comment on view currant.workflow_signals is
'The signals sent to workflows: those that wait to be applied, and those that are in the history.';

grant select on currant.workflow_signals to currant_observer, currant_admin;

commit;
