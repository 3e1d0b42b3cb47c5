-- Takes 0008_policies.sql back, in the opposite order; the tables go after it.

DROP FUNCTION templates_for(uuid);
DROP FUNCTION policy_levels(uuid);
DROP POLICY reach ON scope_template;
DROP POLICY reach ON policy;
