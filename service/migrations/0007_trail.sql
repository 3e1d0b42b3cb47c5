-- The audit trail gets an order and a chain of hashes.

-- Instant for tables of any size; the sealer gives what is there its place, oldest first.
ALTER TABLE audit_event
    ADD CONSTRAINT audit_event_sealed_ck CHECK (
        num_nulls(position, sequence, hash) IN (0, 3)
        AND position > 0 AND sequence > 0 AND octet_length(hash) = 32
    );

-- Two sealers that disregarded their lock would collide here.
CREATE UNIQUE INDEX audit_event_position ON audit_event (position) WHERE position IS NOT NULL;
-- A chain, its head, and those who follow an account or a fleet.
CREATE INDEX audit_event_account_position ON audit_event (account_id, position) WHERE position IS NOT NULL;
CREATE INDEX audit_event_fleet_position ON audit_event (reseller_id, position) WHERE position IS NOT NULL;
-- What still waits for its seal, and nothing else.
CREATE INDEX audit_event_unsealed ON audit_event (occurred_at, id) WHERE position IS NULL;
-- A list is one range, for an account (there already), a fleet and the platform.
CREATE INDEX audit_event_fleet ON audit_event (reseller_id, occurred_at, id);
CREATE INDEX audit_event_all ON audit_event (occurred_at, id);

-- An event is born without a seal and gets one, once; nothing else of it ever changes.
CREATE OR REPLACE FUNCTION audit_event_guard() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    unsealed audit_event;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        unsealed := NEW;
        unsealed.position := NULL;
        unsealed.sequence := NULL;
        unsealed.hash := NULL;
        IF NEW.position IS NOT NULL AND OLD IS NOT DISTINCT FROM unsealed THEN
            RETURN NEW;
        END IF;
    END IF;
    RAISE EXCEPTION 'the audit trail is append-only' USING ERRCODE = 'check_violation';
END $$;
CREATE TRIGGER audit_event_born BEFORE INSERT ON audit_event FOR EACH ROW
    WHEN (NEW.position IS NOT NULL OR NEW.sequence IS NOT NULL OR NEW.hash IS NOT NULL)
    EXECUTE FUNCTION audit_event_guard();

-- Who acted, by name alone, though the acting account may be above the reader and beyond its reach:
-- told of an event that is within it.
CREATE FUNCTION event_actor(of_event uuid) RETURNS TABLE (name text, kind text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT a.name, a.kind FROM audit_event e JOIN account a ON a.id = e.actor_account_id
    WHERE e.id = of_event AND tokenward_reaches(e.account_id, e.reseller_id)
$$;
REVOKE EXECUTE ON FUNCTION event_actor(uuid) FROM PUBLIC;
