-- Roles of members, ways to reset a password, and when one was entered last.

-- Whoever signs in today could do everything before there were roles.
ALTER TABLE member
    ADD COLUMN role varchar(7) NOT NULL DEFAULT 'OWNER',
    ADD COLUMN version int NOT NULL DEFAULT 1,
    ADD COLUMN password_version int NOT NULL DEFAULT 1,
    ADD CONSTRAINT member_role_ck CHECK (role IN ('OWNER', 'MANAGER', 'VIEWER'));

-- A person who was removed stays for the trail, and their address is free again.
ALTER TABLE member DROP CONSTRAINT member_email_key;
CREATE UNIQUE INDEX member_email_taken ON member (email) WHERE disabled_at IS NULL;
-- The members of an account by name, and none of those who were removed.
CREATE INDEX member_account_email ON member (account_id, email, id) WHERE disabled_at IS NULL;

CREATE FUNCTION member_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.disabled_at IS NOT NULL AND NEW.disabled_at IS DISTINCT FROM OLD.disabled_at THEN
        RAISE EXCEPTION 'a member who was removed stays removed' USING ERRCODE = 'check_violation';
    END IF;
    IF (NEW.id, NEW.account_id, NEW.email, NEW.created_at)
        IS DISTINCT FROM (OLD.id, OLD.account_id, OLD.email, OLD.created_at) THEN
        RAISE EXCEPTION 'a member keeps their account, address and origin' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER member_guard BEFORE UPDATE ON member
    FOR EACH ROW EXECUTE FUNCTION member_guard();

-- The sessions of a person, which a change of theirs ends at once.
CREATE INDEX api_token_member_session ON api_token (member_id, created_at, id)
    WHERE kind = 'SESSION' AND revoked_at IS NULL;

-- A member has one link to set a password with, the newest.
ALTER TABLE password_reset
    ADD CONSTRAINT password_reset_member_fk FOREIGN KEY (member_id) REFERENCES member (id) ON DELETE CASCADE,
    ADD CONSTRAINT password_reset_purpose_ck CHECK (purpose IN ('RESET', 'INVITATION')),
    ADD CONSTRAINT password_reset_digest_ck CHECK (octet_length(digest) = 32),
    ADD CONSTRAINT password_reset_made_ck CHECK ((digest IS NULL) = (expires_at IS NULL));
CREATE UNIQUE INDEX password_reset_digest ON password_reset (digest);
CREATE INDEX password_reset_due ON password_reset (due_at, id) WHERE due_at IS NOT NULL;
CREATE INDEX password_reset_old ON password_reset (created_at);
ALTER TABLE password_reset ENABLE ROW LEVEL SECURITY;
CREATE POLICY reach ON password_reset USING (tokenward_reaches(account_id, reseller_id));
