-- Takes 0003_people.sql back, in the opposite order.

DROP POLICY reach ON password_reset;
DROP INDEX api_token_member_session;
DROP TRIGGER member_guard ON member;
DROP FUNCTION member_guard();
DROP INDEX member_account_email;
DROP INDEX member_email_taken;
-- Before, everybody had a password, and no address was ever free again.
UPDATE member SET email = id || '@removed.invalid' WHERE disabled_at IS NOT NULL;
UPDATE member SET password_hash = '' WHERE password_hash IS NULL;
ALTER TABLE member ADD CONSTRAINT member_email_key UNIQUE (email);
ALTER TABLE member
    DROP CONSTRAINT member_role_ck,
    DROP COLUMN password_version,
    DROP COLUMN version,
    DROP COLUMN role;
