-- A change is made only while the credential behind it lives here, whatever a validator still
-- believes of it: else one that was revoked a moment ago could make another, which would live on.
-- The service asks as its transaction begins, in the same round trip, at the instant of its clock.
-- An act that is under way when the credential ends counts as done before.

CREATE FUNCTION require_credential(
    of_token uuid, of_secret uuid, at timestamptz, address inet, held text[]
) RETURNS void
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    granted record;
BEGIN
    -- As credential_by_digest tells it, and as validators judge it.
    SELECT t.scopes AS own, a.grantable_scopes AS account, r.grantable_scopes AS reseller
    INTO granted
    FROM secret s
    JOIN api_token t ON t.id = s.token_id
    JOIN account a ON a.id = t.account_id
    LEFT JOIN account r ON r.id = a.reseller_id AND r.id <> a.id
    LEFT JOIN member m ON m.id = t.member_id AND t.kind = 'SESSION'
    WHERE s.id = of_secret AND s.token_id = of_token
        AND coalesce(t.revoked_at, t.suspended_at, a.suspended_at, a.closed_at,
                     r.suspended_at, r.closed_at, m.disabled_at, s.retired_at) IS NULL
        AND coalesce(at < least(t.expires_at, s.retires_at), true)
        AND coalesce(at >= t.not_before, true)
        AND cardinality(t.audiences) = 0
        AND (cardinality(t.allowed_ip_ranges) = 0 OR EXISTS (
            SELECT FROM unnest(t.allowed_ip_ranges) allowed WHERE address <<= allowed::inet));
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the credential has ended' USING ERRCODE = 'TW401';
    END IF;
    IF EXISTS (
        SELECT FROM unnest(held) scope,
            LATERAL (SELECT ARRAY['*', scope, split_part(scope, ':', 1) || ':*'] AS covering) c
        WHERE NOT (covering && granted.own AND covering && granted.account
                   AND (granted.reseller IS NULL OR covering && granted.reseller))
    ) THEN
        RAISE EXCEPTION 'the credential may do less' USING ERRCODE = 'TW403';
    END IF;
END $$;
REVOKE EXECUTE ON FUNCTION require_credential(uuid, uuid, timestamptz, inet, text[]) FROM PUBLIC;

-- When somebody was asked for the last time to set a password, by a person or a token; it lapses.
-- Whoever has an open invitation today is given the whole time.

ALTER TABLE member ADD COLUMN invited_at timestamptz;
UPDATE member SET invited_at = now() WHERE password_hash IS NULL AND disabled_at IS NULL;
CREATE INDEX member_invited ON member (invited_at, id)
    WHERE password_hash IS NULL AND disabled_at IS NULL;
