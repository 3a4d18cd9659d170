#!/usr/bin/env bash
# A worker in another language: bash and psql. It speaks to Currant through the SQL functions alone.
#   CURRANT_DATABASE_URL=postgresql://… examples/worker.sh
#   select currant.enqueue('checksum', '{"path": "/etc/hostname"}');
set -euo pipefail
interval=${CURRANT_WORKER_HEARTBEAT_INTERVAL:-5} timeout=${CURRANT_WORKER_HEARTBEAT_TIMEOUT:-30}
poll=${CURRANT_WORKER_POLL_INTERVAL:-1}

# sql STATEMENT NAME=VALUE…: the statement may use :'NAME', a value that psql has quoted.
sql() {
    local statement=$1 value variables=()
    shift
    for value in "$@"; do variables+=(--set "$value"); done
    psql "$CURRANT_DATABASE_URL" --no-psqlrc --quiet --tuples-only --no-align --set ON_ERROR_STOP=1 \
        --field-separator=$'\t' "${variables[@]}" <<<"$statement"
}

# The tasks get their arguments as JSON. What they print is the result or, if they fail, the error.
task_checksum() {
    local path
    path=$(sql "select :'args'::jsonb ->> 'path'" "args=$1") && sha256sum <"$path"
}

# Runs the task in a process of its own while this one says that it is alive, and hears whether the
# lease is still ours (lost) and still wanted (cancel).
run() {
    local pulse answer='' code=0
    set -o monitor # gives it a process group, which can be killed as a whole
    "task_$function" "$args" >"$output" 2>&1 &
    task=$!
    set +o monitor
    while [ -z "$answer" ] && kill -0 "$task" 2>/dev/null; do
        sleep "$interval" &
        pulse=$!
        wait -n "$task" "$pulse" || true
        kill "$pulse" 2>/dev/null || true
        answer=$(sql "select answer from currant.heartbeat(:'worker', array[:'id'::uuid],
            array[:'token'::bigint])" "${lease[@]}")
    done
    [ -z "$answer" ] || kill -- -"$task" 2>/dev/null || true
    wait "$task" || code=$?
    task=''
    if [ "$answer" = lost ]; then
        echo "lost $id, attempt $attempt"
    elif [ "$code" = 0 ]; then
        report "select currant.complete(:'worker', :'id', :'token', to_jsonb(:'text'::text))"
    else
        report "select currant.fail(:'worker', :'id', :'token',
            jsonb_build_object('type', 'ShellError', 'message', :'text'))"
    fi
}

# Says how the task ended: again while a row is locked by somebody else (busy). The answer is
# accepted, already or lost.
report() {
    local word=busy
    while [ "$word" = busy ]; do word=$(sql "$1" "${lease[@]}" "text=$(cat "$output")"); done
    echo "$word $id, attempt $attempt, exit code $code"
}

stopping=''
output=$(mktemp)
worker=$(sql "select currant.register_worker(jsonb_build_object('host', :'host', 'pid', :'pid'::integer,
    'queues', array['shell'], 'heartbeat_timeout', :'timeout'::numeric, 'functions', jsonb_build_array(
        jsonb_build_object('name', 'checksum', 'queue', 'shell', 'retries', 3, 'retry_delay', 1))))" \
    "host=$HOSTNAME" "pid=$$" "timeout=$timeout")
leave() {
    [ -z "${task:-}" ] || kill -- -"$task" 2>/dev/null || true
    rm -f "$output"
    sql "select currant.deregister_worker(:'worker')" "worker=$worker" >/dev/null
}
trap leave EXIT
trap stopping=yes TERM INT
echo "worker $worker"

# Any error ends this process, such as having been declared dead (KR002): start it again, and it
# registers anew. Every worker also does a share of the maintenance, with tick().
while [ -z "$stopping" ]; do
    claimed=$(sql "select currant.tick() \g /dev/null
        select currant.heartbeat(:'worker', '{}', '{}') \g /dev/null
        select execution_id, token, function, attempt, args
        from currant.claim(:'worker', array['shell'], 1)" "worker=$worker")
    if [ -n "$claimed" ]; then
        IFS=$'\t' read -r id token function attempt args <<<"$claimed"
        lease=("worker=$worker" "id=$id" "token=$token")
        run
    else
        sleep "$poll" &
        wait $! || true
    fi
done
