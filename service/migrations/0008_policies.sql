-- Policies that cascade, and templates of scopes.

-- A level's rules for an account and all below it. Nobody writes another level's row, so that no
-- level can take back what another asks. A new row asks nothing.
ALTER TABLE policy
    ADD CONSTRAINT policy_account_fk FOREIGN KEY (account_id) REFERENCES account (id),
    ADD CONSTRAINT policy_level_ck CHECK (level IN ('PLATFORM', 'RESELLER', 'ACCOUNT')),
    ADD CONSTRAINT policy_lifetime_ck CHECK (max_lifetime_days BETWEEN 1 AND 3650),
    ADD CONSTRAINT policy_cap_ck CHECK (token_cap BETWEEN 0 AND 10000),
    ADD CONSTRAINT policy_lists_ck CHECK (
        coalesce(cardinality(allowed_ip_ranges), 1) BETWEEN 1 AND 50
        AND coalesce(cardinality(allowed_scopes), 1) BETWEEN 1 AND 50
        AND coalesce(cardinality(notice_threshold_days), 1) BETWEEN 1 AND 10
    ),
    -- Only an account itself can keep its reseller's hands off.
    ADD CONSTRAINT policy_delegation_ck CHECK (allows_delegation OR level = 'ACCOUNT');
CREATE UNIQUE INDEX policy_level ON policy (account_id, level);
-- The few that change when people are told, for the notices.
CREATE INDEX policy_notices ON policy (account_id) WHERE notice_threshold_days IS NOT NULL;
ALTER TABLE policy ENABLE ROW LEVEL SECURITY;
CREATE POLICY reach ON policy USING (tokenward_reaches(account_id, reseller_id));

ALTER TABLE scope_template
    ADD CONSTRAINT scope_template_account_fk FOREIGN KEY (account_id) REFERENCES account (id),
    ADD CONSTRAINT scope_template_name_ck CHECK (char_length(name) BETWEEN 1 AND 50),
    ADD CONSTRAINT scope_template_scopes_ck CHECK (cardinality(scopes) BETWEEN 1 AND 50);
CREATE UNIQUE INDEX scope_template_name_taken ON scope_template (account_id, name);
ALTER TABLE scope_template ENABLE ROW LEVEL SECURITY;
CREATE POLICY reach ON scope_template USING (tokenward_reaches(account_id, reseller_id));

-- What comes from above --------------------------------------------------------------------------
-- The rows of a reseller and of the operator are beyond a customer's reach; what binds or serves it
-- comes through these two, for an account within the caller's own reach and no other. Both walk
-- past row-level security, so each asks for the reach itself.

CREATE FUNCTION policy_levels(of_account uuid) RETURNS TABLE (
    level text, max_lifetime_days integer, requires_address_limits boolean,
    allowed_ip_ranges text[], allowed_scopes text[], token_cap integer,
    notice_threshold_days integer[], allows_delegation boolean
)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT p.level, p.max_lifetime_days, p.requires_address_limits,
        p.allowed_ip_ranges, p.allowed_scopes, p.token_cap,
        p.notice_threshold_days, p.allows_delegation
    FROM account a JOIN policy p ON p.account_id = ANY (ARRAY[
        a.id, a.reseller_id, (SELECT o.id FROM account o WHERE o.kind = 'OPERATOR')
    ])
    WHERE a.id = of_account AND tokenward_reaches(a.id, a.reseller_id)
        -- Of a customer that has no reseller any more, nobody could take them back.
        AND (p.level <> 'RESELLER' OR p.reseller_id IS NOT NULL)
$$;
REVOKE EXECUTE ON FUNCTION policy_levels(uuid) FROM PUBLIC;

CREATE FUNCTION templates_for(of_account uuid) RETURNS TABLE (
    id uuid, owner_kind text, name text, description text, scopes text[],
    created_at timestamptz, version integer
)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT t.id, o.kind, t.name, t.description, t.scopes, t.created_at, t.version
    FROM account a JOIN account o ON o.id = ANY (ARRAY[
        a.id, a.reseller_id, (SELECT p.id FROM account p WHERE p.kind = 'OPERATOR')
    ])
    JOIN scope_template t ON t.account_id = o.id
    WHERE a.id = of_account AND tokenward_reaches(a.id, a.reseller_id)
$$;
REVOKE EXECUTE ON FUNCTION templates_for(uuid) FROM PUBLIC;
