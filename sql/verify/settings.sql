-- Verify currant:settings on pg

begin;

select
    is_only,
    hash_seed,
    max_payload_bytes,
    max_lost_activations,
    default_retries,
    default_timeout,
    default_workflow_timeout,
    default_retry_delay,
    default_retry_backoff,
    default_retry_max_delay
from currant.configuration
where false;

rollback;
