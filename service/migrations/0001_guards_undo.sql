-- Takes 0001_guards.sql back, in the opposite order.

DROP FUNCTION credential_by_digest(bytea);
DROP FUNCTION reseller_caps(uuid);
DROP POLICY reach ON account;
DROP POLICY reach ON member;
DROP POLICY reach ON api_token;
DROP POLICY reach ON secret;
DROP POLICY reach ON notice;
DROP POLICY reach ON audit_event;
DROP POLICY reach ON outbox_event;
DROP FUNCTION tokenward_reaches(uuid, uuid);
DROP FUNCTION api_token_guard() CASCADE;
DROP FUNCTION secret_guard() CASCADE;
DROP FUNCTION audit_event_guard() CASCADE;
ALTER TABLE notice DROP CONSTRAINT notice_token_fk;
ALTER TABLE secret DROP CONSTRAINT secret_token_fk;
ALTER TABLE api_token DROP CONSTRAINT api_token_member_fk, DROP CONSTRAINT api_token_account_fk;
ALTER TABLE member DROP CONSTRAINT member_account_fk;
ALTER TABLE account DROP CONSTRAINT account_reseller_fk;
