-- Takes 0004_tokens.sql back, in the opposite order.

ALTER TABLE api_token DROP CONSTRAINT api_token_creator_member_fk;
ALTER TABLE api_token DROP CONSTRAINT api_token_creator_account_fk;
ALTER TABLE api_token DROP CONSTRAINT api_token_metadata_ck;
ALTER TABLE api_token DROP COLUMN metadata;
