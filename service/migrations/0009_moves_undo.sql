-- Takes 0009_moves.sql back, in the opposite order.

ALTER TABLE api_token DROP CONSTRAINT api_token_begin_ck;
DROP INDEX notice_token;
DROP INDEX notice_created;
DROP INDEX notice_fleet;
DROP INDEX outbox_event_account;
DROP INDEX replay_account;
DROP INDEX secret_account;
DROP FUNCTION take_reseller() CASCADE;
