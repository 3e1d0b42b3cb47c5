-- Takes 0007_trail.sql back, in the opposite order.

DROP FUNCTION event_actor(uuid);
DROP TRIGGER audit_event_born ON audit_event;

CREATE OR REPLACE FUNCTION audit_event_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit trail is append-only' USING ERRCODE = 'check_violation';
END $$;

DROP INDEX audit_event_all;
DROP INDEX audit_event_fleet;
DROP INDEX audit_event_unsealed;
DROP INDEX audit_event_fleet_position;
DROP INDEX audit_event_account_position;
DROP INDEX audit_event_position;
ALTER TABLE audit_event DROP CONSTRAINT audit_event_sealed_ck;
