-- Rare filters of tokens, and pages behind a cursor, find their rows by an index.

-- An order by what can be missing -----------------------------------------------------------------
-- Behind row-level security PostgreSQL compares in an index only what it knows to leak nothing:
-- coalesce() is not among that, least() and greatest() are, and they pass over NULL. With the
-- former, each page walked its order from the first row on, up to its cursor.

DROP INDEX api_token_account_expires, api_token_fleet_expires, api_token_expires;
CREATE INDEX api_token_account_expires ON api_token (account_id, (least(expires_at, 'infinity'::timestamptz)), id) WHERE kind = 'API_TOKEN';
CREATE INDEX api_token_fleet_expires ON api_token (reseller_id, (least(expires_at, 'infinity'::timestamptz)), id) WHERE kind = 'API_TOKEN';
CREATE INDEX api_token_expires ON api_token ((least(expires_at, 'infinity'::timestamptz)), id) WHERE kind = 'API_TOKEN';

DROP INDEX api_token_account_used, api_token_fleet_used, api_token_used;
CREATE INDEX api_token_account_used ON api_token (account_id, (greatest(last_used_at, '-infinity'::timestamptz)), id) WHERE kind = 'API_TOKEN';
CREATE INDEX api_token_fleet_used ON api_token (reseller_id, (greatest(last_used_at, '-infinity'::timestamptz)), id) WHERE kind = 'API_TOKEN';
CREATE INDEX api_token_used ON api_token ((greatest(last_used_at, '-infinity'::timestamptz)), id) WHERE kind = 'API_TOKEN';

-- How rare a range of them is, which a partial index does not tell.
CREATE STATISTICS api_token_ends ON (least(expires_at, 'infinity'::timestamptz)) FROM api_token;
CREATE STATISTICS api_token_used_at ON (greatest(last_used_at, '-infinity'::timestamptz)) FROM api_token;

-- Rare states -------------------------------------------------------------------------------------
-- They are in no particular order, since a page of a rare state sorts what it finds. An ordinary
-- token is in none of them, so that they cost nothing where tokens are made.

CREATE INDEX api_token_revoked ON api_token (reseller_id, account_id)
    WHERE kind = 'API_TOKEN' AND revoked_at IS NOT NULL;
CREATE INDEX api_token_held_back ON api_token (reseller_id, account_id)
    WHERE kind = 'API_TOKEN' AND revoked_at IS NULL AND (suspended_at IS NOT NULL OR not_before IS NOT NULL);
CREATE INDEX api_token_full_access ON api_token (reseller_id, account_id)
    WHERE kind = 'API_TOKEN' AND scopes @> '{*}';
CREATE INDEX api_token_limited ON api_token (reseller_id, account_id)
    WHERE kind = 'API_TOKEN' AND allowed_ip_ranges <> '{}';
ANALYZE api_token;

-- Counters can be checked -------------------------------------------------------------------------
-- What a token is counted under at an instant, as the triggers and `tokenward counts` both take it;
-- see 0006_fleet.sql, in the order of whose counters the bits are.

CREATE FUNCTION token_facets(of_token api_token, as_of timestamptz) RETURNS smallint
LANGUAGE sql STABLE AS $$
    SELECT CASE
        WHEN of_token.revoked_at IS NOT NULL THEN 0
        WHEN of_token.expires_at <= as_of THEN 8
        ELSE 1
            | CASE WHEN of_token.suspended_at IS NOT NULL THEN 4
                   WHEN of_token.not_before > as_of THEN 0 ELSE 2 END
            | CASE WHEN of_token.expires_at - interval '168 hours' <= as_of THEN 16 ELSE 0 END
            | CASE WHEN of_token.expires_at - interval '720 hours' <= as_of THEN 32 ELSE 0 END
            | CASE WHEN of_token.last_used_at IS NULL THEN 64 ELSE 0 END
            | CASE WHEN coalesce(of_token.last_used_at, of_token.created_at) + interval '2160 hours' <= as_of
                   THEN 128 ELSE 0 END
            | CASE WHEN cardinality(of_token.allowed_ip_ranges) = 0 THEN 256 ELSE 0 END
            | CASE WHEN '*' = ANY(of_token.scopes) THEN 512 ELSE 0 END
    END::smallint
$$;

CREATE OR REPLACE FUNCTION api_token_facets() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    as_of timestamptz := greatest(now(), NEW.created_at, NEW.suspended_at, NEW.revoked_at, NEW.swept_at);
    idle_at timestamptz := coalesce(NEW.last_used_at, NEW.created_at) + interval '2160 hours';
BEGIN
    IF TG_NARGS = 1 THEN
        as_of := greatest(as_of, NEW.recount_at);
    END IF;
    NEW.recount_at := NULL;
    NEW.counted_as := token_facets(NEW, as_of);
    IF NEW.counted_as & 1 <> 0 THEN
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

-- Both take a counter as a commit takes it, and only then look: whoever changes a token meanwhile
-- waits at its commit, and adds to what stands here then. For the owner alone.

CREATE FUNCTION recount_account(of_account uuid) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO token_count (account_id, reseller_id, kind, status, name, created_at)
    SELECT id, reseller_id, kind, account_status(a), name, created_at FROM account a WHERE id = of_account
    ON CONFLICT (account_id) DO NOTHING;
    PERFORM FROM token_count WHERE account_id = of_account FOR NO KEY UPDATE;
    UPDATE token_count c SET
        reseller_id = a.reseller_id, kind = a.kind, status = account_status(a), name = a.name,
        created_at = a.created_at, live = t.live, active = t.active, suspended = t.suspended,
        expired = t.expired, expiring_within_7_days = t.week, expiring_within_30_days = t.month,
        never_used = t.never_used, idle_90_days = t.idle,
        without_address_limits = t.anywhere, full_access = t.full_access
    FROM account a, (
        SELECT count(*) FILTER (WHERE counted_as & 1 <> 0) AS live,
            count(*) FILTER (WHERE counted_as & 2 <> 0) AS active,
            count(*) FILTER (WHERE counted_as & 4 <> 0) AS suspended,
            count(*) FILTER (WHERE counted_as & 8 <> 0) AS expired,
            count(*) FILTER (WHERE counted_as & 16 <> 0) AS week,
            count(*) FILTER (WHERE counted_as & 32 <> 0) AS month,
            count(*) FILTER (WHERE counted_as & 64 <> 0) AS never_used,
            count(*) FILTER (WHERE counted_as & 128 <> 0) AS idle,
            count(*) FILTER (WHERE counted_as & 256 <> 0) AS anywhere,
            count(*) FILTER (WHERE counted_as & 512 <> 0) AS full_access
        FROM api_token WHERE account_id = of_account AND kind = 'API_TOKEN'
    ) t
    WHERE c.account_id = of_account AND a.id = of_account;
END $$;
REVOKE EXECUTE ON FUNCTION recount_account(uuid) FROM PUBLIC;

CREATE FUNCTION recount_fleets() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    LOCK TABLE token_total IN SHARE ROW EXCLUSIVE MODE;
    DELETE FROM token_total;
    INSERT INTO token_total (account_id, reseller_id, slot, accounts, live, active, suspended, expired,
        expiring_within_7_days, expiring_within_30_days, never_used, idle_90_days, without_address_limits, full_access)
    SELECT fleet, fleet, get_byte(uuid_send(c.account_id), 15) % 32 AS slot, count(*),
        sum(live), sum(active), sum(suspended), sum(expired),
        sum(expiring_within_7_days), sum(expiring_within_30_days), sum(never_used),
        sum(idle_90_days), sum(without_address_limits), sum(full_access)
    FROM token_count c CROSS JOIN LATERAL (SELECT NULL::uuid UNION SELECT nullif(c.reseller_id, c.account_id)) f (fleet)
    WHERE c.kind <> 'OPERATOR' GROUP BY fleet, slot;
END $$;
REVOKE EXECUTE ON FUNCTION recount_fleets() FROM PUBLIC;
