-- Takes 0005_jobs.sql back, in the opposite order.
SELECT 1;
