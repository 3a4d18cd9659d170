-- Revert currant:read_activations from pg

begin;

drop function currant._read_activations(jsonb, boolean);
drop function currant._check_sizes(currant._activation[]);

commit;
