-- A server in recovery may not have heard of a revoke yet. What is read there would be as young as
-- any answer and be believed by the whole fleet, so nothing is: whoever asks there is told so, also
-- of a digest that is not there yet. In the question itself, because a failover or a list of
-- addresses may move a connection at any time.
-- Rights and owner stay as they were.

CREATE OR REPLACE FUNCTION credential_by_digest(wanted bytea) RETURNS TABLE (
    token_id uuid, secret_id uuid, kind text, account_id uuid, account_kind text, reseller_id uuid,
    member_id uuid, token_scopes text[], account_scopes text[], reseller_scopes text[],
    allowed_ip_ranges text[], audiences text[], created_at timestamptz, not_before timestamptz,
    expires_at timestamptz, retires_at timestamptz, revoked boolean, suspended boolean
)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF pg_is_in_recovery() THEN
        RAISE EXCEPTION 'credentials are read from a primary alone'
            USING ERRCODE = 'read_only_sql_transaction';
    END IF;
    RETURN QUERY
    SELECT t.id, s.id, t.kind::text, t.account_id, a.kind::text, a.reseller_id,
        t.member_id, t.scopes, a.grantable_scopes, r.grantable_scopes,
        t.allowed_ip_ranges, t.audiences, t.created_at, t.not_before,
        -- What was ended by an act has ended by everybody's clock.
        t.expires_at, CASE WHEN s.retired_at IS NULL THEN s.retires_at ELSE 'epoch' END,
        t.revoked_at IS NOT NULL,
        coalesce(t.suspended_at, a.suspended_at, a.closed_at, r.suspended_at, r.closed_at,
                 m.disabled_at) IS NOT NULL
    FROM secret s
    JOIN api_token t ON t.id = s.token_id
    JOIN account a ON a.id = t.account_id
    LEFT JOIN account r ON r.id = a.reseller_id AND r.id <> a.id
    LEFT JOIN member m ON m.id = t.member_id AND t.kind = 'SESSION'
    WHERE s.digest = wanted;
END $$;
