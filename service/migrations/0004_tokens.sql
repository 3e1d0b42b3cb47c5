-- What people write about a token, who made it, and its rarest facet.

-- Instant for tables of any size: the default is kept in the catalogue.
ALTER TABLE api_token ADD COLUMN metadata jsonb NOT NULL DEFAULT '{}';

ALTER TABLE api_token
    ADD CONSTRAINT api_token_metadata_ck CHECK (jsonb_typeof(metadata) = 'object'),
    ADD CONSTRAINT api_token_creator_account_fk FOREIGN KEY (created_by_account_id) REFERENCES account (id),
    ADD CONSTRAINT api_token_creator_member_fk FOREIGN KEY (created_by_member_id) REFERENCES member (id);
