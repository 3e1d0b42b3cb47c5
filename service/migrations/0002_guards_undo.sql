-- Takes 0002_guards.sql back, in the opposite order.

DROP FUNCTION credential_by_digest(bytea);
CREATE FUNCTION credential_by_digest(wanted bytea) RETURNS TABLE (
    token_id uuid, secret_id uuid, kind text, account_id uuid, account_kind text, reseller_id uuid,
    member_id uuid, token_scopes text[], account_scopes text[], reseller_scopes text[],
    allowed_ip_ranges text[], created_at timestamptz, not_before timestamptz,
    expires_at timestamptz, retires_at timestamptz, revoked boolean, suspended boolean
)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT t.id, s.id, t.kind, t.account_id, a.kind, a.reseller_id,
        t.member_id, t.scopes, a.grantable_scopes, r.grantable_scopes,
        t.allowed_ip_ranges, t.created_at, t.not_before,
        t.expires_at, s.retires_at, t.revoked_at IS NOT NULL,
        coalesce(t.suspended_at, a.suspended_at, a.closed_at, r.suspended_at, r.closed_at,
                 m.disabled_at) IS NOT NULL
    FROM secret s
    JOIN api_token t ON t.id = s.token_id
    JOIN account a ON a.id = t.account_id
    LEFT JOIN account r ON r.id = a.reseller_id AND r.id <> a.id
    LEFT JOIN member m ON m.id = t.member_id AND t.kind = 'SESSION'
    WHERE s.digest = wanted
$$;
REVOKE EXECUTE ON FUNCTION credential_by_digest(bytea) FROM PUBLIC;

DROP INDEX api_token_canary;
DROP FUNCTION forget_canaries(timestamptz);

CREATE OR REPLACE FUNCTION secret_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.id, NEW.token_id, NEW.digest, NEW.pepper_id)
        IS DISTINCT FROM (OLD.id, OLD.token_id, OLD.digest, OLD.pepper_id) THEN
        RAISE EXCEPTION 'a secret is replaced, never changed' USING ERRCODE = 'check_violation';
    END IF;
    IF OLD.retires_at IS NOT NULL AND (NEW.retires_at IS NULL OR NEW.retires_at > OLD.retires_at) THEN
        RAISE EXCEPTION 'a retirement is never put off' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;

DROP FUNCTION account_guard() CASCADE;
ALTER TABLE replay DROP CONSTRAINT replay_token_fk;
DROP POLICY reach ON replay;
DROP INDEX outbox_event_receipt;
ALTER TABLE secret DROP CONSTRAINT secret_retired_ck;
DROP INDEX secret_retiring;
DROP INDEX secret_live;
DROP INDEX secret_current;
ALTER TABLE api_token DROP COLUMN audiences;
