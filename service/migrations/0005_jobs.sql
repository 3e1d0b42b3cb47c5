-- Changes of many tokens at once, as jobs with a result per token.

ALTER TABLE job
    ADD CONSTRAINT job_account_fk FOREIGN KEY (account_id) REFERENCES account (id),
    ADD CONSTRAINT job_kind_ck CHECK (kind IN ('REVOKE', 'SUSPEND', 'RESUME', 'EXTEND')),
    ADD CONSTRAINT job_state_ck CHECK (
        CASE state
            WHEN 'QUEUED' THEN started_at IS NULL AND finished_at IS NULL
            WHEN 'RUNNING' THEN started_at IS NOT NULL AND finished_at IS NULL
            WHEN 'DONE' THEN finished_at IS NOT NULL AND error_code IS NULL
            WHEN 'CANCELLED' THEN finished_at IS NOT NULL AND error_code IS NULL
            WHEN 'FAILED' THEN finished_at IS NOT NULL AND error_code IS NOT NULL
            ELSE false
        END
    ),
    ADD CONSTRAINT job_count_ck CHECK (
        least(total, succeeded, failed, skipped) >= 0 AND succeeded + failed + skipped <= total
    );
-- What is still to be done, whose turn it is first.
CREATE INDEX job_due ON job (due_at, id) WHERE finished_at IS NULL;
CREATE INDEX job_finished ON job (finished_at) WHERE finished_at IS NOT NULL;
-- A list is one range, for an account and a fleet; ids sort by their time.
CREATE INDEX job_account ON job (account_id, id);
CREATE INDEX job_fleet ON job (reseller_id, id);
CREATE UNIQUE INDEX job_request ON job (account_id, idempotency_key) WHERE idempotency_key IS NOT NULL;

-- No key to the token: an item outlives it, and a token's end must not look for items.
ALTER TABLE job_item
    ADD CONSTRAINT job_item_job_fk FOREIGN KEY (job_id) REFERENCES job (id) ON DELETE CASCADE
        DEFERRABLE INITIALLY DEFERRED, -- frozen before the job that counts them is there
    ADD CONSTRAINT job_item_state_ck CHECK (state IN ('PENDING', 'SUCCEEDED', 'SKIPPED', 'FAILED')),
    ADD CONSTRAINT job_item_error_ck CHECK (
        CASE state WHEN 'FAILED' THEN error_code IS NOT NULL WHEN 'SKIPPED' THEN true ELSE error_code IS NULL END
    );
CREATE UNIQUE INDEX job_item_token ON job_item (job_id, token_id);
-- What is left of a job, and the items of one outcome.
CREATE INDEX job_item_state ON job_item (job_id, state, token_id);

ALTER TABLE job ENABLE ROW LEVEL SECURITY;
ALTER TABLE job_item ENABLE ROW LEVEL SECURITY;
CREATE POLICY reach ON job USING (tokenward_reaches(account_id, reseller_id));
CREATE POLICY reach ON job_item USING (tokenward_reaches(account_id, reseller_id));

-- Terminal means terminal -------------------------------------------------------------------

CREATE FUNCTION job_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.finished_at IS NOT NULL AND (NEW.state, NEW.finished_at, NEW.succeeded, NEW.failed, NEW.skipped)
        IS DISTINCT FROM (OLD.state, OLD.finished_at, OLD.succeeded, OLD.failed, OLD.skipped) THEN
        RAISE EXCEPTION 'a finished job stays finished' USING ERRCODE = 'check_violation';
    END IF;
    IF (NEW.id, NEW.account_id, NEW.kind, NEW.parameters, NEW.total, NEW.actor_member_id, NEW.actor_token_id)
        IS DISTINCT FROM (OLD.id, OLD.account_id, OLD.kind, OLD.parameters, OLD.total, OLD.actor_member_id, OLD.actor_token_id) THEN
        RAISE EXCEPTION 'a job keeps its actor and its task' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER job_guard BEFORE UPDATE ON job
    FOR EACH ROW EXECUTE FUNCTION job_guard();

CREATE FUNCTION job_item_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.state <> 'PENDING' AND (NEW.state, NEW.error_code) IS DISTINCT FROM (OLD.state, OLD.error_code) THEN
        RAISE EXCEPTION 'an item is done once' USING ERRCODE = 'check_violation';
    END IF;
    IF (NEW.id, NEW.job_id, NEW.token_id, NEW.account_id)
        IS DISTINCT FROM (OLD.id, OLD.job_id, OLD.token_id, OLD.account_id) THEN
        RAISE EXCEPTION 'an item keeps its token' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER job_item_guard BEFORE UPDATE ON job_item
    FOR EACH ROW EXECUTE FUNCTION job_item_guard();
