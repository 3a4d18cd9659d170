-- What rows of the tables that all work goes through must be like. Databases that the suite's fixtures make check it;
-- an installation does not, since the server would parse these conditions again for every statement: a seventh of an
-- enqueue. Only functions write to these tables, and refuse what comes from outside by themselves.

alter table currant.delayed
drop constraint if exists delayed_kind_is_known,
add constraint delayed_kind_is_known check (
    kind in ('start', 'retry', 'release', 'blocked', 'wake', 'timer', 'deadline', 'attach', 'force')
);

alter table currant.executions
drop constraint if exists executions_kind_is_known,
drop constraint if exists executions_parent_has_command,
drop constraint if exists executions_max_attempts_is_positive,
drop constraint if exists executions_on_parent_end_is_known,
add constraint executions_kind_is_known check (kind in ('task', 'workflow')),
add constraint executions_parent_has_command check ((parent_id is null) = (command_number is null)),
add constraint executions_max_attempts_is_positive check (max_attempts >= 1),
add constraint executions_on_parent_end_is_known check (on_parent_end in ('cancel', 'abandon'));

alter table currant.inbox
drop constraint if exists inbox_kind_is_known,
add constraint inbox_kind_is_known check (
    kind in (
        'task_completed', 'task_failed', 'child_completed', 'child_failed', 'attached_completed',
        'attached_failed', 'timer_fired', 'signal_received', 'cancel_requested'
    )
);

alter table currant.outcomes
drop constraint if exists outcomes_status_is_known,
drop constraint if exists outcomes_error_if_not_completed,
add constraint outcomes_status_is_known check (status in ('completed', 'failed', 'cancelled')),
add constraint outcomes_error_if_not_completed check ((status = 'completed') = (error is null));

alter table currant.workflows
drop constraint if exists workflows_open_tasks_is_not_negative,
drop constraint if exists workflows_open_children_is_not_negative,
add constraint workflows_open_tasks_is_not_negative check (open_tasks >= 0),
add constraint workflows_open_children_is_not_negative check (open_children >= 0);
