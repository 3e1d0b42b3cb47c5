DROP FUNCTION recount_account(uuid), recount_fleets();

CREATE OR REPLACE FUNCTION api_token_facets() RETURNS trigger LANGUAGE plpgsql AS $$
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
DROP FUNCTION token_facets(api_token, timestamptz);

DROP INDEX api_token_revoked, api_token_held_back, api_token_full_access, api_token_limited;
DROP STATISTICS api_token_ends, api_token_used_at;

DROP INDEX api_token_account_expires, api_token_fleet_expires, api_token_expires;
CREATE INDEX api_token_account_expires ON api_token (account_id, (coalesce(expires_at, 'infinity'::timestamptz)), id) WHERE kind = 'API_TOKEN';
CREATE INDEX api_token_fleet_expires ON api_token (reseller_id, (coalesce(expires_at, 'infinity'::timestamptz)), id) WHERE kind = 'API_TOKEN';
CREATE INDEX api_token_expires ON api_token ((coalesce(expires_at, 'infinity'::timestamptz)), id) WHERE kind = 'API_TOKEN';

DROP INDEX api_token_account_used, api_token_fleet_used, api_token_used;
CREATE INDEX api_token_account_used ON api_token (account_id, (coalesce(last_used_at, '-infinity'::timestamptz)), id) WHERE kind = 'API_TOKEN';
CREATE INDEX api_token_fleet_used ON api_token (reseller_id, (coalesce(last_used_at, '-infinity'::timestamptz)), id) WHERE kind = 'API_TOKEN';
CREATE INDEX api_token_used ON api_token ((coalesce(last_used_at, '-infinity'::timestamptz)), id) WHERE kind = 'API_TOKEN';
