#!/usr/bin/env bash
# A worker in another language: bash and psql. It speaks to Currant through the SQL functions alone.
#   CURRANT_DATABASE_URL=postgresql://… examples/worker.sh
#   select currant.enqueue('checksum', '{"path": "/etc/hostname"}');
set -euo pipefail
interval=${CURRANT_WORKER_HEARTBEAT_INTERVAL:-5} timeout=${CURRANT_WORKER_HEARTBEAT_TIMEOUT:-30}
poll=${CURRANT_WORKER_POLL_INTERVAL:-1}

# sql STATEMENT NAME=VALUE…: the statement may use :'NAME'; psql quotes the values.
sql() {
    local statement=$1 value variables=()
    shift
    for value in "$@"; do variables+=(--set "$value"); done
    psql "$CURRANT_DATABASE_URL" --no-psqlrc --quiet --tuples-only --no-align --field-separator=$'\t' \
        --set ON_ERROR_STOP=1 ${variables[@]+"${variables[@]}"} <<<"$statement"
}

# The tasks: arguments come as JSON; what is printed is the result, or, with a failure, the error.
task_checksum() {
    local path
    path=$(sql "select :'args'::jsonb ->> 'path'" "args=$1")
    sha256sum <"$path"
}

# Repeated while a row is locked by somebody else; prints accepted, already or lost.
report() {
    local word=busy
    while [ "$word" = busy ]; do word=$(sql "$@" "worker=$worker" "id=$id" "token=$token"); done
    echo "$word $id, attempt $attempt"
}

# The task runs in a process of its own, while this one says that it is alive and listens to whether
# the lease is still ours.
run() {
    local task pulse answer=
    (set -o pipefail; "task_$function" "$args" 2>&1) >"$output" & task=$!
    while kill -0 "$task" 2>/dev/null && [ -z "$answer" ]; do
        sleep "$interval" & pulse=$!
        wait -n "$task" "$pulse" || true
        kill "$pulse" 2>/dev/null || true
        answer=$(sql "select answer from currant.heartbeat(:'worker', array[:'id'::uuid],
            array[:'token'::bigint])" "worker=$worker" "id=$id" "token=$token")
        [ -z "$answer" ] || pkill -P "$task" || true
    done
    if [ "$answer" = lost ]; then
        echo "lost $id, attempt $attempt"
    elif wait "$task"; then
        report "select currant.complete(:'worker', :'id', :'token', to_jsonb(:'text'::text))" \
            "text=$(cat "$output")"
    else
        report "select currant.fail(:'worker', :'id', :'token',
            jsonb_build_object('type', 'ShellError', 'message', :'text'))" "text=$(tail -n 1 "$output")"
    fi
}

output=$(mktemp) stopping=
trap stopping=1 TERM INT
worker=$(sql "select currant.register_worker(jsonb_build_object('host', :'host', 'pid', :'pid',
    'queues', array['shell'], 'heartbeat_timeout', :'timeout'::numeric, 'functions', jsonb_build_array(
        jsonb_build_object('name', 'checksum', 'queue', 'shell', 'retries', 3, 'retry_delay', 1))))" \
    "host=$(hostname)" "pid=$$" "timeout=$timeout")
# A worker that was declared dead meanwhile (KR002) ends here with an error; start a new one.
trap 'rm -f "$output"; kill $(jobs -p) 2>/dev/null; sql "select currant.deregister_worker(:'\''worker'\'')" \
    "worker=$worker" >/dev/null' EXIT
echo "worker $worker"
while [ -z "$stopping" ]; do
    # Whoever is alive moves what has become due and takes over from the dead.
    IFS=$'\t' read -r id token function attempt args < <(sql "select from currant.tick();
        select from currant.heartbeat(:'worker', '{}', '{}');
        select execution_id, token, function, attempt, args
        from currant.claim(:'worker', array['shell'], 1)" "worker=$worker") || id=
    if [ -n "$id" ]; then run; else sleep "$poll" & wait $! || true; fi
done
