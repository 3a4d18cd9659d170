-- Deploy currant:types to pg
-- requires: schema

begin;

create type currant.claimed as (
    execution_id uuid,
    token bigint,
    kind text,
    function text,
    version integer,
    queue text,
    rank integer,
    seq bigint,
    attempt integer,
    max_attempts integer,
    args jsonb,
    headers jsonb,
    parent_id uuid,
    root_id uuid,
    created_at timestamptz,
    claimed_at timestamptz,
    timeout interval,
    details jsonb,
    last_event integer,
    last_command integer,
    inbox jsonb,
    first_event integer,
    carried jsonb,
    command_number integer
);
comment on type currant.claimed is
'An execution that a worker holds a lease on. The last is, of a task that a workflow asked for, the number of that command. The five before it are for workflows: how far its history goes, what has arrived since, in the order to apply it (a part of it if it is much; the rest comes with the next claim; claimed_at is the time of those events), and the event that its present run starts with: 1, unless it has continued as new. args are those of the present run; carried, only before its first event, are the signals that the run before had not read.';

create type currant.history_entry as (
    event integer,
    position integer,
    kind text,
    number integer,
    name text,
    payload jsonb,
    execution_id uuid,
    source text,
    at timestamptz
);
comment on type currant.history_entry is
'One line of a workflow''s history: an event (position 0) or a command that the event caused.';

create type currant.execution_state as (
    id uuid,
    kind text,
    function text,
    version integer,
    queue text,
    priority integer,
    status text,
    attempt integer,
    max_attempts integer,
    args jsonb,
    result jsonb,
    error jsonb,
    headers jsonb,
    key text,
    parent_id uuid,
    root_id uuid,
    created_at timestamptz,
    started_at timestamptz,
    finished_at timestamptz,
    due_at timestamptz,
    worker_id uuid,
    waits_for text,
    is_cancel_requested boolean,
    retry_of uuid,
    details jsonb,
    attempts jsonb,
    unread_signals jsonb
);
comment on type currant.execution_state is
'Everything that is known of one execution at one moment.';

create type currant.heartbeat_answer as (
    execution_id uuid,
    token bigint,
    answer text
);
comment on type currant.heartbeat_answer is
'A lease that needs attention: lost (stop, the work is somebody else''s), or cancel (cancellation was asked for).';

create type currant.tick_result as (
    done integer,
    more boolean,
    next_due_in interval
);
comment on type currant.tick_result is
'What a round of maintenance moved, whether it left something that is due, and how long until the next thing is.';

-- Private: what an enqueue resolves its options to.
create type currant._policy as (
    kind text,
    version integer,
    queue text,
    priority integer,
    max_attempts integer,
    timeout interval,
    retry_delay interval,
    retry_backoff double precision,
    retry_max_delay interval,
    due_at timestamptz,
    headers jsonb,
    max_payload_bytes integer
);

-- Private: rows of ready that a claim took.
create type currant._taken as (
    ids uuid[],
    attempts integer[],
    ranks integer[],
    seqs bigint[]
);

-- Private: an activation that is to be committed. The first part is what was asked, the second what the asking says,
-- the last what is known once it is accepted.
create type currant._activation as (
    n integer,
    execution uuid,
    token bigint,
    loaded integer,
    at timestamptz,
    arrivals bigint[],
    ended bigint[],
    commands jsonb,
    options jsonb,
    kinds text[],
    earliest integer,
    latest integer,
    last_command integer,
    final jsonb,
    begins boolean,
    last_event integer,
    is_armed boolean,
    is_blocked boolean
);

-- Private: a command of a workflow, and the time of the event that caused it.
create type currant._command as (
    workflow_id uuid,
    at timestamptz,
    event integer,
    n bigint,
    kind text,
    number integer,
    name text,
    source text,
    payload jsonb
);

-- Private: tasks that have just been completed, by their places.
create type currant._ended as (
    tokens bigint[],
    executions uuid[],
    parents uuid[],
    numbers integer[]
);

-- Private: tasks and children that have been created: what is leased at once, as step_many returns it, and the workflows
-- of the tasks and of the children, one for each.
create type currant._started as (
    leases json,
    of_tasks uuid[],
    of_children uuid[]
);

-- Private: how a workflow ends, under which lease.
create type currant._end as (
    execution_id uuid,
    status text,
    result jsonb,
    error jsonb,
    token bigint
);

commit;
