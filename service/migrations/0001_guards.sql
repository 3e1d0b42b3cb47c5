-- What the ORM cannot say of the first tables: keys, checks, indexes, triggers and policies.

-- Keys and checks ---------------------------------------------------------------------------

ALTER TABLE account
    ADD CONSTRAINT account_reseller_fk FOREIGN KEY (reseller_id) REFERENCES account (id),
    ADD CONSTRAINT account_level_ck CHECK (
        CASE kind
            WHEN 'OPERATOR' THEN reseller_id IS NULL
            WHEN 'RESELLER' THEN reseller_id IS NOT DISTINCT FROM id
            ELSE reseller_id IS DISTINCT FROM id
        END
    );
CREATE UNIQUE INDEX account_one_operator ON account (kind) WHERE kind = 'OPERATOR';
CREATE INDEX account_fleet ON account (reseller_id, name, id);
CREATE INDEX account_name ON account (name, id);

ALTER TABLE member
    ADD CONSTRAINT member_account_fk FOREIGN KEY (account_id) REFERENCES account (id),
    ADD CONSTRAINT member_email_ck CHECK (email = lower(email));
CREATE INDEX member_account ON member (account_id);

ALTER TABLE api_token
    ADD CONSTRAINT api_token_account_fk FOREIGN KEY (account_id) REFERENCES account (id),
    ADD CONSTRAINT api_token_member_fk FOREIGN KEY (member_id) REFERENCES member (id),
    ADD CONSTRAINT api_token_name_ck CHECK (char_length(name) BETWEEN 1 AND 50),
    ADD CONSTRAINT api_token_span_ck CHECK (not_before < expires_at),
    ADD CONSTRAINT api_token_reason_ck CHECK ((revoked_at IS NULL) = (revocation_reason IS NULL));
-- cPanel's rule: a name is taken until its token has ended.
CREATE UNIQUE INDEX api_token_name_taken ON api_token (account_id, name)
    WHERE kind = 'API_TOKEN' AND revoked_at IS NULL AND swept_at IS NULL;
-- What time will end: the sweep and the notices read along this, never over what exists.
CREATE INDEX api_token_ending ON api_token (expires_at, id)
    WHERE expires_at IS NOT NULL AND revoked_at IS NULL AND swept_at IS NULL;
-- A list is one range, for an account, a fleet and the platform.
CREATE INDEX api_token_account_created ON api_token (account_id, created_at, id) WHERE kind = 'API_TOKEN';
CREATE INDEX api_token_account_expires ON api_token (account_id, (coalesce(expires_at, 'infinity'::timestamptz)), id) WHERE kind = 'API_TOKEN';
CREATE INDEX api_token_account_name ON api_token (account_id, name, id) WHERE kind = 'API_TOKEN';
CREATE INDEX api_token_account_used ON api_token (account_id, (coalesce(last_used_at, '-infinity'::timestamptz)), id) WHERE kind = 'API_TOKEN';
CREATE INDEX api_token_fleet_created ON api_token (reseller_id, created_at, id) WHERE kind = 'API_TOKEN';
CREATE INDEX api_token_fleet_expires ON api_token (reseller_id, (coalesce(expires_at, 'infinity'::timestamptz)), id) WHERE kind = 'API_TOKEN';
CREATE INDEX api_token_fleet_name ON api_token (reseller_id, name, id) WHERE kind = 'API_TOKEN';
CREATE INDEX api_token_fleet_used ON api_token (reseller_id, (coalesce(last_used_at, '-infinity'::timestamptz)), id) WHERE kind = 'API_TOKEN';
CREATE INDEX api_token_created ON api_token (created_at, id) WHERE kind = 'API_TOKEN';
CREATE INDEX api_token_expires ON api_token ((coalesce(expires_at, 'infinity'::timestamptz)), id) WHERE kind = 'API_TOKEN';
CREATE INDEX api_token_name ON api_token (name, id) WHERE kind = 'API_TOKEN';
CREATE INDEX api_token_used ON api_token ((coalesce(last_used_at, '-infinity'::timestamptz)), id) WHERE kind = 'API_TOKEN';

ALTER TABLE secret
    ADD CONSTRAINT secret_token_fk FOREIGN KEY (token_id) REFERENCES api_token (id) ON DELETE CASCADE,
    ADD CONSTRAINT secret_digest_ck CHECK (octet_length(digest) = 32);
CREATE UNIQUE INDEX secret_digest ON secret (digest);
CREATE INDEX secret_token ON secret (token_id);

ALTER TABLE notice
    ADD CONSTRAINT notice_token_fk FOREIGN KEY (token_id) REFERENCES api_token (id) ON DELETE CASCADE,
    ADD CONSTRAINT notice_state_ck CHECK (state IN ('PENDING', 'SENT', 'SUPPRESSED', 'FAILED')),
    ADD CONSTRAINT notice_sent_ck CHECK ((state = 'SENT') = (sent_at IS NOT NULL));
CREATE INDEX notice_pending ON notice (recipient, claimed_until) WHERE state = 'PENDING';
CREATE INDEX notice_account ON notice (account_id, created_at, id);

CREATE INDEX audit_event_account ON audit_event (account_id, occurred_at, id);
CREATE INDEX audit_event_subject ON audit_event (subject_id, occurred_at, id);

ALTER TABLE outbox_event ADD CONSTRAINT outbox_event_kind_ck CHECK (kind IN ('TOKEN', 'ACCOUNT'));
CREATE INDEX outbox_event_due ON outbox_event (due_at, id) WHERE done_at IS NULL;
CREATE INDEX outbox_event_done ON outbox_event (done_at) WHERE done_at IS NOT NULL;

-- Terminal means terminal -------------------------------------------------------------------

CREATE FUNCTION api_token_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.revoked_at IS NOT NULL
        AND (NEW.revoked_at IS DISTINCT FROM OLD.revoked_at
             OR NEW.revocation_reason IS DISTINCT FROM OLD.revocation_reason) THEN
        RAISE EXCEPTION 'a revocation is final' USING ERRCODE = 'check_violation';
    END IF;
    IF OLD.swept_at IS NOT NULL
        AND (NEW.swept_at IS DISTINCT FROM OLD.swept_at
             OR NEW.expires_at IS DISTINCT FROM OLD.expires_at) THEN
        RAISE EXCEPTION 'an expired token has ended' USING ERRCODE = 'check_violation';
    END IF;
    IF (NEW.id, NEW.account_id, NEW.kind, NEW.created_at)
        IS DISTINCT FROM (OLD.id, OLD.account_id, OLD.kind, OLD.created_at) THEN
        RAISE EXCEPTION 'a token keeps its account, kind and origin' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER api_token_guard BEFORE UPDATE ON api_token
    FOR EACH ROW EXECUTE FUNCTION api_token_guard();

CREATE FUNCTION secret_guard() RETURNS trigger LANGUAGE plpgsql AS $$
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
CREATE TRIGGER secret_guard BEFORE UPDATE ON secret
    FOR EACH ROW EXECUTE FUNCTION secret_guard();

CREATE FUNCTION audit_event_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit trail is append-only' USING ERRCODE = 'check_violation';
END $$;
CREATE TRIGGER audit_event_guard BEFORE UPDATE OR DELETE ON audit_event
    FOR EACH ROW EXECUTE FUNCTION audit_event_guard();

-- The second wall: row-level security -------------------------------------------------------
-- The reach is a transaction-local setting that service.access makes of the actor. Without one,
-- nothing is within reach. The service's role is never the owner, who walks past this wall; a
-- production start as any role that does is refused.

CREATE FUNCTION tokenward_reaches(row_account uuid, row_reseller uuid) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT CASE current_setting('tokenward.reach', true)
        WHEN 'all' THEN true
        WHEN 'fleet' THEN row_reseller = NULLIF(current_setting('tokenward.reach_id', true), '')::uuid
        WHEN 'account' THEN row_account = NULLIF(current_setting('tokenward.reach_id', true), '')::uuid
        ELSE false
    END
$$;

ALTER TABLE account ENABLE ROW LEVEL SECURITY;
ALTER TABLE member ENABLE ROW LEVEL SECURITY;
ALTER TABLE api_token ENABLE ROW LEVEL SECURITY;
ALTER TABLE secret ENABLE ROW LEVEL SECURITY;
ALTER TABLE notice ENABLE ROW LEVEL SECURITY;
ALTER TABLE audit_event ENABLE ROW LEVEL SECURITY;
ALTER TABLE outbox_event ENABLE ROW LEVEL SECURITY;
CREATE POLICY reach ON account USING (tokenward_reaches(id, reseller_id));
CREATE POLICY reach ON member USING (tokenward_reaches(account_id, reseller_id));
CREATE POLICY reach ON api_token USING (tokenward_reaches(account_id, reseller_id));
CREATE POLICY reach ON secret USING (tokenward_reaches(account_id, reseller_id));
CREATE POLICY reach ON notice USING (tokenward_reaches(account_id, reseller_id));
CREATE POLICY reach ON audit_event USING (tokenward_reaches(account_id, reseller_id));
CREATE POLICY reach ON outbox_event USING (tokenward_reaches(account_id, reseller_id));

-- What a customer's own reseller caps, though the reseller's row is beyond the customer's reach.

CREATE FUNCTION reseller_caps(of_account uuid) RETURNS TABLE (grantable_scopes text[], usable boolean)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT r.grantable_scopes, r.suspended_at IS NULL AND r.closed_at IS NULL
    FROM account a JOIN account r ON r.id = a.reseller_id AND r.id <> a.id WHERE a.id = of_account
$$;
REVOKE EXECUTE ON FUNCTION reseller_caps(uuid) FROM PUBLIC;

-- The validators' one question, in one round trip -------------------------------------------
-- It alone reads across tenants for a caller without a reach, and only by a digest, which nobody
-- has who does not hold the secret.

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
