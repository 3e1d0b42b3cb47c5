-- Takes 0005_jobs.sql back, in the opposite order.

DROP FUNCTION job_item_guard() CASCADE;
DROP FUNCTION job_guard() CASCADE;
DROP POLICY reach ON job_item;
DROP POLICY reach ON job;
ALTER TABLE job_item DROP CONSTRAINT job_item_job_fk;
ALTER TABLE job DROP CONSTRAINT job_account_fk;
