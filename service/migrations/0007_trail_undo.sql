-- Takes 0007_trail.sql back, in the opposite order.
SELECT 1;
