-- Whose a row is stands in its account alone; what the writer believed a moment ago does not count.
-- The share of the account's row makes a move wait for those who are writing, and them for it, so
-- that no row is left behind with the reseller that was.

CREATE FUNCTION take_reseller() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    SELECT a.reseller_id INTO NEW.reseller_id FROM account a WHERE a.id = NEW.account_id
        FOR KEY SHARE;
    RETURN NEW;
END $$;

CREATE TRIGGER take_reseller BEFORE INSERT ON member
    FOR EACH ROW EXECUTE FUNCTION take_reseller();
CREATE TRIGGER take_reseller BEFORE INSERT ON api_token
    FOR EACH ROW EXECUTE FUNCTION take_reseller();
CREATE TRIGGER take_reseller BEFORE INSERT ON secret
    FOR EACH ROW EXECUTE FUNCTION take_reseller();
CREATE TRIGGER take_reseller BEFORE INSERT ON replay
    FOR EACH ROW EXECUTE FUNCTION take_reseller();
CREATE TRIGGER take_reseller BEFORE INSERT ON notice
    FOR EACH ROW EXECUTE FUNCTION take_reseller();
CREATE TRIGGER take_reseller BEFORE INSERT ON audit_event
    FOR EACH ROW EXECUTE FUNCTION take_reseller();
CREATE TRIGGER take_reseller BEFORE INSERT ON outbox_event
    FOR EACH ROW EXECUTE FUNCTION take_reseller();

-- A move touches every row of one account.
CREATE INDEX secret_account ON secret (account_id);
CREATE INDEX replay_account ON replay (account_id);
CREATE INDEX outbox_event_account ON outbox_event (account_id);

-- The ledger of notices is read as one range, for an account, a fleet, the platform and one token.
CREATE INDEX notice_fleet ON notice (reseller_id, created_at, id);
CREATE INDEX notice_created ON notice (created_at, id);
CREATE INDEX notice_token ON notice (token_id, created_at, id);

-- What some clients send for "none", the first instant of all, comes back without a time zone.
UPDATE api_token SET not_before = NULL WHERE not_before = '-infinity';
ALTER TABLE api_token ADD CONSTRAINT api_token_begin_ck CHECK (not_before > '-infinity');
