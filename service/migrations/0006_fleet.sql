-- Counts of the tokens of each account, kept as they change.
--
-- api_token ──(facets of a row)──▶ token_count (an account's sums) ──▶ token_total (a fleet's sums)
--
-- Nobody but these triggers writes the two tables. Locks are taken in one order: rows of tokens
-- while a transaction works, and at its commit its counters by account, then the sums of fleets.
-- Nothing is waited for after that, so that no two transactions can wait for each other here, and a
-- counter is held for as long as a commit takes.

-- What a token is counted under ---------------------------------------------------------------
-- Bits, in the order of the counters below. Both columns are instant for tables of any size.

ALTER TABLE api_token
    ADD COLUMN counted_as smallint NOT NULL DEFAULT 0,
    ADD COLUMN recount_at timestamptz;

-- Facets change by acts, which this sees, and by time, which recount_at foretells: it is never
-- later than the next change. They are taken at the database's now, or where the row itself tells of
-- a later instant by the application's clock, at that; to write recount_at is to ask for the facets
-- of that instant. Hours, because a day has not the same length in every time zone.
CREATE FUNCTION api_token_facets() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    as_of timestamptz := greatest(now(), NEW.created_at, NEW.suspended_at, NEW.revoked_at, NEW.swept_at);
    idle_at timestamptz := coalesce(NEW.last_used_at, NEW.created_at) + interval '2160 hours';
BEGIN
    IF TG_NARGS = 1 THEN
        as_of := greatest(as_of, NEW.recount_at);
    END IF;
    NEW.recount_at := NULL;
    IF NEW.revoked_at IS NOT NULL THEN
        NEW.counted_as := 0;
    ELSIF NEW.expires_at <= as_of THEN
        NEW.counted_as := 8;
    ELSE
        NEW.counted_as := 1
            | CASE WHEN NEW.suspended_at IS NOT NULL THEN 4
                   WHEN NEW.not_before > as_of THEN 0 ELSE 2 END
            | CASE WHEN NEW.expires_at - interval '168 hours' <= as_of THEN 16 ELSE 0 END
            | CASE WHEN NEW.expires_at - interval '720 hours' <= as_of THEN 32 ELSE 0 END
            | CASE WHEN NEW.last_used_at IS NULL THEN 64 ELSE 0 END
            | CASE WHEN idle_at <= as_of THEN 128 ELSE 0 END
            | CASE WHEN cardinality(NEW.allowed_ip_ranges) = 0 THEN 256 ELSE 0 END
            | CASE WHEN '*' = ANY(NEW.scopes) THEN 512 ELSE 0 END;
        NEW.recount_at := least(
            CASE WHEN NEW.not_before > as_of THEN NEW.not_before END,
            CASE WHEN NEW.expires_at - interval '720 hours' > as_of THEN NEW.expires_at - interval '720 hours' END,
            CASE WHEN NEW.expires_at - interval '168 hours' > as_of THEN NEW.expires_at - interval '168 hours' END,
            NEW.expires_at,
            CASE WHEN idle_at > as_of THEN idle_at END
        );
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER api_token_facets
    BEFORE INSERT OR UPDATE OF scopes, allowed_ip_ranges, not_before, expires_at, suspended_at, revoked_at, swept_at
    ON api_token FOR EACH ROW WHEN (NEW.kind = 'API_TOKEN') EXECUTE FUNCTION api_token_facets();
CREATE TRIGGER api_token_recounted
    BEFORE UPDATE OF recount_at ON api_token FOR EACH ROW
    WHEN (NEW.kind = 'API_TOKEN') EXECUTE FUNCTION api_token_facets('as of recount_at');
-- Last uses are written all the time: only the first one and one after a silence change a facet. A
-- busy token's recount_at is left too early, and corrects itself once it is due.
CREATE TRIGGER api_token_used
    BEFORE UPDATE OF last_used_at ON api_token FOR EACH ROW
    WHEN (NEW.kind = 'API_TOKEN' AND (OLD.last_used_at IS NULL OR OLD.counted_as & 128 <> 0))
    EXECUTE FUNCTION api_token_facets();

UPDATE api_token SET recount_at = now() WHERE kind = 'API_TOKEN';
CREATE INDEX api_token_recount ON api_token (recount_at, id) WHERE recount_at IS NOT NULL;

-- An account's sums, and what its fleet is sorted and filtered by -------------------------------

CREATE TABLE token_count (
    account_id uuid PRIMARY KEY REFERENCES account (id),
    reseller_id uuid,
    kind varchar(10) NOT NULL,
    status varchar(9) NOT NULL,
    name varchar(100) NOT NULL,
    created_at timestamptz NOT NULL,
    live integer NOT NULL DEFAULT 0,
    active integer NOT NULL DEFAULT 0,
    suspended integer NOT NULL DEFAULT 0,
    expired integer NOT NULL DEFAULT 0,
    expiring_within_7_days integer NOT NULL DEFAULT 0,
    expiring_within_30_days integer NOT NULL DEFAULT 0,
    never_used integer NOT NULL DEFAULT 0,
    idle_90_days integer NOT NULL DEFAULT 0,
    without_address_limits integer NOT NULL DEFAULT 0,
    full_access integer NOT NULL DEFAULT 0
);

-- A fleet's sums: of a reseller's customers, and without an account of the whole platform but the
-- operator. Over 32 rows each, so that the commits of a fleet do not queue up at one of them.
CREATE TABLE token_total (
    account_id uuid REFERENCES account (id),
    reseller_id uuid,
    slot smallint NOT NULL,
    accounts integer NOT NULL DEFAULT 0,
    live integer NOT NULL DEFAULT 0,
    active integer NOT NULL DEFAULT 0,
    suspended integer NOT NULL DEFAULT 0,
    expired integer NOT NULL DEFAULT 0,
    expiring_within_7_days integer NOT NULL DEFAULT 0,
    expiring_within_30_days integer NOT NULL DEFAULT 0,
    never_used integer NOT NULL DEFAULT 0,
    idle_90_days integer NOT NULL DEFAULT 0,
    without_address_limits integer NOT NULL DEFAULT 0,
    full_access integer NOT NULL DEFAULT 0,
    CONSTRAINT token_total_slot UNIQUE NULLS NOT DISTINCT (account_id, slot)
) WITH (fillfactor = 50);

-- A fleet's sums follow its accounts' ----------------------------------------------------------

CREATE FUNCTION token_total_open() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    -- An account's sums begin at zero.
    INSERT INTO token_total AS t (account_id, reseller_id, slot, accounts)
    SELECT fleet, fleet, get_byte(uuid_send(c.account_id), 15) % 32 AS slot, count(*)
    FROM after c CROSS JOIN LATERAL (SELECT NULL::uuid UNION SELECT nullif(c.reseller_id, c.account_id)) f (fleet)
    WHERE c.kind <> 'OPERATOR' GROUP BY fleet, slot ORDER BY fleet, slot
    ON CONFLICT ON CONSTRAINT token_total_slot DO UPDATE SET accounts = t.accounts + excluded.accounts;
    RETURN NULL;
END $$;
REVOKE EXECUTE ON FUNCTION token_total_open() FROM PUBLIC;

CREATE FUNCTION token_total_follow() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO token_total AS t (account_id, reseller_id, slot, accounts, live, active, suspended, expired,
        expiring_within_7_days, expiring_within_30_days, never_used, idle_90_days, without_address_limits, full_access)
    SELECT * FROM (
        SELECT fleet, fleet AS reseller, get_byte(uuid_send(c.account_id), 15) % 32 AS slot, sum(n) AS accounts,
            sum(n * live), sum(n * active), sum(n * suspended), sum(n * expired),
            sum(n * expiring_within_7_days), sum(n * expiring_within_30_days), sum(n * never_used),
            sum(n * idle_90_days), sum(n * without_address_limits), sum(n * full_access)
        FROM (SELECT 1 AS n, * FROM after UNION ALL SELECT -1, * FROM before) c
        CROSS JOIN LATERAL (SELECT NULL::uuid UNION SELECT nullif(c.reseller_id, c.account_id)) f (fleet)
        WHERE c.kind <> 'OPERATOR' GROUP BY fleet, slot
    ) d (fleet, reseller, slot, accounts, live, active, suspended, expired, week, month, never_used, idle, anywhere, full_access)
    WHERE (accounts, live, active, suspended, expired, week, month, never_used, idle, anywhere, full_access)
        <> (0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    ORDER BY fleet, slot
    ON CONFLICT ON CONSTRAINT token_total_slot DO UPDATE SET
        accounts = t.accounts + excluded.accounts,
        live = t.live + excluded.live,
        active = t.active + excluded.active,
        suspended = t.suspended + excluded.suspended,
        expired = t.expired + excluded.expired,
        expiring_within_7_days = t.expiring_within_7_days + excluded.expiring_within_7_days,
        expiring_within_30_days = t.expiring_within_30_days + excluded.expiring_within_30_days,
        never_used = t.never_used + excluded.never_used,
        idle_90_days = t.idle_90_days + excluded.idle_90_days,
        without_address_limits = t.without_address_limits + excluded.without_address_limits,
        full_access = t.full_access + excluded.full_access;
    RETURN NULL;
END $$;
REVOKE EXECUTE ON FUNCTION token_total_follow() FROM PUBLIC;

CREATE TRIGGER token_total_open AFTER INSERT ON token_count
    REFERENCING NEW TABLE AS after FOR EACH STATEMENT EXECUTE FUNCTION token_total_open();
CREATE TRIGGER token_total_follow AFTER UPDATE ON token_count
    REFERENCING OLD TABLE AS before NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION token_total_follow();

-- An account's row follows the account -----------------------------------------------------------

CREATE FUNCTION account_status(one account) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN one.closed_at IS NOT NULL THEN 'CLOSED'
        WHEN one.suspended_at IS NOT NULL THEN 'SUSPENDED' ELSE 'ACTIVE' END
$$;

CREATE FUNCTION token_count_open() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO token_count (account_id, reseller_id, kind, status, name, created_at)
    SELECT id, reseller_id, kind, account_status(a), name, created_at FROM after a ORDER BY id;
    RETURN NULL;
END $$;
REVOKE EXECUTE ON FUNCTION token_count_open() FROM PUBLIC;

CREATE FUNCTION token_count_follow() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    UPDATE token_count SET reseller_id = NEW.reseller_id, status = account_status(NEW), name = NEW.name
    WHERE account_id = NEW.id;
    RETURN NULL;
END $$;
REVOKE EXECUTE ON FUNCTION token_count_follow() FROM PUBLIC;

-- Those of before, and then those to come.
INSERT INTO token_count (account_id, reseller_id, kind, status, name, created_at)
    SELECT id, reseller_id, kind, account_status(a), name, created_at FROM account a;
CREATE TRIGGER token_count_open AFTER INSERT ON account
    REFERENCING NEW TABLE AS after FOR EACH STATEMENT EXECUTE FUNCTION token_count_open();
CREATE CONSTRAINT TRIGGER token_count_follow AFTER UPDATE ON account
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN ((NEW.reseller_id, NEW.name, NEW.suspended_at, NEW.closed_at)
        IS DISTINCT FROM (OLD.reseller_id, OLD.name, OLD.suspended_at, OLD.closed_at))
    EXECUTE FUNCTION token_count_follow();

-- An account's sums follow its tokens -------------------------------------------------------------
-- A statement notes what it changed in a setting that ends with the transaction; the commit settles
-- all of that at once, at the first of the deferred triggers, and the others find nothing left.
-- Nobody may have these checked at once instead: a row's trigger comes before its statement's note.

CREATE FUNCTION token_count_add(noted jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM FROM token_count WHERE account_id IN (SELECT (n ->> 0)::uuid FROM jsonb_array_elements(noted) n)
    ORDER BY account_id FOR NO KEY UPDATE;
    UPDATE token_count c SET
        live = c.live + d.live,
        active = c.active + d.active,
        suspended = c.suspended + d.suspended,
        expired = c.expired + d.expired,
        expiring_within_7_days = c.expiring_within_7_days + d.week,
        expiring_within_30_days = c.expiring_within_30_days + d.month,
        never_used = c.never_used + d.never_used,
        idle_90_days = c.idle_90_days + d.idle,
        without_address_limits = c.without_address_limits + d.anywhere,
        full_access = c.full_access + d.full_access
    FROM (
        SELECT account_id,
            sum(n * (facets & 1)) AS live, sum(n * (facets >> 1 & 1)) AS active,
            sum(n * (facets >> 2 & 1)) AS suspended, sum(n * (facets >> 3 & 1)) AS expired,
            sum(n * (facets >> 4 & 1)) AS week, sum(n * (facets >> 5 & 1)) AS month,
            sum(n * (facets >> 6 & 1)) AS never_used, sum(n * (facets >> 7 & 1)) AS idle,
            sum(n * (facets >> 8 & 1)) AS anywhere, sum(n * (facets >> 9 & 1)) AS full_access
        FROM (
            SELECT (e ->> 0)::uuid AS account_id, (e ->> 1)::integer AS facets, (e ->> 2)::integer AS n
            FROM jsonb_array_elements(noted) e
        ) noted GROUP BY account_id
    ) d
    WHERE c.account_id = d.account_id;
END $$;
REVOKE EXECUTE ON FUNCTION token_count_add(jsonb) FROM PUBLIC;

CREATE FUNCTION token_count_note() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    noted jsonb;
BEGIN
    IF TG_OP = 'INSERT' THEN
        SELECT jsonb_agg(jsonb_build_array(account_id, counted_as, n)) INTO noted
        FROM (SELECT account_id, counted_as, count(*) AS n FROM after WHERE counted_as <> 0 GROUP BY 1, 2) c;
    ELSIF TG_OP = 'DELETE' THEN
        SELECT jsonb_agg(jsonb_build_array(account_id, counted_as, -n)) INTO noted
        FROM (SELECT account_id, counted_as, count(*) AS n FROM before WHERE counted_as <> 0 GROUP BY 1, 2) c;
    ELSE
        SELECT jsonb_agg(jsonb_build_array(account_id, counted_as, n)) INTO noted
        FROM (
            SELECT account_id, counted_as, sum(n) AS n FROM (
                SELECT account_id, counted_as, 1 AS n FROM after
                UNION ALL SELECT account_id, counted_as, -1 FROM before
            ) every GROUP BY 1, 2 HAVING sum(n) <> 0 AND counted_as <> 0
        ) c;
    END IF;
    IF noted IS NOT NULL THEN
        PERFORM set_config('tokenward.uncounted', (
            coalesce(nullif(current_setting('tokenward.uncounted', true), ''), '[]')::jsonb || noted
        )::text, true);
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION token_count_settle() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    noted text := nullif(current_setting('tokenward.uncounted', true), '');
BEGIN
    IF noted IS NOT NULL THEN
        PERFORM set_config('tokenward.uncounted', '', true);
        PERFORM token_count_add(noted::jsonb);
    END IF;
    RETURN NULL;
END $$;
REVOKE EXECUTE ON FUNCTION token_count_settle() FROM PUBLIC;

SELECT token_count_add(jsonb_agg(jsonb_build_array(account_id, counted_as, n)))
FROM (SELECT account_id, counted_as, count(*) AS n FROM api_token WHERE counted_as <> 0 GROUP BY 1, 2) c;

CREATE TRIGGER token_count_inserted AFTER INSERT ON api_token
    REFERENCING NEW TABLE AS after FOR EACH STATEMENT EXECUTE FUNCTION token_count_note();
CREATE TRIGGER token_count_updated AFTER UPDATE ON api_token
    REFERENCING OLD TABLE AS before NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION token_count_note();
CREATE TRIGGER token_count_deleted AFTER DELETE ON api_token
    REFERENCING OLD TABLE AS before FOR EACH STATEMENT EXECUTE FUNCTION token_count_note();
CREATE CONSTRAINT TRIGGER token_count_settle_inserted AFTER INSERT ON api_token
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (NEW.counted_as <> 0) EXECUTE FUNCTION token_count_settle();
CREATE CONSTRAINT TRIGGER token_count_settle_updated AFTER UPDATE ON api_token
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (NEW.counted_as <> OLD.counted_as) EXECUTE FUNCTION token_count_settle();
CREATE CONSTRAINT TRIGGER token_count_settle_deleted AFTER DELETE ON api_token
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (OLD.counted_as <> 0) EXECUTE FUNCTION token_count_settle();

-- A page is one range, for a fleet and the platform, whatever it is sorted by ---------------------
-- Those of the platform are partial, so that no plan for a fleet ever walks along them: where one
-- fleet is most of the platform, they look cheap, and are not for a small one.

CREATE INDEX token_count_fleet_name ON token_count (reseller_id, name, account_id);
CREATE INDEX token_count_fleet_created_at ON token_count (reseller_id, created_at, account_id);
CREATE INDEX token_count_fleet_live ON token_count (reseller_id, live, account_id);
CREATE INDEX token_count_fleet_active ON token_count (reseller_id, active, account_id);
CREATE INDEX token_count_fleet_suspended ON token_count (reseller_id, suspended, account_id);
CREATE INDEX token_count_fleet_expired ON token_count (reseller_id, expired, account_id);
CREATE INDEX token_count_fleet_expiring_within_7_days ON token_count (reseller_id, expiring_within_7_days, account_id);
CREATE INDEX token_count_fleet_expiring_within_30_days ON token_count (reseller_id, expiring_within_30_days, account_id);
CREATE INDEX token_count_fleet_never_used ON token_count (reseller_id, never_used, account_id);
CREATE INDEX token_count_fleet_idle_90_days ON token_count (reseller_id, idle_90_days, account_id);
CREATE INDEX token_count_fleet_without_address_limits ON token_count (reseller_id, without_address_limits, account_id);
CREATE INDEX token_count_fleet_full_access ON token_count (reseller_id, full_access, account_id);
CREATE INDEX token_count_name ON token_count (name, account_id) WHERE kind <> 'OPERATOR';
CREATE INDEX token_count_created_at ON token_count (created_at, account_id) WHERE kind <> 'OPERATOR';
CREATE INDEX token_count_live ON token_count (live, account_id) WHERE kind <> 'OPERATOR';
CREATE INDEX token_count_active ON token_count (active, account_id) WHERE kind <> 'OPERATOR';
CREATE INDEX token_count_suspended ON token_count (suspended, account_id) WHERE kind <> 'OPERATOR';
CREATE INDEX token_count_expired ON token_count (expired, account_id) WHERE kind <> 'OPERATOR';
CREATE INDEX token_count_expiring_within_7_days ON token_count (expiring_within_7_days, account_id) WHERE kind <> 'OPERATOR';
CREATE INDEX token_count_expiring_within_30_days ON token_count (expiring_within_30_days, account_id) WHERE kind <> 'OPERATOR';
CREATE INDEX token_count_never_used ON token_count (never_used, account_id) WHERE kind <> 'OPERATOR';
CREATE INDEX token_count_idle_90_days ON token_count (idle_90_days, account_id) WHERE kind <> 'OPERATOR';
CREATE INDEX token_count_without_address_limits ON token_count (without_address_limits, account_id) WHERE kind <> 'OPERATOR';
CREATE INDEX token_count_full_access ON token_count (full_access, account_id) WHERE kind <> 'OPERATOR';

-- The second wall: the application may read, and only these triggers write -------------------------

ALTER TABLE token_count ENABLE ROW LEVEL SECURITY;
ALTER TABLE token_total ENABLE ROW LEVEL SECURITY;
CREATE POLICY reach ON token_count USING (tokenward_reaches(account_id, reseller_id));
CREATE POLICY reach ON token_total USING (tokenward_reaches(account_id, reseller_id));
