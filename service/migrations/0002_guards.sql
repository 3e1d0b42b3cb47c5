-- What the ORM cannot say of receipts, rotation, audiences and the canary.

-- Instant for tables of any size: the default is kept in the catalogue.
ALTER TABLE api_token ADD COLUMN audiences text[] NOT NULL DEFAULT '{}';

-- A token has one current secret, however many rotate it at once.
CREATE UNIQUE INDEX secret_current ON secret (token_id) WHERE retires_at IS NULL;
-- Those that still open it, of however many it has had.
CREATE INDEX secret_live ON secret (token_id) WHERE retired_at IS NULL;
-- What a rotation still has to end, and nothing else.
CREATE INDEX secret_retiring ON secret (retires_at, id)
    WHERE retires_at IS NOT NULL AND retired_at IS NULL;
ALTER TABLE secret ADD CONSTRAINT secret_retired_ck CHECK (retired_at IS NULL OR retires_at IS NOT NULL);

CREATE INDEX outbox_event_receipt ON outbox_event (receipt_id) WHERE receipt_id IS NOT NULL;

CREATE INDEX replay_ending ON replay (expires_at);
ALTER TABLE replay ENABLE ROW LEVEL SECURITY;
CREATE POLICY reach ON replay USING (tokenward_reaches(account_id, reseller_id));
ALTER TABLE replay
    ADD CONSTRAINT replay_token_fk FOREIGN KEY (token_id) REFERENCES api_token (id) ON DELETE CASCADE
        DEFERRABLE INITIALLY DEFERRED; -- claimed before the token it is about is there

-- Terminal means terminal -------------------------------------------------------------------

CREATE FUNCTION account_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.closed_at IS NOT NULL AND NEW.closed_at IS DISTINCT FROM OLD.closed_at THEN
        RAISE EXCEPTION 'a closed account stays closed' USING ERRCODE = 'check_violation';
    END IF;
    IF (NEW.id, NEW.kind, NEW.created_at) IS DISTINCT FROM (OLD.id, OLD.kind, OLD.created_at) THEN
        RAISE EXCEPTION 'an account keeps its kind and origin' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER account_guard BEFORE UPDATE ON account
    FOR EACH ROW EXECUTE FUNCTION account_guard();

-- A rotation that is under way can be called off, so that the old secret stays; one that has
-- retired is gone, by the clock of the database. No retirement is ever put off.
CREATE OR REPLACE FUNCTION secret_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.id, NEW.token_id, NEW.digest, NEW.pepper_id)
        IS DISTINCT FROM (OLD.id, OLD.token_id, OLD.digest, OLD.pepper_id) THEN
        RAISE EXCEPTION 'a secret is replaced, never changed' USING ERRCODE = 'check_violation';
    END IF;
    IF OLD.retired_at IS NOT NULL AND (NEW.retired_at, NEW.retires_at)
        IS DISTINCT FROM (OLD.retired_at, OLD.retires_at) THEN
        RAISE EXCEPTION 'a retired secret stays retired' USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.retires_at > OLD.retires_at
        OR (NEW.retires_at IS NULL AND OLD.retires_at <= clock_timestamp()) THEN
        RAISE EXCEPTION 'a retirement is never put off' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;

-- The prober's own tokens go when they have served; the service may delete no other --------------

CREATE FUNCTION forget_canaries(ended_before timestamptz) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    DELETE FROM api_token WHERE kind = 'CANARY' AND created_at < ended_before
$$;
REVOKE EXECUTE ON FUNCTION forget_canaries(timestamptz) FROM PUBLIC;
CREATE INDEX api_token_canary ON api_token (created_at) WHERE kind = 'CANARY';

-- The validators' one question again, with audiences ----------------------------------------------

DROP FUNCTION credential_by_digest(bytea);
CREATE FUNCTION credential_by_digest(wanted bytea) RETURNS TABLE (
    token_id uuid, secret_id uuid, kind text, account_id uuid, account_kind text, reseller_id uuid,
    member_id uuid, token_scopes text[], account_scopes text[], reseller_scopes text[],
    allowed_ip_ranges text[], audiences text[], created_at timestamptz, not_before timestamptz,
    expires_at timestamptz, retires_at timestamptz, revoked boolean, suspended boolean
)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT t.id, s.id, t.kind, t.account_id, a.kind, a.reseller_id,
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
    WHERE s.digest = wanted
$$;
REVOKE EXECUTE ON FUNCTION credential_by_digest(bytea) FROM PUBLIC;
