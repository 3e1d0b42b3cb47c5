-- Takes 0006_fleet.sql back, in the opposite order.

DROP FUNCTION token_count_note() CASCADE;
DROP FUNCTION token_count_settle() CASCADE;
DROP FUNCTION token_count_add(jsonb);
DROP FUNCTION token_count_open() CASCADE;
DROP FUNCTION token_count_follow() CASCADE;
DROP TABLE token_total;
DROP TABLE token_count;
DROP FUNCTION token_total_open();
DROP FUNCTION token_total_follow();
DROP FUNCTION account_status(account);
DROP FUNCTION api_token_facets() CASCADE;
ALTER TABLE api_token DROP COLUMN recount_at, DROP COLUMN counted_as;
